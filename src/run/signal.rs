//! How running tasks are told to end.

use tokio::sync::watch;

/// What a task should do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    /// Go on.
    #[default]
    Run,
    /// Finish what was mined by now, then end.
    Drain,
    /// End as soon as nothing is half done.
    Stop,
}

/// The sending side. Wishes only grow: a task told to stop is never told to run again.
#[derive(Clone, Debug, Default)]
pub struct Control(watch::Sender<Wish>);

impl Control {
    /// Tells all listeners; a weaker wish than an earlier one changes nothing.
    pub fn tell(&self, wish: Wish) {
        self.0.send_if_modified(|now| {
            let stronger = wish > *now;
            *now = wish.max(*now);
            stronger
        });
    }

    /// A listener.
    pub fn listen(&self) -> Listener {
        Listener(self.0.subscribe())
    }
}

/// The receiving side.
#[derive(Clone, Debug)]
pub struct Listener(watch::Receiver<Wish>);

impl Listener {
    /// What is wished now.
    pub fn wish(&self) -> Wish {
        *self.0.borrow()
    }

    /// Waits until at least `wish` is wished. When the control is gone, nobody waits for the task any more,
    /// which counts as the wish to stop. Cancel-safe.
    pub async fn at_least(&mut self, wish: Wish) {
        // An error means that the sender is gone.
        let _ = self.0.wait_for(|now| *now >= wish).await;
    }
}
