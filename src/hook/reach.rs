//! What a hook comes to: the functions that its code calls, and what stands in them.

use std::collections::BTreeSet;

use rhai::{AST, ASTNode, Expr, FnCallExpr, Position, Stmt};

use super::compile::Modules;

/// What stands in the code of a hook and in the functions that it calls.
#[derive(Debug, Default)]
pub(super) struct Reached {
    /// Every variable that is read.
    pub variables: BTreeSet<String>,
    /// Calls of functions that no script defines: name, number of arguments, the module's name, place.
    pub calls: Vec<(String, usize, Option<String>, Position)>,
}

/// Follows the calls from the code of a hook. Calls by a computed name are not seen.
pub(super) fn reached(ast: &AST, modules: &Modules<'_>) -> Reached {
    let mut reached = Reached::default();
    let mut open = look(ast, ast, None, &mut reached);
    let mut known: BTreeSet<(String, String, usize)> = BTreeSet::new();
    while let Some(call) = open.pop() {
        if !known.insert(call.clone()) {
            continue;
        }
        let (module, function, arguments) = call;
        let Some((_, tree)) = modules.get(&module) else { continue };
        let mut body = tree.clone_functions_only();
        body.retain_functions(|_, _, name, takes| name == function && takes == arguments);
        open.extend(look(&body, tree, Some(&module), &mut reached));
    }
    reached
}

/// Notes what stands in `body`, which is a part of `whole`; gives the calls of functions of modules.
fn look(
    body: &AST,
    whole: &AST,
    module: Option<&str>,
    reached: &mut Reached,
) -> Vec<(String, String, usize)> {
    let mut scripts = Vec::new();
    let own = |call: &FnCallExpr| {
        whole.iter_functions().any(|known| known.name == call.name && known.params.len() == call.args.len())
    };
    body.walk(&mut |path: &[ASTNode<'_>]| {
        let (call, position): (&FnCallExpr, _) = match path.last() {
            Some(ASTNode::Expr(Expr::Variable(variable, ..))) => {
                reached.variables.insert(variable.1.to_string());
                return true;
            }
            Some(ASTNode::Expr(Expr::FnCall(call, position)))
            | Some(ASTNode::Stmt(Stmt::FnCall(call, position))) => (call, *position),
            _ => return true,
        };
        let (name, arguments) = (call.name.to_string(), call.args.len());
        if call.is_qualified() {
            let path: Vec<_> = call.namespace.path.iter().map(|part| part.name.as_str()).collect();
            scripts.push((path.join("::"), name, arguments));
        } else if !own(call) {
            reached.calls.push((name, arguments, module.map(str::to_owned), position));
        } else if let Some(module) = module {
            scripts.push((module.to_owned(), name, arguments));
        }
        true
    });
    scripts
}
