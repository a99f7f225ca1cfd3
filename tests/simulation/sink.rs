//! Sinks that stay when lode is killed. They hold everything that comes against the source's history.
//!
//! `exact` commits rows and cursor together; `loose` writes rows first and the cursor later, so that the same rows come
//! again when it is lost in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use lode::error::{Error, Kind, Result};
use lode::model::block::Op;
use lode::model::change::{Batch, Change};
use lode::model::position::{Cursor, Seq};
use lode::model::row::Row;
use lode::model::value::Value;
use lode::sink::{Durable, Sink, SinkKind, SinkRoute, Written};

use super::follow::{At, Follower};
use super::history::Cell;
use super::pipelines::{Delivery, Effect};
use super::world::{Area, Place, World};

/// Rows by table and key.
pub type Contents = BTreeMap<String, BTreeMap<i64, BTreeMap<String, Cell>>>;

/// What one route has written.
#[derive(Default)]
pub struct Target {
    pub cursor: Option<Cursor>,
    pub contents: Contents,
    /// Where the first cursor was.
    pub first: Option<At>,
    /// The deliveries that wrote here.
    pub numbers: BTreeSet<u64>,
    /// Where somebody has sent its route, and how often that happened.
    pub sent_to: Option<(Seq, u64)>,
    sent: u64,
    /// What happens to it from outside.
    pub trouble: Trouble,
    fence: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Trouble {
    /// It cannot be reached until then.
    pub away_until_ms: i64,
    /// It takes so long for everything.
    pub delay_ms: u64,
    /// It rejects everything.
    pub rejects: bool,
    /// It has rejected something.
    pub has_rejected: bool,
    /// Another program wrote to it.
    pub was_fenced: bool,
    /// The delivery that was told so, which must not come again before somebody starts it.
    pub forbidden: Option<u64>,
    /// The fence when somebody started it last: writers up to there end for that.
    pub allowed_at: u64,
}

impl Target {
    /// Another program takes over.
    pub fn take_over(&mut self) {
        self.fence += 1;
        self.trouble.was_fenced = true;
    }

    /// Somebody starts its route, which may take over from whoever took over from it.
    pub fn allow(&mut self) {
        self.trouble.forbidden = None;
        self.trouble.allowed_at = self.fence;
    }

    /// Somebody sends its route to another place.
    pub fn send_to(&mut self, next: Seq) {
        self.sent += 1;
        self.sent_to = Some((next, self.sent));
    }

    /// Somebody empties it, so that the route begins anew.
    pub fn empty(&mut self) {
        *self = Target { trouble: self.trouble.clone(), fence: self.fence, ..Target::default() };
    }
}

pub fn apply(contents: &mut Contents, effect: &Effect) {
    match effect {
        Effect::Put { table, key, row } => {
            contents.entry(table.clone()).or_default().insert(*key, row.clone());
        }
        Effect::Remove { table, key } => {
            contents.entry(table.clone()).or_default().remove(key);
        }
        Effect::Clear { table } => {
            contents.remove(table);
        }
    }
}

/// Makes sinks of a simulated world.
pub struct Sinks(pub Arc<World>);

impl SinkKind for Sinks {
    fn sink(&self, route: SinkRoute) -> Result<Box<dyn Sink>> {
        let number = route.settings.integer("number").expect("scripts number their routes");
        let delivery = Arc::clone(&self.0.deliveries.lock().unwrap()[&number]);
        let source = route.key.split('/').nth(1).expect("the key has three parts");
        let server = self.0.server_called(source.trim_end_matches("_direct"));
        let open = Opened { fence: 0, follower: None, effects: Vec::new(), was_sent: None };
        Ok(Box::new(Writer { world: Arc::clone(&self.0), key: route.key, number, server, delivery, open }))
    }
}

struct Writer {
    world: Arc<World>,
    key: String,
    number: u64,
    server: usize,
    delivery: Arc<Delivery>,
    open: Opened,
}

/// What a writer has, from its opening on.
struct Opened {
    fence: u64,
    follower: Option<Follower>,
    /// Written, and not committed.
    effects: Vec<Effect>,
    /// It has gone where somebody sent it.
    was_sent: Option<(Seq, u64)>,
}

#[async_trait]
impl Sink for Writer {
    async fn open(&mut self) -> Result<Option<Cursor>> {
        self.reach(Place::OpenSink).await?;
        if self.with(|target| target.trouble.forbidden == Some(self.number)) {
            return Err(self.violated("it writes again after another writer took over".into()).await);
        }
        let (fence, cursor) = self.with(|target| {
            target.fence += 1;
            (target.fence, target.cursor.clone())
        });
        let follower = match &cursor {
            Some(cursor) => Some(self.follower(cursor)?),
            None => None,
        };
        self.open = Opened { fence, follower, effects: Vec::new(), was_sent: None };
        self.world.visit(Area::Sink).await;
        Ok(cursor)
    }

