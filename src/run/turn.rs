//! Who may write into a mine's log: one at a time, in the order of coming.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard, watch};

/// The right to write. A session of the mine holds it for as long as it mines, and gives way when somebody else waits.
#[derive(Debug, Default)]
pub(super) struct Turns {
    writing: Arc<Mutex<()>>,
    waiting: watch::Sender<usize>,
}

/// Held by whoever writes.
pub(super) type Turn = OwnedMutexGuard<()>;

impl Turns {
    /// Waits for a turn to write something short; a session that mines ends for it. Cancel-safe.
    pub async fn take(&self) -> Turn {
        let _waiting = Waiting::new(&self.waiting);
        self.hold().await
    }

    /// Waits for a turn to go on for as long as nobody else [takes](Self::take) one. Cancel-safe.
    pub async fn hold(&self) -> Turn {
        Arc::clone(&self.writing).lock_owned().await
    }

    /// Whether somebody waits for a turn.
    pub fn is_awaited(&self) -> bool {
        *self.waiting.borrow() > 0
    }

    /// Returns when somebody waits for a turn. Cancel-safe.
    pub async fn awaited(&self) {
        // The sender is `self`, which lives.
        let _ = self.waiting.subscribe().wait_for(|waiting| *waiting > 0).await;
    }
}

/// Counts as long as it lives.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl Waiting<'_> {
    fn new(waiting: &watch::Sender<usize>) -> Waiting<'_> {
        waiting.send_modify(|count| *count += 1);
        Waiting(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_holds_a_turn_hears_of_others_and_gets_it_back_after_them() {
        let turns = Arc::new(Turns::default());
        let held = turns.hold().await;
        assert!(!turns.is_awaited());
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let taking = {
            let (turns, order) = (Arc::clone(&turns), Arc::clone(&order));
            tokio::spawn(async move {
                let _turn = turns.take().await;
                order.lock().unwrap().push("taken");
            })
        };
        turns.awaited().await;
        drop(held);
        let _held = turns.hold().await;
        order.lock().unwrap().push("held");
        taking.await.unwrap();
        assert_eq!(*order.lock().unwrap(), ["taken", "held"]);
        assert!(!turns.is_awaited());
    }
}
