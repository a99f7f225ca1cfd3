//! A terminal that one view has all of. However the view ends, the terminal is as it was before.

use std::io::{self, Stdout};
use std::sync::{Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::thread::{self, ThreadId};

use lode::error::{Error, Kind, Result};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::layout::Rect;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::runtime::Handle;
use tokio::signal::unix::SignalKind;

use crate::cli::process::listen;

/// The thread whose view has the terminal.
static OWNER: Mutex<Option<ThreadId>> = Mutex::new(None);
static FREE: Condvar = Condvar::new();

/// The terminal, as long as this is there.
pub struct FullScreen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl FullScreen {
    /// Takes the terminal of standard output.
    ///
    /// # Errors
    /// `Environment` when it cannot be used.
    pub fn enter() -> Result<FullScreen> {
        leave_before_a_panic_is_told();
        let mut owner = owner();
        let terminal = prepare().and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        match terminal {
            Ok(terminal) => {
                *owner = Some(thread::current().id());
                Ok(FullScreen { terminal })
            }
            Err(error) => {
                restore();
                Err(failed(error))
            }
        }
    }

    /// Shows what `draw` draws. False when somebody has left the view meanwhile, such as a signal.
    ///
    /// # Errors
    /// `Environment` when the terminal cannot be written to.
    pub fn draw(&mut self, draw: impl FnOnce(Rect, &mut Buffer)) -> Result<bool> {
        self.terminal.autoresize().map_err(failed)?;
        let area = self.terminal.get_frame().area();
        let mut buffer = Buffer::empty(area);
        draw(area, &mut buffer);
        let owner = owner();
        if owner.is_none() {
            return Ok(false);
        }
        // Where the size has changed in between, the next time is right.
        let show = |frame: &mut ratatui::Frame<'_>| {
            if frame.area() == area {
                frame.buffer_mut().clone_from(&buffer);
            }
        };
        self.terminal.draw(show).map(|_| true).map_err(failed)
    }

    /// Takes the terminal again where a shell has used it meanwhile, as this process was stopped and goes on. True when
    /// that was so.
    ///
    /// # Errors
    /// `Environment` when it cannot be used.
    pub fn take_again(&mut self) -> Result<bool> {
        let owner = owner();
        let has_lines = tcgetattr(io::stdin()).is_ok_and(|now| now.local_modes.contains(LocalModes::ICANON));
        if owner.is_none() || !has_lines {
            return Ok(false);
        }
        disable_raw_mode().and_then(|()| prepare()).map_err(failed)?;
        // This draws everything anew.
        let area = self.terminal.get_frame().area();
        self.terminal.resize(area).map(|()| true).map_err(failed)
    }
}

impl Drop for FullScreen {
    fn drop(&mut self) {
        leave();
    }
}

/// Gives the terminal back, when a view has it.
pub fn leave() {
    if owner().take().is_some() {
        restore();
        FREE.notify_all();
    }
}

/// Prints when no view has the terminal.
pub fn between_views<T>(print: impl FnOnce() -> T) -> T {
    let free = FREE.wait_while(owner(), |owner| owner.is_some()).unwrap_or_else(PoisonError::into_inner);
    let printed = print();
    drop(free);
    printed
}

/// How the terminal was before lines and keys were read from it.
pub struct Before(Option<Termios>);

impl Before {
    /// As it is now.
    pub fn of_terminal() -> Before {
        Before(tcgetattr(io::stdin()).ok())
    }

    /// Makes it so again, where this process ends while a line is typed or a view is open.
    pub fn restore(&self) {
        leave();
        if let Some(before) = &self.0 {
            // A terminal that is gone needs nothing.
            let _ = tcsetattr(io::stdin(), OptionalActions::Drain, before);
        }
    }
}

/// From now on, a signal that ends this process finds the terminal as it is now.
///
/// # Errors
/// `Environment` when signals cannot be listened for.
pub fn end_with_terminal_restored(runtime: &Handle) -> Result<()> {
    let before = Before::of_terminal();
    let _entered = runtime.enter();
    let (mut terminate, mut hangup) = (listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
    runtime.spawn(async move {
        let kind = tokio::select! {
            _ = terminate.recv() => SignalKind::terminate(),
            _ = hangup.recv() => SignalKind::hangup(),
        };
        before.restore();
        // As shells say it of a process that a signal has ended.
        std::process::exit(128 + kind.as_raw_value());
    });
    Ok(())
}

fn owner() -> MutexGuard<'static, Option<ThreadId>> {
    OWNER.lock().unwrap_or_else(PoisonError::into_inner)
}

fn prepare() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen, Hide)
}

/// A terminal that is gone needs nothing.
fn restore() {
    let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
    let _ = disable_raw_mode();
}

/// What a panic of the view says would be lost with the screen it is written to.
fn leave_before_a_panic_is_told() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // Nothing is drawn while it is locked, so that it is free in a thread that panics.
            let is_own = OWNER.try_lock().is_ok_and(|owner| *owner == Some(thread::current().id()));
            if is_own {
                leave();
            }
            before(info);
        }));
    });
}

fn failed(error: io::Error) -> Error {
    Error::new(Kind::Environment, format!("cannot use the terminal: {error}"))
}