    async fn write(&mut self, batch: Batch) -> Result<Written> {
        self.reach(Place::Write).await?;
        let Batch { changes, cursor } = batch;
        let fence = self.open.fence;
        if self.with(|target| target.fence) != fence {
            self.with(|target| {
                if fence > target.trouble.allowed_at {
                    target.trouble.forbidden = Some(self.number);
                }
            });
            return Err(Error::new(Kind::Fenced, "another writer took over"));
        }
        let rejects = self.with(|target| target.trouble.rejects && !changes.is_empty());
        if rejects {
            self.with(|target| target.trouble.has_rejected = true);
            return Err(Error::new(Kind::Data, "the target rejects a row"));
        }
        for (at, change) in changes.iter().enumerate() {
            if let Err(what) = self.take(change) {
                return Err(self.violated(what).await);
            }
            if !self.delivery.is_exact && at == changes.len() / 2 {
                self.write_loosely();
                self.world.visit(Area::Sink).await;
                self.world.pass(Place::HalfWrite)?;
            }
        }
        let rows = changes.len() as u64;
        if !self.delivery.is_exact {
            self.write_loosely();
            self.world.visit(Area::Sink).await;
        }
        let Some(cursor) = cursor else { return Ok(Written { durable: None, rows }) };
        if let Err(what) = self.commit(&cursor) {
            return Err(self.violated(what).await);
        }
        self.world.note(format_args!("  {} has {} changes up to {}", self.key, rows, cursor.next));
        self.world.visit(Area::Sink).await;
        self.world.pass(Place::WriteAnswer)?;
        Ok(Written { durable: Some(Durable::after_commit(cursor)), rows })
    }

    async fn close(&mut self) -> Result<()> {
        self.open.effects.clear();
        self.world.visit(Area::Sink).await;
        self.world.pass(Place::CloseSink)
    }
}

impl Writer {
    fn with<T>(&self, work: impl FnOnce(&mut Target) -> T) -> T {
        work(self.world.targets.lock().unwrap().entry(self.key.clone()).or_default())
    }

