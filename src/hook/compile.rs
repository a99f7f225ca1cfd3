//! From the text of a hook to a [`CompiledHook`], and from Rhai's errors to places in the script.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rhai::{
    AST, ASTNode, Dynamic, Engine, EvalAltResult, Expr, FnCallExpr, ImmutableString, Module, ParseError,
    Position, Scope, Stmt,
};

use super::act::{self, Grants};
use super::engine::{self, CALL_LEVELS_MAX, Ended, Exchange, Limits, ROW_LIMITS, VARIABLES_MAX};
use super::error::{HookError, Problem};
use super::lookup::{self, LookupCall, Lookups};
use super::reach;
use super::shape::Shapes;
use super::{CompiledHook, HookKind, SourceFacts, new_scope};
use crate::error::Kind;
use crate::model::block::Op;
use crate::model::hook::{Hook, HookCode, HookModule};

/// Compiles a hook with the modules that it calls.
///
/// # Errors
/// When the code or one of these modules does not parse, when it uses a variable that there is none of, or calls a
/// module or a function of a module that does not exist.
pub fn compile(hook: &Hook, kind: HookKind) -> Result<CompiledHook, HookError> {
    compile_with(hook, kind, None)
}

/// Compiles a hook that looks rows up in these tables.
///
/// # Errors
/// As [`compile`].
pub fn compile_with(
    hook: &Hook,
    kind: HookKind,
    lookups: Option<Arc<Lookups>>,
) -> Result<CompiledHook, HookError> {
    let places = Places::new(hook, &ROW_LIMITS);
    let text = match &hook.code {
        HookCode::Block(text) => Arc::clone(text),
        // The row of a map is what the function returns.
        HookCode::Call { module, function } if kind == HookKind::Map => {
            format!("row = {module}::{function}(row);").into()
        }
        HookCode::Call { module, function } => format!("{module}::{function}(row)").into(),
    };
    // Names behind dots are known only from the syntax tree, so the code is parsed before its engine is made.
    let parser = engine::bare(&ROW_LIMITS);
    let mut ast = parse_block(hook, &text, &new_scope()).map_err(|error| {
        let problem = parse_problem(hook, &error, &super::NAMES, Purpose::Rows);
        places.error(None, error.position(), problem)
    })?;
    let modules = load_modules(&parser, hook, &places, &ast, Purpose::Rows)?;
    for (name, arguments, module, position) in reach::reached(&ast, &modules).calls {
        if act::is_acting(&name, arguments)
            && let Some(problem) = act::acts_on_no_row(&name)
        {
            let path = module.and_then(|module| modules.get(&module)).map(|(module, _)| path_text(module));
            return Err(places.error(path.as_deref(), position, problem));
        }
    }
    let lookup_calls = lookup_calls(&ast, &modules, &places)?;
    let mut properties = BTreeSet::new();
    let mut looks_at_change = false;
    for tree in std::iter::once(&ast).chain(modules.values().map(|(_, tree)| tree)) {
        tree.walk(&mut |path: &[ASTNode<'_>]| {
            if let Some(ASTNode::Expr(Expr::Property(names, _))) = path.last() {
                properties.insert(names.2.clone());
            }
            true
        });
    }
    ast.walk(&mut |path: &[ASTNode<'_>]| {
        if let Some(ASTNode::Expr(Expr::Variable(variable, ..))) = path.last() {
            looks_at_change |= matches!(variable.1.as_str(), "before" | "op");
        }
        true
    });
    let properties: Vec<_> = properties.into_iter().collect();
    let exchange = Arc::new(Exchange::new(lookups));
    let mut engine = engine::build(&exchange, &properties);
    engine
        .register_type_with_name::<SourceFacts>("source")
        .register_get("name", |source: &mut SourceFacts| source.name.clone())
        .register_get("database", |source: &mut SourceFacts| source.database.clone());
    register_modules(&mut engine, modules, &places)?;
    ast.set_source("");
    Ok(CompiledHook {
        kind,
        engine,
        ast,
        exchange,
        places,
        looks_at_change,
        lookup_calls,
        scope: new_scope(),
        shapes: Shapes::default(),
        ops: [Op::Insert, Op::Update, Op::Delete, Op::Truncate].map(|op| op.as_str().into()),
        source_name: ImmutableString::new(),
        named: None,
    })
}

