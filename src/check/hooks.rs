//! Hooks: Rhai code of a script is compiled while checking, and its errors are shown where they are.

use std::sync::Arc;

use super::Checker;
use crate::client::lookup;
use crate::error::Kind;
use crate::hook::act::{ActingHook, Occasion};
use crate::hook::{self, CompiledHook, HookError, HookKind};
use crate::lang::ast::{Code, HookPath};
use crate::lang::codes;
use crate::lang::diagnostic::{Diagnostic, did_you_mean};
use crate::lang::span::{SourceId, Span};
use crate::model::hook::{Hook, HookCode};

/// What a hook is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HookUse {
    Filter,
    Map,
    /// By alerts and schedules.
    Act(Occasion),
}

impl Checker<'_> {
    /// Compiles every included module, so that a mistake is found in one that nothing calls, too.
    pub(super) fn modules(&mut self) {
        let scripts = self.scripts;
        for (module, place) in scripts.modules.iter().zip(&scripts.module_places) {
            if let Err(error) = hook::check_module(module) {
                self.report_hook(&error, place.1);
            }
        }
    }

    /// Compiles a hook. `None` was reported.
    pub(super) fn hook(&mut self, code: &Code, used: HookUse) -> Option<Hook> {
        let span = code.span();
        let (file, place) = self.scripts.sources.locate(span)?;
        let hook = Hook {
            code: match code {
                Code::Block(text) => HookCode::Block(text.node.as_str().into()),
                Code::Hook(path) => {
                    HookCode::Call { module: path.module.node.clone(), function: path.function.node.clone() }
                }
            },
            file: Arc::clone(file),
            line: place.line,
            column: place.column,
            modules: Arc::clone(&self.scripts.modules),
        };
        if let Code::Hook(path) = code
            && !self.module_is_there(path)
        {
            return None;
        }
        // A module that does not parse was reported by itself, and not again at each call.
        let compiled = match used {
            HookUse::Filter => hook::compile(&hook, HookKind::Filter).map(|hook| self.lookups(&hook, span)),
            HookUse::Map => hook::compile(&hook, HookKind::Map).map(|hook| self.lookups(&hook, span)),
            HookUse::Act(occasion) => {
                ActingHook::compile(&hook, occasion, &self.sending_connections).map(|compiled| {
                    self.mentioned.extend(compiled.mentioned().iter().cloned());
                })
            }
        };
        match compiled {
            Ok(()) => Some(hook),
            Err(error) => {
                self.report_hook(&error, span);
                None
            }
        }
    }

    /// Notes in which connections a hook looks rows up, and reports those that have no tables for it.
    fn lookups(&mut self, hook: &CompiledHook, fallback: Span) {
        let kinds = self.kinds;
        let is_able = |kind: &str| {
            let settings = kinds.get(kind).map_or(&[][..], |kind| kind.connection);
            settings.iter().any(|spec| spec.key == lookup::TTL.key)
        };
        for call in hook.lookup_calls() {
            let name = call.connection.as_str();
            let kind = self.declared.get(name).copied();
            if kind.is_some_and(is_able) {
                self.looked_up.insert(name.to_owned());
                continue;
            }
            let at = self.hook_file(&call.file);
            let at = at.and_then(|source| self.scripts.sources.word_at(source, call.line, call.column));
            let at = at.unwrap_or(fallback);
            let able = self.declared.iter().filter(|(_, kind)| is_able(kind)).map(|(name, _)| name.as_str());
            let able: Vec<&str> = able.collect();
            let finding = match kind {
                Some(kind) => {
                    let what = format!("rows cannot be looked up in a connection of kind {kind}");
                    Diagnostic::new(codes::Code::E0205, at, what)
                }
                None => {
                    Diagnostic::new(codes::Code::E0201, at, format!("there is no connection named `{name}`"))
                }
            };
            let finding = match did_you_mean(name, able.iter().copied()).filter(|_| kind.is_none()) {
                Some(near) => finding.help(format!("did you mean `{near}`?")),
                None if able.is_empty() => {
                    finding.help(format!("declare it: connection {name} = mysql \"…\""))
                }
                None => finding.help(format!("these can be used: {}", able.join(", "))),
            };
            self.report(finding);
        }
    }

    fn module_is_there(&mut self, path: &HookPath) -> bool {
        let modules = &self.scripts.modules;
        if modules.iter().any(|module| module.name == path.module.node) {
            return true;
        }
        let name = &path.module;
        let finding = Diagnostic::new(
            codes::Code::E0402,
            name.span,
            format!("there is no module of hooks named `{}`", name.node),
        );
        let finding = match did_you_mean(name, modules.iter().map(|module| module.name.as_str())) {
            Some(near) => finding.suggest(name.span, near, "did you mean this one?"),
            None => finding.help(format!("include it: include \"hooks/{}.rhai\"", name.node)),
        };
        self.report(finding);
        false
    }

    /// Shows an error of a hook at its place; `fallback` is where the hook is used.
    fn report_hook(&mut self, error: &HookError, fallback: Span) {
        let at = self
            .hook_file(&error.file)
            .and_then(|source| self.scripts.sources.word_at(source, error.line, error.column));
        let code = if error.kind == Kind::Refused { codes::Code::E0403 } else { codes::Code::E0401 };
        let mut finding = Diagnostic::new(code, at.unwrap_or(fallback), error.message.clone());
        if let Some(advice) = &error.advice {
            finding = finding.help(advice.clone());
        }
        self.report(finding);
    }

    fn hook_file(&self, file: &str) -> Option<SourceId> {
        let module = self.scripts.modules.iter().position(|module| module.path.to_string_lossy() == file);
        match module {
            Some(index) => self.scripts.module_places.get(index).map(|(source, _)| *source),
            None => {
                self.scripts.sources.iter().find(|(_, known)| known.name().as_ref() == file).map(|(id, _)| id)
            }
        }
    }
}
