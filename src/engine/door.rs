//! Where commands come from.

use std::fmt;

use serde::{Deserialize, Serialize};

/// By which door a command came; the audit list tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Door {
    /// A statement of a script.
    Script,
    /// `every … do` and `at … do`.
    Schedule,
    /// Rhai code.
    Hook,
    /// The prompt of the process that runs.
    Prompt,
    /// A program that embeds lode.
    Program,
    /// A signal: SIGHUP applies the script again.
    Signal,
    /// Another process of this machine.
    Socket {
        /// Its user.
        uid: u32,
        /// Its number, where the system tells.
        pid: Option<i32>,
    },
}

/// For people: `socket (user 1000, process 4711)`.
impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Door::Script => f.write_str("script"),
            Door::Schedule => f.write_str("schedule"),
            Door::Hook => f.write_str("hook"),
            Door::Prompt => f.write_str("prompt"),
            Door::Program => f.write_str("program"),
            Door::Signal => f.write_str("signal"),
            Door::Socket { uid, pid: Some(pid) } => write!(f, "socket (user {uid}, process {pid})"),
            Door::Socket { uid, pid: None } => write!(f, "socket (user {uid})"),
        }
    }
}