/// Every call of `lookup` in the code and in the modules that it needs.
fn lookup_calls(ast: &AST, modules: &Modules<'_>, places: &Places) -> Result<Vec<LookupCall>, HookError> {
    let trees = modules.values().map(|(module, tree)| (Some(path_text(module)), tree));
    let mut found = Vec::new();
    for (path, tree) in std::iter::once((None, ast)).chain(trees) {
        for (called, position) in lookup::calls(tree) {
            let connection = called.map_err(|problem| places.error(path.as_deref(), position, problem))?;
            let (file, (line, column)) = places.at(path.as_deref(), position);
            found.push(LookupCall { connection, file, line, column });
        }
    }
    Ok(found)
}

/// What the code of a hook is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Filters and maps: what they do depends on the row alone.
    Rows,
    /// It may act.
    Acts,
}

/// Gives an engine the modules that a hook calls.
pub(super) fn register_modules(
    engine: &mut Engine,
    modules: Modules<'_>,
    places: &Places,
) -> Result<(), HookError> {
    for (name, (module, tree)) in modules {
        let evaluated = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            Module::eval_ast_as_new(Scope::new(), &tree, engine)
        }));
        let loaded = match evaluated {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(error)) => return Err(places.load_error(module, *error)),
            Err(_) => {
                let problem =
                    Problem::new("lode panicked while it loaded the module").advice("please report this");
                return Err(places.error(Some(&path_text(module)), Position::NONE, problem));
            }
        };
        engine.register_static_module(name, loaded.into());
    }
    Ok(())
}

/// Checks that an included module parses, whether or not a hook calls it.
///
/// # Errors
/// With the place of the first mistake.
pub fn check_module(module: &HookModule) -> Result<(), HookError> {
    parse_module(&engine::bare(&ROW_LIMITS), module).map(|_| ())
}

/// A module may hold functions for other purposes, whose variables only the place of their call knows; so these are
/// not looked for.
fn parse_module(engine: &Engine, module: &HookModule) -> Result<AST, HookError> {
    engine.compile(module.text.as_ref()).map_err(|error| module_parse_error(module, &error))
}

pub(super) fn parse_block(hook: &Hook, text: &str, scope: &Scope<'_>) -> Result<AST, ParseError> {
    let mut engine = engine::bare(&ROW_LIMITS);
    engine.set_strict_variables(true);
    // The names must be known here; what is in the modules is looked at later.
    for module in hook.modules.iter() {
        engine.register_static_module(module.name.as_str(), Module::new().into());
    }
    engine.compile_with_scope(scope, text)
}

/// The modules that the code calls, and those that these call.
pub(super) fn load_modules<'h>(
    parser: &Engine,
    hook: &'h Hook,
    places: &Places,
    ast: &AST,
    purpose: Purpose,
) -> Result<Modules<'h>, HookError> {
    let mut loaded = Modules::new();
    let mut open: Vec<(Option<Arc<str>>, Called)> =
        called(ast).into_iter().map(|call| (None, call)).collect();
    while let Some((file, call)) = open.pop() {
        if call.module.is_empty() {
            let grants = Grants::of(hook, file.as_deref());
            match forbidden(&call, purpose, &grants) {
                Some(problem) => return Err(places.error(file.as_deref(), call.position, problem)),
                None => continue,
            }
        }
        if !loaded.contains_key(&call.module) {
            let Some(module) = hook.modules.iter().find(|module| module.name == call.module) else {
                return Err(places.error(file.as_deref(), call.position, no_module(hook, &call.module)));
            };
            let mut tree = parse_module(parser, module)?;
            let path = path_text(module);
            tree.set_source(path.as_ref());
            open.extend(called(&tree).into_iter().map(|call| (Some(Arc::clone(&path)), call)));
            loaded.insert(call.module.clone(), (module, tree));
        }
        let (module, tree) = &loaded[&call.module];
        let functions: Vec<_> =
            tree.iter_functions().filter(|function| function.access.is_public()).collect();
        if functions.iter().any(|known| known.name == call.function && known.params.len() == call.arguments) {
            continue;
        }
        let problem = no_function(
            module,
            &call,
            purpose,
            functions.iter().map(|known| (known.name, known.params.len())),
        );
        return Err(places.error(file.as_deref(), call.position, problem));
    }
    Ok(loaded)
}

