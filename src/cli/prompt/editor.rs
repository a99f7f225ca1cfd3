//! The line that is typed: completion, hints, colours, lines that go on, and the history.

use std::borrow::Cow;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use console::{Term, measure_text_width, truncate_str};
use lode::check::{Kinds, masked};
use lode::engine::registry::Registry;
use lode::error::{Error, Kind, Result};
use lode::lang::parse::is_line_unfinished;
use lode::lang::verb::Verb;
use rustyline::completion::Completer;
use rustyline::config::Configurer;
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::{Hint, Hinter};
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{ColorMode, CompletionType, Config, Context, Editor, ExternalPrinter, Helper};

use super::code::{Columns, NewestChange, NoColumns};
use super::colors;
use super::completion::{Offer, key_of, mining, offers, paths};
use super::names::Names;

/// So many lines are kept in the history.
const HISTORY_MAX: usize = 2000;
/// Columns that the prompt and the cursor behind the last letter take.
const INDENT: usize = 7;

/// What came of reading a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// A line, or several that belong together.
    Line(String),
    /// Ctrl-C: what was typed is thrown away.
    Cleared,
    /// Ctrl-D, or there is no terminal any more.
    End,
}

/// A line editor on the terminal.
pub struct LineEditor {
    editor: Editor<Typing, FileHistory>,
    history: Option<PathBuf>,
    /// As long as there is one, the editor notices a new size of the terminal while it waits for a key.
    _printer: Box<dyn ExternalPrinter + Send>,
}

impl LineEditor {
    /// Takes standard input and output, which are a terminal.
    ///
    /// # Errors
    /// `Environment` when the terminal cannot be used.
    pub fn new(names: Arc<Mutex<Names>>, columns: NewestChange, has_colors: bool) -> Result<LineEditor> {
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .completion_show_all_if_ambiguous(true)
            .color_mode(if has_colors { ColorMode::Forced } else { ColorMode::Disabled })
            .history_ignore_space(true)
            .max_history_size(HISTORY_MAX)
            .map_err(failed)?
            .build();
        let mut editor = Editor::with_config(config).map_err(failed)?;
        editor.set_helper(Some(Typing {
            names,
            columns,
            kinds: Registry::built_in().kinds().clone(),
            has_colors,
            is_question: false,
        }));
        let history = history_file();
        if let Some(path) = &history {
            // There is none at first; one that cannot be read costs nothing but itself.
            let _ = editor.load_history(path);
        }
        let printer = editor.create_external_printer().map_err(failed)?;
        Ok(LineEditor { editor, history, _printer: Box::new(printer) })
    }

    /// Reads a command.
    ///
    /// # Errors
    /// `Environment` when the terminal cannot be used any more.
    pub fn line(&mut self, prompt: &str) -> Result<Typed> {
        let typed = self.read(prompt, false)?;
        let kinds = self.editor.helper().map(|helper| &helper.kinds);
        if let Typed::Line(line) = &typed
            && !line.trim().is_empty()
            // A password that is typed does not stay in a file.
            && kinds.is_none_or(|kinds| masked(line, kinds) == *line)
            && self.editor.add_history_entry(line.as_str()).unwrap_or(false)
            && let Some(path) = &self.history
        {
            // Appended at once, so that several prompts share it, and a killed one loses nothing. A disk that is full is no
            // reason to do without the prompt.
            let _ = self.editor.append_history(path);
        }
        Ok(typed)
    }

    /// Asks whether something is to be done. Whatever is not a yes is a no.
    ///
    /// # Errors
    /// As [`line`](Self::line).
    pub fn is_confirmed(&mut self, question: &str) -> Result<bool> {
        let typed = self.read(&format!("{question} (y/N) "), true)?;
        Ok(
            matches!(typed, Typed::Line(answer) if ["y", "yes"].contains(&answer.trim().to_lowercase().as_str())),
        )
    }

    /// Prints above the line that is being typed, from any thread.
    ///
    /// # Errors
    /// `Environment` when the terminal does not do that.
    pub fn printer(&mut self) -> Result<impl ExternalPrinter + Send + use<>> {
        self.editor.create_external_printer().map_err(failed)
    }

    fn read(&mut self, prompt: &str, is_question: bool) -> Result<Typed> {
        if let Some(helper) = self.editor.helper_mut() {
            helper.is_question = is_question;
        }
        self.editor.set_auto_add_history(false);
        match self.editor.readline(prompt) {
            Ok(line) => Ok(Typed::Line(line)),
            Err(ReadlineError::Interrupted) => Ok(Typed::Cleared),
            Err(ReadlineError::Eof) => Ok(Typed::End),
            Err(error) => Err(failed(error)),
        }
    }
}