    async fn reach(&self, place: Place) -> Result<()> {
        let delay_ms = self.with(|target| target.trouble.delay_ms);
        if delay_ms > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(delay_ms)).await;
        }
        self.world.visit(Area::Sink).await;
        if self.with(|target| target.trouble.away_until_ms) > self.world.now_ms() {
            return Err(Error::new(Kind::Unavailable, "the target is away"));
        }
        self.world.pass(place)
    }

    /// Notes a broken promise. Nothing comes after it.
    async fn violated(&self, what: String) -> Error {
        self.world.violate(format_args!("{}: {what}", self.key));
        std::future::pending().await
    }

    fn follower(&self, cursor: &Cursor) -> Result<Follower> {
        let at = self.place(cursor).map_err(|what| {
            self.world.violate(format_args!("{}: {what}", self.key));
            Error::new(Kind::Internal, what)
        })?;
        Ok(Follower::new(Arc::clone(&self.delivery), self.server, at))
    }

    fn place(&self, cursor: &Cursor) -> Result<At, String> {
        let offset = cursor.position.as_ref().map(|position| position.offset);
        if cursor.log.is_none() {
            let offset = offset.ok_or("the cursor of a direct route has no position")?;
            return Ok(At::Source(offset));
        }
        let book = self.world.books[self.server].lock().unwrap();
        // The log may be empty still. It begins with the source's oldest transaction then.
        let known = match book.transactions_before(cursor.next) {
            None if cursor.next.0 == 0 => 0,
            None => return Err(format!("the cursor {} lies in the middle of a transaction", cursor.next)),
            Some(known) => known,
        };
        match offset {
            Some(offset) if offset != known => Err(format!(
                "the cursor {} says {offset} transactions, and the log has {known} there",
                cursor.next
            )),
            _ => Ok(At::Log(cursor.next)),
        }
    }

    fn take(&mut self, change: &Change) -> Result<(), String> {
        if self.delivery.input(self.server).is_some_and(|input| input.is_mined) {
            let next = self.world.books[self.server].lock().unwrap().next;
            if change.seq >= next {
                return Err(format!(
                    "entry {} is delivered, and the log is durable up to {next}",
                    change.seq
                ));
            }
        }
        let Some(follower) = &mut self.open.follower else {
            return Err("changes come before the starting point is durable".into());
        };
        for effect in effects(change) {
            follower.take(&self.world, &effect).map_err(|what| format!("entry {}: {what}", change.seq))?;
            self.open.effects.push(effect);
        }
        Ok(())
    }

    /// Makes rows durable without their cursor.
    fn write_loosely(&mut self) {
        let effects = std::mem::take(&mut self.open.effects);
        let number = self.number;
        self.with(|target| {
            target.numbers.insert(number);
            effects.iter().for_each(|effect| apply(&mut target.contents, effect));
        });
    }

    fn commit(&mut self, cursor: &Cursor) -> Result<(), String> {
        let at = self.place(cursor)?;
        if self.goes_where_it_was_sent(cursor, at) {
            self.open.was_sent = self.with(|target| target.sent_to);
            self.open.follower = Some(self.follower(cursor).map_err(|error| error.to_string())?);
            return Ok(());
        }
        match &mut self.open.follower {
            Some(follower) => follower.reach(&self.world, at)?,
            None => {
                self.check_beginning(cursor)?;
                self.open.follower = Some(self.follower(cursor).map_err(|error| error.to_string())?);
            }
        }
        let effects = std::mem::take(&mut self.open.effects);
        let (number, was_sent) = (self.number, self.open.was_sent);
        self.with(|target| {
            if let Some(before) = &target.cursor
                && (cursor.next < before.next || cursor.log != before.log)
            {
                return Err(format!("the cursor goes from {} back to {}", before.next, cursor.next));
            }
            target.numbers.insert(number);
            target.first.get_or_insert(at);
            effects.iter().for_each(|effect| apply(&mut target.contents, effect));
            target.cursor = Some(cursor.clone());
            if was_sent.is_some() && was_sent == target.sent_to {
                target.sent_to = None;
            }
            Ok(())
        })
    }

    /// Whether this is the cursor that somebody asked for, before any row.
    fn goes_where_it_was_sent(&self, cursor: &Cursor, at: At) -> bool {
        let number = self.number;
        let sent_to = self.with(|target| target.sent_to).map(|(next, _)| next);
        if !self.open.effects.is_empty() || sent_to != Some(cursor.next) {
            return false;
        }
        let before = self.with(|target| target.cursor.clone());
        let before = before.and_then(|before| self.place(&before).ok());
        self.with(|target| {
            target.numbers.insert(number);
            match before {
                // What is sent back gets the same changes in the same order again, and ends where it was.
                Some(before) if at <= before => {
                    target.first = Some(target.first.map_or(at, |first| first.min(at)));
                }
                _ => {
                    target.contents.clear();
                    target.first = Some(at);
                }
            }
            target.cursor = Some(cursor.clone());
        });
        true
    }

    /// A route that does not say where it begins gets everything that its log has.
    fn check_beginning(&self, cursor: &Cursor) -> Result<(), String> {
        if cursor.log.is_none() || self.delivery.starts_now {
            return Ok(());
        }
        let horizon = self.world.books[self.server].lock().unwrap().horizon;
        if cursor.next > horizon {
            return Err(format!("the route begins at {}, and the log at {horizon}", cursor.next));
        }
        Ok(())
    }
}

fn effects(change: &Change) -> Vec<Effect> {
    let table = || change.table.name.table.clone();
    let key = |row: &Row| match row.view().get_named("id") {
        Some(Value::Int(key)) => key,
        other => panic!("a row of {} has the key {other:?}", change.table.name),
    };
    let put = |row: &Row| {
        let names = row.schema.columns.iter().map(|column| column.name.clone());
        let cells = names.zip(row.view().values().map(Cell::of)).collect();
        Effect::Put { table: table(), key: key(row), row: cells }
    };
    match (change.op, &change.before, &change.after) {
        (Op::Truncate, ..) => vec![Effect::Clear { table: table() }],
        (Op::Delete, Some(before), None) => vec![Effect::Remove { table: table(), key: key(before) }],
        (Op::Insert, None, Some(after)) => vec![put(after)],
        (Op::Update, Some(before), Some(after)) if key(before) != key(after) => {
            vec![Effect::Remove { table: table(), key: key(before) }, put(after)]
        }
        (Op::Update, _, Some(after)) => vec![put(after)],
        other => panic!("a change of {} has the images {other:?}", change.table.name),
    }
}
