//! Words that are the prompt's own, besides the commands.

use lode::lang::verb::Verb;

/// A word of the prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// A view that is shown again and again.
    Watch,
    /// Everything on the whole screen.
    Top,
    /// The end.
    Quit,
}

impl Word {
    /// Every word.
    pub const ALL: &[Word] = &[Word::Watch, Word::Top, Word::Quit];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Word::Watch => "watch",
            Word::Top => "top",
            Word::Quit => "quit",
        }
    }

    /// Its forms, one a line.
    pub fn usage(self) -> &'static str {
        match self {
            Word::Watch => "watch status\nwatch show mine NAME\nwatch tables MINE",
            Word::Top => "top",
            Word::Quit => "quit",
        }
    }

    /// What it does, in a sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Word::Watch => "Shows an answer again every second, until Ctrl-C.",
            Word::Top => {
                "Shows everything on the whole screen, with keys to sort, filter, pause and resume; q leaves it."
            }
            Word::Quit => "Ends the prompt, as Ctrl-D does.",
        }
    }

    /// The word that is written like this. `exit` is understood, too.
    pub fn find(text: &str) -> Option<Word> {
        if text == "exit" {
            return Some(Word::Quit);
        }
        Word::ALL.iter().copied().find(|word| word.as_str() == text)
    }

    /// Its page of help.
    pub fn help(self) -> String {
        let usage: String = self.usage().lines().map(|line| format!("    {line}\n")).collect();
        format!("{}\n\n{usage}", self.meaning())
    }
}

/// Whether a command only shows something, so that it can be shown again and again.
pub fn can_be_watched(verb: &str) -> bool {
    matches!(
        Verb::find(verb),
        Some(
            Verb::Status
                | Verb::Mines
                | Verb::Pipelines
                | Verb::Tables
                | Verb::Show
                | Verb::Diff
                | Verb::Audit
        )
    )
}

/// What the prompt adds to the list of all commands.
pub fn help_of_all() -> String {
    let width = Verb::ALL.iter().map(|verb| verb.as_str().len()).max().unwrap_or(0);
    let lines = Word::ALL.iter().map(|word| format!("{:width$}  {}\n", word.as_str(), word.meaning()));
    let keys = "Tab completes, the right arrow takes what is hinted, the up arrow and Ctrl-R go back in the history.\n\
                Ctrl-C clears the line or leaves a view, Ctrl-D ends the prompt. A line with an open brace goes on in the \
                next one.\n";
    format!("\nAt the prompt, besides:\n{}\n{keys}", lines.collect::<String>())
}