/// What is wrong with calling a function that hooks lack, or not all of them have.
fn forbidden(call: &Called, purpose: Purpose, grants: &Grants) -> Option<Problem> {
    if engine::WITHHELD_FUNCTIONS.contains(&call.function.as_str()) {
        return Some(engine::withheld(&call.function));
    }
    match purpose {
        // A module may have functions for both; what the hook comes to is looked at when all are loaded.
        Purpose::Rows => None,
        Purpose::Acts => grants.refusal(&call.function),
    }
}

/// The modules that a hook needs, by name, parsed.
pub(super) type Modules<'h> = BTreeMap<String, (&'h HookModule, AST)>;

/// A call of `module::function`, or, without a module, of a function that hooks lack, or not all of them have.
struct Called {
    module: String,
    function: String,
    arguments: usize,
    position: Position,
}

fn called(ast: &AST) -> Vec<Called> {
    let mut calls = Vec::new();
    ast.walk(&mut |path: &[ASTNode<'_>]| {
        let (call, position): (&FnCallExpr, _) = match path.last() {
            Some(ASTNode::Expr(Expr::FnCall(call, position)))
            | Some(ASTNode::Stmt(Stmt::FnCall(call, position))) => (call, *position),
            _ => return true,
        };
        let name = call.name.as_str();
        let is_own =
            || ast.iter_functions().any(|own| own.name == name && own.params.len() == call.args.len());
        let acts = || act::is_acting(name, call.args.len()) && !is_own();
        if call.is_qualified() || engine::WITHHELD_FUNCTIONS.contains(&name) || acts() {
            let module: Vec<_> = call.namespace.path.iter().map(|part| part.name.as_str()).collect();
            calls.push(Called {
                module: module.join("::"),
                function: call.name.to_string(),
                arguments: call.args.len(),
                position,
            });
        }
        true
    });
    // Functions are kept in no order. The last call is looked at first, and what is wrong is found in the order of the text.
    calls.sort_by_key(|call| Reverse((call.position.line(), call.position.position())));
    calls
}

fn no_module(hook: &Hook, name: &str) -> Problem {
    let names: Vec<_> = hook.modules.iter().map(|module| module.name.as_str()).collect();
    let problem = Problem::new(format!("there is no module `{name}`"));
    match nearest(names.iter().copied(), name) {
        Some(near) => problem.advice(format!("did you mean `{near}`?")),
        None => problem.advice(format!("include it: `include \"hooks/{name}.rhai\"`")),
    }
}

fn no_function<'a>(
    module: &HookModule,
    call: &Called,
    purpose: Purpose,
    functions: impl Iterator<Item = (&'a str, usize)> + Clone,
) -> Problem {
    let (name, arguments) = (&call.function, call.arguments);
    if let Some((_, takes)) = functions.clone().find(|(known, _)| known == name) {
        let message = format!("function `{}::{name}` takes {takes} arguments, not {arguments}", module.name);
        return Problem::new(message).advice(match purpose {
            Purpose::Rows => "a filter or map function takes the row",
            Purpose::Acts => "a function that acts takes one map with what has happened",
        });
    }
    let problem = Problem::new(format!("module `{}` has no function `{name}`", module.name));
    let known: Vec<_> = functions.map(|(known, _)| known).collect();
    match nearest(known.iter().copied(), name) {
        Some(near) => problem.advice(format!("did you mean `{near}`?")),
        None if known.is_empty() => problem.advice("it has no functions at all"),
        None => problem.advice(format!("it has {}", known.join(", "))),
    }
}

