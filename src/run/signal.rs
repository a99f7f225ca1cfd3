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
    /// What is wished now. When the control is gone, nobody waits for the task any more, which counts as the wish
    /// to stop.
    pub fn wish(&self) -> Wish {
        if self.0.has_changed().is_err() { Wish::Stop } else { *self.0.borrow() }
    }

    /// Waits until at least `wish` is wished. Cancel-safe.
    pub async fn at_least(&mut self, wish: Wish) {
        // An error means that the control is gone.
        let _ = self.0.wait_for(|now| *now >= wish).await;
    }

    /// What `work` gives; `None` when at least `wish` is wished first, and then `work` is dropped where it is.
    pub async fn unless<T>(&mut self, wish: Wish, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.at_least(wish) => None,
            done = work => Some(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn wishes_only_grow() {
        let control = Control::default();
        let mut listener = control.listen();
        assert_eq!(listener.unless(Wish::Drain, async { 1 }).await, Some(1));
        control.tell(Wish::Stop);
        control.tell(Wish::Drain);
        assert_eq!(listener.wish(), Wish::Stop);
        assert_eq!(listener.unless(Wish::Drain, std::future::pending::<()>()).await, None);
    }

    #[tokio::test]
    async fn a_control_that_is_gone_is_the_wish_to_stop() {
        let mut listener = Control::default().listen();
        assert_eq!(listener.wish(), Wish::Stop);
        listener.at_least(Wish::Stop).await;
    }
}
