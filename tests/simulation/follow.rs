//! A reader of what happened: what a sink is to get next, and whether a cursor says what was delivered.

use std::collections::VecDeque;
use std::sync::Arc;

use lode::model::position::Seq;

use super::history::Change;
use super::pipelines::{Delivery, Effect};
use super::world::World;

/// How far a route is: in a log, whose order it follows, or in the source itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    /// Before this entry of its log.
    Log(Seq),
    /// Behind so many of the server's transactions.
    Source(u64),
}

/// Where a route is, and what comes next.
pub struct Follower {
    delivery: Arc<Delivery>,
    server: usize,
    at: At,
    /// Of what lies before `at`, what is still to come.
    rest: VecDeque<Effect>,
}

impl Follower {
    pub fn new(delivery: Arc<Delivery>, server: usize, at: At) -> Follower {
        Follower { delivery, server, at, rest: VecDeque::new() }
    }

    /// Takes what was delivered.
    ///
    /// # Errors
    /// It is not what was to come.
    pub fn take(&mut self, world: &World, effect: &Effect) -> Result<(), String> {
        while self.rest.is_empty() {
            let Some((rest, behind)) = self.next(world) else {
                return Err(format!("{effect:?} comes behind the end of all that happened"));
            };
            (self.rest, self.at) = (rest, behind);
        }
        let expected = self.rest.pop_front().expect("the loop saw to it");
        if expected != *effect {
            return Err(format!("{effect:?} comes, and before {:?} it was to be {expected:?}", self.at));
        }
        Ok(())
    }

    /// Takes a cursor: everything before it was delivered, and nothing behind it.
    ///
    /// # Errors
    /// It was not.
    pub fn reach(&mut self, world: &World, to: At) -> Result<(), String> {
        if let Some(left_out) = self.rest.front() {
            return Err(format!(
                "a cursor at {to:?} comes before {left_out:?}, which lies before {:?}",
                self.at
            ));
        }
        if to < self.at {
            return Err(format!("the cursor says {to:?}, and what lies before {:?} is delivered", self.at));
        }
        while self.at < to {
            match self.next(world) {
                Some((effects, behind)) if behind <= to => {
                    if let Some(left_out) = effects.front() {
                        return Err(format!(
                            "the cursor at {to:?} leaves out {left_out:?}, before {behind:?}"
                        ));
                    }
                    self.at = behind;
                }
                Some(_) => self.at = to,
                None if matches!(to, At::Log(_)) => self.at = to,
                None => return Err(format!("the cursor says {to:?}, which never happened")),
            }
        }
        Ok(())
    }

    /// Whether nothing of what happened so far is still to come.
    pub fn is_at_end(&self, world: &World) -> bool {
        let input = self.delivery.input(self.server).expect("a route has an input");
        let is_complete = match self.at {
            At::Log(_) => {
                let book = world.books[self.server].lock().unwrap();
                book.has_everything(&world.servers[self.server], &input.tables)
            }
            At::Source(_) => true,
        };
        is_complete && self.clone_at().remaining(world).is_empty() && self.rest.is_empty()
    }

    /// All that is still to come, as far as it is there.
    pub fn remaining(mut self, world: &World) -> Vec<Effect> {
        let mut all: Vec<_> = self.rest.drain(..).collect();
        while let Some((effects, behind)) = self.next(world) {
            all.extend(effects);
            self.at = behind;
        }
        all
    }

    fn clone_at(&self) -> Follower {
        Follower::new(Arc::clone(&self.delivery), self.server, self.at)
    }

    /// What the sink gets for what comes next, and the place behind that.
    fn next(&self, world: &World) -> Option<(VecDeque<Effect>, At)> {
        let input = self.delivery.input(self.server).expect("a route has an input");
        let effects = |change: &Change| match input.tables.contains(&change.table) {
            true => self.delivery.effects(change),
            false => Vec::new(),
        };
        match self.at {
            At::Log(seq) => {
                let book = world.books[self.server].lock().unwrap();
                let (found, change) = book.change_from(seq)?;
                Some((effects(change).into(), At::Log(found.plus(1))))
            }
            At::Source(at) => {
                let transaction = world.servers[self.server].transaction(at)?;
                Some((transaction.changes.iter().flat_map(effects).collect(), At::Source(at + 1)))
            }
        }
    }
}