fn nearest<'a>(names: impl Iterator<Item = &'a str>, meant: &str) -> Option<&'a str> {
    let likeness = |name: &str| strsim::jaro_winkler(name, meant);
    names.filter(|name| likeness(name) > 0.8).max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}

fn path_text(module: &HookModule) -> Arc<str> {
    module.path.to_string_lossy().into()
}

fn module_parse_error(module: &HookModule, error: &ParseError) -> HookError {
    let (line, column) = place(error.position());
    HookError {
        file: path_text(module),
        line,
        column,
        message: error.err_type().to_string(),
        advice: None,
        kind: Kind::Data,
    }
}

fn place(position: Position) -> (u32, u32) {
    let number = |value: Option<usize>| value.and_then(|value| u32::try_from(value).ok()).unwrap_or(1).max(1);
    (number(position.line()), number(position.position()))
}

/// Where a hook stands in its script.
#[derive(Clone, Debug)]
pub(super) struct Places {
    file: Arc<str>,
    line: u32,
    column: u32,
    function: Option<String>,
    limits: &'static Limits,
}

impl Places {
    pub fn new(hook: &Hook, limits: &'static Limits) -> Self {
        let function = match &hook.code {
            HookCode::Call { module, function } => Some(format!("{module}::{function}")),
            HookCode::Block(_) => None,
        };
        Places { file: Arc::clone(&hook.file), line: hook.line, column: hook.column, function, limits }
    }

    /// `module::function`, when the hook is one.
    pub fn function(&self) -> Option<&str> {
        self.function.as_deref()
    }

    /// An error at a position of the hook's code, or of the module with this path.
    pub fn error(&self, module: Option<&str>, position: Position, problem: Problem) -> HookError {
        let Problem { message, advice, kind } = problem;
        let (file, (line, column)) = self.at(module, position);
        HookError { file, line, column, message, advice, kind }
    }

    fn at(&self, module: Option<&str>, position: Position) -> (Arc<str>, (u32, u32)) {
        match module {
            Some(path) => (path.into(), place(position)),
            None => (Arc::clone(&self.file), self.in_script(position)),
        }
    }

    /// What a run-time error means; the other way to end is none.
    pub fn explain(&self, error: EvalAltResult) -> Result<HookError, Ended> {
        let (module, error) = innermost(error);
        let position = error.position();
        Ok(self.error(module.as_deref(), position, reason(error, self.limits)?))
    }

    fn load_error(&self, module: &HookModule, error: EvalAltResult) -> HookError {
        let position = error.position();
        let problem = reason(innermost(error).1, self.limits)
            .unwrap_or_else(|_| Problem::new("the module did not load in time"));
        self.error(Some(&path_text(module)), position, problem)
    }

    fn in_script(&self, position: Position) -> (u32, u32) {
        if position.is_none() || self.function.is_some() {
            return (self.line, self.column);
        }
        match place(position) {
            (1, column) => (self.line, self.column + column - 1),
            (line, column) => (self.line + line - 1, column),
        }
    }
}

/// The error inside of function calls, and the module in which it lies.
fn innermost(mut error: EvalAltResult) -> (Option<String>, EvalAltResult) {
    let mut module = None;
    loop {
        match error {
            EvalAltResult::ErrorInFunctionCall(_, source, inner, _) => {
                module = (!source.is_empty()).then_some(source);
                error = *inner;
            }
            EvalAltResult::ErrorInModule(_, inner, _) => error = *inner,
            other => return (module, other),
        }
    }
}

