//! A reader of a server's history: what a sink is to get next, and whether a cursor says what was delivered.

use std::collections::VecDeque;
use std::sync::Arc;

use super::history::Change;
use super::pipelines::{Delivery, Effect, Input};
use super::world::World;

/// Where a route is in its server's history.
pub struct Follower {
    delivery: Arc<Delivery>,
    server: usize,
    /// The transaction that comes next, and what of those before is still to come.
    at: u64,
    rest: VecDeque<Effect>,
}

impl Follower {
    /// Begins behind the server's first `at` transactions.
    pub fn new(delivery: Arc<Delivery>, server: usize, at: u64) -> Follower {
        Follower { delivery, server, at, rest: VecDeque::new() }
    }

    /// Takes what was delivered.
    ///
    /// # Errors
    /// It is not what was to come.
    pub fn take(&mut self, world: &World, effect: &Effect) -> Result<(), String> {
        while self.rest.is_empty() {
            let Some(rest) = self.effects_of(world, self.at) else {
                return Err(format!("{effect:?} comes behind the end of the source's history"));
            };
            self.at += 1;
            self.rest = rest;
        }
        let expected = self.rest.pop_front().expect("the loop saw to it");
        if expected != *effect {
            return Err(format!(
                "{effect:?} comes, and in transaction {} it was to be {expected:?}",
                self.at
            ));
        }
        Ok(())
    }

    /// Takes a cursor: everything of the first `offset` transactions was delivered, and nothing behind them.
    ///
    /// # Errors
    /// It was not.
    pub fn reach(&mut self, world: &World, offset: u64) -> Result<(), String> {
        if let Some(left_out) = self.rest.front() {
            return Err(format!("a cursor comes before {left_out:?} of transaction {}", self.at));
        }
        if offset < self.at {
            return Err(format!("the cursor says {offset} transactions, and {} are delivered", self.at));
        }
        for between in self.at..offset {
            match self.effects_of(world, between) {
                Some(effects) if effects.is_empty() => {}
                Some(effects) => {
                    let left_out = effects.front();
                    return Err(format!("the cursor leaves out {left_out:?} of transaction {}", between + 1));
                }
                None => return Err(format!("the cursor says {offset} transactions, which never happened")),
            }
        }
        self.at = offset;
        Ok(())
    }

    /// Whether nothing of what happened so far is still to come.
    pub fn is_at_end(&self, world: &World) -> bool {
        let count = world.servers[self.server].count();
        self.rest.is_empty()
            && (self.at..count).all(|at| self.effects_of(world, at).is_none_or(|rest| rest.is_empty()))
    }

    /// All that is still to come.
    pub fn remaining(mut self, world: &World) -> Vec<Effect> {
        let mut all: Vec<_> = self.rest.drain(..).collect();
        while let Some(effects) = self.effects_of(world, self.at) {
            all.extend(effects);
            self.at += 1;
        }
        all
    }

    fn effects_of(&self, world: &World, at: u64) -> Option<VecDeque<Effect>> {
        let transaction = world.servers[self.server].transaction(at)?;
        let input = self.delivery.input(self.server).expect("a route has an input");
        let book = world.books[self.server].lock().unwrap();
        let reaches = |change: &Change, input: &Input| {
            input.tables.contains(&change.table) && (!input.is_mined || book.covers(change.table, at))
        };
        let wanted = transaction.changes.iter().filter(|change| reaches(change, input));
        Some(wanted.flat_map(|change| self.delivery.effects(change)).collect())
    }
}