fn failed(error: ReadlineError) -> Error {
    Error::new(Kind::Environment, format!("cannot read from the terminal: {error}"))
}

/// `lode/history` in the folder for the user's state, which is made when it is not there. `None` where no folder is known
/// or it cannot be made.
fn history_file() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    let folder = state.join("lode");
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).ok()?;
    Some(folder.join("history"))
}

/// What happens while a line is typed.
struct Typing {
    names: Arc<Mutex<Names>>,
    columns: NewestChange,
    kinds: Kinds,
    has_colors: bool,
    /// Whether yes or no is asked, where nothing is completed.
    is_question: bool,
}

impl Helper for Typing {}

impl Typing {
    fn offers(&self, line: &str, columns: &dyn Columns) -> (usize, Vec<Offer>) {
        let width = usize::from(Term::stdout().size().1);
        // Not held while somebody is asked.
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner).clone();
        offers(line, &names, columns, &self.kinds, width)
    }
}

impl Completer for Typing {
    type Candidate = Offer;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Self::Candidate>)> {
        if self.is_question {
            return Ok((pos, Vec::new()));
        }
        let line = &line[..pos];
        Ok(paths(line).unwrap_or_else(|| self.offers(line, &self.columns)))
    }
}

/// What is shown in grey behind the cursor.
struct Ahead {
    shown: String,
    /// Whether the right arrow takes it.
    is_taken: bool,
}

impl Hint for Ahead {
    fn display(&self) -> &str {
        &self.shown
    }

    fn completion(&self) -> Option<&str> {
        self.is_taken.then_some(self.shown.as_str())
    }
}

impl Hinter for Typing {
    type Hint = Ahead;

    fn hint(&self, line: &str, pos: usize, _: &Context<'_>) -> Option<Ahead> {
        if self.is_question || pos < line.len() || line.trim().is_empty() {
            return None;
        }
        self.rest_of_word(line).or_else(|| self.what_follows(line))
    }
}

impl Typing {
    /// The rest of a word of which only one is left.
    fn rest_of_word(&self, line: &str) -> Option<Ahead> {
        let (begins, offers) = self.offers(line, &NoColumns);
        let [only] = offers.as_slice() else { return None };
        let rest = rustyline::completion::Candidate::replacement(only).strip_prefix(&line[begins..])?;
        (!rest.is_empty() && begins < line.len()).then(|| Ahead { shown: rest.to_owned(), is_taken: true })
    }

    /// What comes behind a verb, or what the setting means whose value comes next. Nobody would take that as it is.
    fn what_follows(&self, line: &str) -> Option<Ahead> {
        if !line.ends_with(' ') {
            return None;
        }
        let typed = line.trim_end();
        let shown = if let Some(key) = key_of(line).filter(|_| typed.ends_with('=')) {
            mining(&self.kinds).find(|spec| spec.key == key)?.meaning
        } else {
            Verb::find(typed)?.usage().lines().find_map(|usage| usage.strip_prefix(line))?
        };
        // It never takes a line of its own.
        let taken = measure_text_width(line.rsplit('\n').next().unwrap_or(line)) + INDENT;
        let room = usize::from(Term::stdout().size().1).saturating_sub(taken);
        (room > 1).then(|| Ahead { shown: truncate_str(shown, room, "…").into_owned(), is_taken: false })
    }
}

impl Highlighter for Typing {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        match self.has_colors && !self.is_question {
            true => Cow::Owned(colors::colored(line)),
            false => Cow::Borrowed(line),
        }
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        match self.has_colors {
            true => Cow::Owned(format!("\x1b[1m{prompt}\x1b[0m")),
            false => Cow::Borrowed(prompt),
        }
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        match self.has_colors {
            true => Cow::Owned(format!("\x1b[2m{hint}\x1b[0m")),
            false => Cow::Borrowed(hint),
        }
    }

    fn highlight_char(&self, _: &str, _: usize, kind: CmdKind) -> bool {
        self.has_colors && kind != CmdKind::MoveCursor
    }
}

impl Validator for Typing {
    fn validate(&self, typed: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(match !self.is_question && is_line_unfinished(typed.input()) {
            true => ValidationResult::Incomplete,
            false => ValidationResult::Valid(None),
        })
    }
}