pub(super) fn parse_problem(hook: &Hook, error: &ParseError, names: &[&str], purpose: Purpose) -> Problem {
    use rhai::ParseErrorType::{ModuleUndefined, VariableUndefined};
    match error.err_type() {
        ModuleUndefined(name) => no_module(hook, name),
        VariableUndefined(name) => {
            let problem = Problem::new(format!("there is no variable `{name}`"));
            match nearest(names.iter().copied(), name) {
                Some(near) => problem.advice(format!("did you mean `{near}`?")),
                None if purpose == Purpose::Acts => problem.advice(format!("there are {}", names.join(", "))),
                None => problem
                    .advice(format!("columns are read as `row.{name}`; a hook has {}", names.join(", "))),
            }
        }
        other => Problem::new(other.to_string()),
    }
}

/// A run-time error in plain words.
fn reason(error: EvalAltResult, limits: &Limits) -> Result<Problem, Ended> {
    let problem = match error {
        EvalAltResult::ErrorTerminated(token, _) => {
            return Err(token.try_cast().unwrap_or(Ended::OutOfTime));
        }
        EvalAltResult::ErrorRuntime(thrown, _) => thrown_problem(thrown),
        EvalAltResult::ErrorTooManyOperations(_) => {
            Problem::new(format!("the hook used more than {} operations {}", limits.operations, limits.run))
                .advice("look for a loop that does not end")
        }
        EvalAltResult::ErrorStackOverflow(_) => {
            Problem::new(format!("functions call each other more than {CALL_LEVELS_MAX} deep"))
                .advice("look for a function that calls itself without an end, or use a loop")
        }
        EvalAltResult::ErrorTooManyVariables(_) => {
            Problem::new(format!("the hook holds more than {VARIABLES_MAX} variables"))
        }
        EvalAltResult::ErrorDataTooLarge(..) => Problem::new(format!(
            "a value grew over a limit of hooks: {} MiB of text, {} items, {} map entries",
            limits.text_bytes / 1024 / 1024,
            limits.items,
            limits.map_entries
        )),
        EvalAltResult::ErrorFunctionNotFound(signature, _) => no_such_function(&signature),
        EvalAltResult::ErrorDotExpr(_, _) => {
            Problem::new("a property is read from a value that has none, such as `()`")
                .advice("test it first: `if before != () { … }`")
        }
        EvalAltResult::ErrorMismatchDataType(wanted, got, _) => {
            Problem::new(format!("{wanted} was expected, not {got}"))
        }
        EvalAltResult::ErrorArithmetic(what, _) => Problem::new(what),
        mut other => {
            // The place is told apart from the words.
            let _ = other.take_position();
            Problem::new(other.to_string())
        }
    };
    Ok(problem)
}

fn thrown_problem(thrown: Dynamic) -> Problem {
    let thrown = match thrown.try_cast_result::<Problem>() {
        Ok(problem) => return problem,
        Err(thrown) => thrown,
    };
    match thrown.into_immutable_string() {
        Ok(text) => Problem::new(text.as_str()),
        Err(kind) => Problem::new(format!("the hook threw a {kind}")),
    }
}

/// `* (i64, ())` becomes words.
fn no_such_function(signature: &str) -> Problem {
    let (name, arguments) = signature.split_once('(').unwrap_or((signature, ""));
    let (name, arguments) = (name.trim(), arguments.strip_suffix(')').unwrap_or(arguments));
    let arguments = arguments
        .replace("&str | ImmutableString | String", "text")
        .replace("i64", "INT")
        .replace("f64", "FLOAT");
    let problem = if name.chars().all(|c| c.is_ascii_punctuation()) {
        Problem::new(format!("there is no operator `{name}` for ({arguments})"))
    } else {
        Problem::new(format!("there is no function `{name}` for ({arguments})"))
    };
    if arguments.contains("()") {
        return problem.advice("one of the values is NULL; test it first: `if row.column != () { … }`");
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_read_as_words() {
        let problem = no_such_function("* (i64, ())");
        assert_eq!(problem.message, "there is no operator `*` for (INT, ())");
        assert!(problem.advice.is_some());
        let problem = no_such_function("shorten (&str | ImmutableString | String, i64)");
        assert_eq!(problem.message, "there is no function `shorten` for (text, INT)");
    }
}
