//! What a script may say and this version cannot do yet. Nothing of it is passed over in silence.

use super::Checker;
use super::model::NotYet;
use crate::lang::codes::Code;
use crate::lang::diagnostic::Diagnostic;
use crate::lang::span::Span;

impl Checker<'_> {
    /// Running without it would not do what the script says, so that running is refused.
    pub(super) fn refuses_run(&mut self, what: &str, why: &str, span: Span) {
        self.not_yet(what, why, span, true);
    }

    /// The rest of the script runs without it.
    pub(super) fn left_out(&mut self, what: &str, why: &str, span: Span) {
        self.not_yet(what, why, span, false);
    }

    fn not_yet(&mut self, what: &str, why: &str, span: Span, refuses_run: bool) {
        if self.not_yet.iter().any(|known| known.what == what) {
            return;
        }
        self.not_yet.push(NotYet { what: what.to_owned(), why: why.to_owned(), refuses_run });
        let consequence = if refuses_run {
            "`lode run` refuses this script"
        } else {
            "the rest of the script runs without it"
        };
        let finding = Diagnostic::new(Code::W0502, span, format!("not run by this version yet: {what}"))
            .note(why)
            .note(consequence);
        self.report(finding);
    }
}
