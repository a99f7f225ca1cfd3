//! Terminals for tests: a command in each, what it shows, and keys for it.

use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use super::picture::{Look, Piece, pieces, svg};
use super::transcript::{Desk, LODE};

/// How long something may take that takes a moment, on a busy machine.
const LONG: Duration = Duration::from_secs(60);
/// The size of a terminal that was not resized.
pub const ROWS: u16 = 40;
/// As above.
const COLUMNS: u16 = 72;

/// Keys by their names, with what terminals send for them.
const KEYS: &[(&str, &str)] = &[
    ("<Tab>", "\t"),
    ("<Enter>", "\r"),
    ("<Esc>", "\x1b"),
    ("<Up>", "\x1b[A"),
    ("<Down>", "\x1b[B"),
    ("<Right>", "\x1b[C"),
    ("<Ctrl-C>", "\x03"),
    ("<Ctrl-D>", "\x04"),
    ("<Ctrl-R>", "\x12"),
];

/// A terminal with a command in it.
pub struct Terminal {
    pty: Box<dyn MasterPty + Send>,
    input: Mutex<Box<dyn Write + Send>>,
    child: Box<dyn Child + Send + Sync>,
    screen: Arc<Mutex<vt100::Parser>>,
    /// Everything that was ever written to it.
    pub written: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    pub fn open(desk: &Desk, line: &str) -> Terminal {
        let size = PtySize { rows: ROWS, cols: COLUMNS, ..PtySize::default() };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new("sh");
        command.args(["-c", &format!("exec {line}")]);
        command.cwd(desk.path());
        let bin = std::path::Path::new(LODE).parent().unwrap().display().to_string();
        command.env("PATH", format!("{bin}:{}", std::env::var("PATH").unwrap_or_default()));
        command.env("TERM", "xterm-256color");
        command.env("TZ", "UTC");
        command.env("LODE_LOG", "off");
        command.env("XDG_STATE_HOME", desk.path().join("state"));
        command.env_remove("LODE_DATA");
        command.env_remove("NO_COLOR");
        let child = pair.slave.spawn_command(command).unwrap();
        let (rows, columns) = (NonZeroU16::new(ROWS).unwrap(), NonZeroU16::new(COLUMNS).unwrap());
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let written = Arc::new(Mutex::new(Vec::new()));
        let mut output = pair.master.try_clone_reader().unwrap();
        let (shown, kept) = (Arc::clone(&screen), Arc::clone(&written));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                kept.lock().unwrap().extend_from_slice(&bytes[..count]);
                shown.lock().unwrap().process(&bytes[..count]);
            }
        });
        let input = Mutex::new(pair.master.take_writer().unwrap());
        Terminal { pty: pair.master, input, child, screen, written }
    }

    pub fn write(&self, text: &str) {
        let mut input = self.input.lock().unwrap();
        input.write_all(text.as_bytes()).and_then(|()| input.flush()).unwrap();
    }

    pub fn contents(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Waits until what it shows is so.
    pub fn wait(&self, what: &str, is_so: impl Fn(&str) -> bool) {
        let started = Instant::now();
        while !is_so(&self.contents()) {
            assert!(started.elapsed() < LONG, "not within {LONG:?}: {what}\n{}", self.contents());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// How often lines were begun, and how often they were ended: the editor turns the marking of pasted text on and off.
    fn edited(&self) -> (usize, usize) {
        let written = self.written.lock().unwrap();
        let count = |mark: &[u8]| written.windows(mark.len()).filter(|found| *found == mark).count();
        (count(b"\x1b[?2004h"), count(b"\x1b[?2004l"))
    }

    /// Waits until a line can be typed. What is typed before that may be lost.
    pub fn ready(&self) {
        until("a line can be typed", || {
            let (begun, ended) = self.edited();
            begun > ended
        });
    }

    /// Types keys that end the line.
    pub fn end_line(&self, typed: &str) {
        self.ready();
        let (_, before) = self.edited();
        self.write(typed);
        until("the line is ended", || self.edited().1 > before);
    }

    /// What it shows when nothing was written for a while.
    pub fn settled(&self) -> String {
        let length = || self.written.lock().unwrap().len();
        let mut before = length();
        loop {
            thread::sleep(Duration::from_millis(300));
            let now = length();
            if now == before {
                return self.contents();
            }
            before = now;
        }
    }

    /// Whether a program has the whole screen.
    pub fn is_full_screen(&self) -> bool {
        self.screen.lock().unwrap().screen().alternate_screen()
    }

    /// What it shows, with its looks.
    fn lines(&self) -> Vec<Vec<Piece>> {
        let parser = self.screen.lock().unwrap();
        let screen = parser.screen();
        let (rows, columns) = screen.size();
        let letter = |row, column| {
            let cell = screen.cell(row, column)?;
            let look = Look {
                color: match cell.fgcolor() {
                    vt100::Color::Idx(number) => Some(number),
                    _ => None,
                },
                is_bold: cell.bold(),
                is_dim: cell.dim(),
                is_reversed: cell.inverse(),
            };
            let text = if cell.has_contents() { cell.contents().to_owned() } else { " ".to_owned() };
            (!cell.is_wide_continuation()).then_some((text, if cell.is_wide() { 2 } else { 1 }, look))
        };
        (0..rows.get())
            .map(|row| pieces((0..columns.get()).filter_map(|column| letter(row, column))))
            .collect()
    }

    /// A picture of what it shows.
    pub fn picture(&self) -> String {
        let (_, columns) = self.screen.lock().unwrap().screen().size();
        svg(&self.lines(), columns.get().into(), "the prompt of lode")
    }

    /// Ends its command, unless that has ended already.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// As if somebody had wiped it; the program writes on where it was.
    pub fn clear(&self) {
        self.screen.lock().unwrap().process(b"\x1b[2J\x1b[H");
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        // As terminals do, which know their size before a program is told of it.
        let (high, wide) = (NonZeroU16::new(rows).unwrap(), NonZeroU16::new(columns).unwrap());
        self.screen.lock().unwrap().screen_mut().set_size(high, wide);
        self.pty.resize(PtySize { rows, cols: columns, ..PtySize::default() }).unwrap();
    }

    pub fn ended(&mut self, what: &str) -> u32 {
        let mut code = None;
        until(what, || {
            code = self.child.try_wait().unwrap().map(|status| status.exit_code());
            code.is_some()
        });
        code.unwrap_or_default()
    }
}

/// A text with keys in the places of their names.
pub fn keys(text: &str) -> String {
    KEYS.iter().fold(text.to_owned(), |text, (name, key)| text.replace(name, key))
}

/// Waits until it is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < LONG, "not within {LONG:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
