//! Rhai code of a script, before it is compiled.

use std::path::PathBuf;
use std::sync::Arc;

/// Rhai code with its place in the script, so that an error can be shown there. Equal hooks do the same, wherever they
/// stand: a pipeline that only moved within its script has not changed.
#[derive(Clone, Debug)]
pub struct Hook {
    /// What runs.
    pub code: HookCode,
    /// File of the script, as it was named.
    pub file: Arc<str>,
    /// Line and column of the first character of the code, both from 1.
    pub line: u32,
    /// See `line`.
    pub column: u32,
    /// The included `.rhai` modules by name (`mask`): name, path, text.
    pub modules: Arc<Vec<HookModule>>,
}

impl PartialEq for Hook {
    fn eq(&self, other: &Hook) -> bool {
        self.code == other.code && self.modules == other.modules
    }
}

/// What a hook runs.
#[derive(Clone, Debug, PartialEq)]
pub enum HookCode {
    /// The text between the braces.
    Block(Arc<str>),
    /// `module::function`.
    Call {
        /// The included module.
        module: String,
        /// The function, which takes the row and returns it (map) or a bool (filter).
        function: String,
    },
}

/// An included Rhai file.
#[derive(Clone, Debug, PartialEq)]
pub struct HookModule {
    /// The file's stem.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Its text.
    pub text: Arc<str>,
    /// What its functions may do when they act; `None` is everything.
    pub allow: Option<Vec<Grant>>,
}

/// Something that a hook which acts may be allowed to do. To notify and to log is always allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// Send mail.
    Mail,
    /// Call other services.
    Webhook,
    /// Stop, pause, start and change what runs.
    Control,
    /// Look at figures.
    Stats,
}

impl Grant {
    /// Every grant.
    pub const ALL: &[Grant] = &[Grant::Mail, Grant::Webhook, Grant::Control, Grant::Stats];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Grant::Mail => "mail",
            Grant::Webhook => "webhook",
            Grant::Control => "control",
            Grant::Stats => "stats",
        }
    }
}
