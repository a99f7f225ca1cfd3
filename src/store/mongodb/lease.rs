//! Who may write a log: one process at a time, for as long as it says every few seconds that it is there.
//!
//! The lease keeps people from starting two writers. What keeps the log right is the fence: it grows with every
//! writer, and the head changes only for who knows the newest one. So it is never wrong to take a lease over, only
//! unkind; and who writes may find out late that it lost it.

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;
use std::{fs, process};

use mongodb::bson::{DateTime, Document, doc};
use tokio::time::Instant;
use tracing::info;
use uuid::Uuid;

use super::collections::Collections;
use super::head::{HEAD, Head};
use crate::client::mongodb::answer;
use crate::error::{Error, Kind, Result};

/// How often somebody looks whether a lease has ended or was renewed.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The sessions of this process that hold a lease.
static HELD: LazyLock<Mutex<HashSet<Uuid>>> = LazyLock::new(Mutex::default);
/// Told from all other processes.
static PROCESS: LazyLock<Uuid> = LazyLock::new(Uuid::new_v4);

/// A lease as the head has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    /// The opening of the log that holds it.
    pub session: Uuid,
    process: Uuid,
    host: String,
    machine: String,
    pid: u32,
    /// When the process began, in a unit of the system's own; tells it from a later one with the same number.
    started: i64,
    since: DateTime,
    renewed: DateTime,
}

impl Lease {
    pub fn read(document: &Document) -> Result<Lease, Box<dyn std::error::Error>> {
        Ok(Lease {
            session: document.get_str("session")?.parse()?,
            process: document.get_str("process")?.parse()?,
            host: document.get_str("host")?.to_owned(),
            machine: document.get_str("machine")?.to_owned(),
            pid: document.get_i64("pid")? as u32,
            started: document.get_i64("started")?,
            since: *document.get_datetime("since")?,
            renewed: *document.get_datetime("renewed")?,
        })
    }

    /// What people call the holder.
    pub fn holder(&self) -> String {
        let since = self.since.try_to_rfc3339_string().unwrap_or_default();
        format!("process {} on {} has it since {since}", self.pid, self.host)
    }

    fn is_of_this_process(&self) -> bool {
        self.process == *PROCESS
    }

    /// Whether the holder is certain to be there, or certain not to be; `None` when only time will tell.
    fn is_there(&self) -> Option<bool> {
        if self.is_of_this_process() {
            return Some(held_sessions().contains(&self.session));
        }
        match machine() {
            Some(machine) if machine == self.machine => Some(started(self.pid) == Some(self.started)),
            _ => None,
        }
    }
}

/// A lease that is held. Dropping it ends it for this process at once, for others when its time has come.
#[derive(Debug)]
pub(super) struct Held {
    pub session: Uuid,
}

impl Held {
    /// Takes the lease of the log, waiting for the end of one whose holder may be gone, and gives the head as it is then,
    /// with a new fence.
    ///
    /// # Errors
    /// `Refused` when another process holds it; `Gap` when there is no log.
    pub async fn take(place: &Collections, length: Duration) -> Result<(Held, Head)> {
        let held = Held { session: Uuid::new_v4() };
        held_sessions().insert(held.session);
        let mut seen: Option<(Lease, Instant)> = None;
        loop {
            let head = Head::load(place).await?.ok_or_else(|| gone(place))?;
            let Some(lease) = &head.lease else {
                match held.try_take(place, doc! { "lease.session": { "$exists": false } }).await? {
                    Some(head) => return Ok((held, head)),
                    None => continue,
                }
            };
            let there = lease.is_there();
            if there == Some(true) && lease.is_of_this_process() {
                return Err(refused(lease));
            }
            let mut filter = doc! { "lease.session": lease.session.to_string() };
            if there != Some(false) {
                filter.extend(ended(length));
            }
            if let Some(head) = held.try_take(place, filter).await? {
                return Ok((held, head));
            }
            if there == Some(true) {
                return Err(refused(lease));
            }
            match &seen {
                Some((before, began)) if before.session == lease.session => {
                    // Renewed meanwhile, or without an end: somebody is there.
                    if before.renewed != lease.renewed || began.elapsed() > length * 3 {
                        return Err(refused(lease));
                    }
                }
                _ => {
                    info!(
                        log = place.name(),
                        host = lease.host,
                        pid = lease.pid,
                        wait_ms_max = length.as_millis() as u64,
                        "another lode had the log; waiting until its lease ends or is renewed"
                    );
                    seen = Some((lease.clone(), Instant::now()));
                }
            }
            tokio::time::sleep(LOOK_EVERY.min(length / 4)).await;
        }
    }

    /// Takes the lease when it is as `filter` says.
    async fn try_take(&self, place: &Collections, mut filter: Document) -> Result<Option<Head>> {
        filter.insert("_id", HEAD);
        let change = doc! {
            "$inc": { "fence": 1_i64 },
            "$set": {
                "lease.session": self.session.to_string(),
                "lease.process": PROCESS.to_string(),
                "lease.host": host(),
                "lease.machine": machine().unwrap_or_default(),
                "lease.pid": i64::from(process::id()),
                "lease.started": started(process::id()).unwrap_or_default(),
            },
            "$currentDate": { "lease.since": true, "lease.renewed": true },
        };
        Head::change(place, "cannot take the log", filter, change).await
    }

    /// Says that the holder is there. False when the lease is no longer its own.
    pub async fn renew(place: &Collections, session: Uuid) -> Result<bool> {
        let filter = doc! { "_id": HEAD, "lease.session": session.to_string() };
        let renewed = place.state.update_one(filter, doc! { "$currentDate": { "lease.renewed": true } });
        Ok(answer("cannot renew the lease of the log", renewed).await?.matched_count > 0)
    }

    /// Gives the lease back, so that the next one need not wait. Nothing is lost when this fails.
    pub async fn release(place: &Collections, session: Uuid) {
        let filter = doc! { "_id": HEAD, "lease.session": session.to_string() };
        let released = place.state.update_one(filter, doc! { "$set": { "lease": {} } });
        let _ = answer("cannot release the log", released).await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        held_sessions().remove(&self.session);
    }
}

/// What fits a head whose lease was not renewed for so long, by the server's clock.
fn ended(length: Duration) -> Document {
    let end = doc! { "$add": [{ "$toLong": "$lease.renewed" }, length.as_millis() as i64] };
    doc! { "$expr": { "$lt": [end, { "$toLong": "$$NOW" }] } }
}

fn refused(lease: &Lease) -> Error {
    Error::new(Kind::Refused, format!("another lode writes this log: {}", lease.holder())).advice(
        "stop that one first, or mine into a log with another name; any number of pipelines may read one log",
    )
}

/// The log was there a moment ago.
pub(super) fn gone(place: &Collections) -> Error {
    Error::new(
        Kind::Gap,
        format!("the log was dropped: collection {} has no head any more", place.state.name()),
    )
    .advice(format!(
        "to begin a new log, drop collection {} as well, start lode again, and fill the targets anew",
        place.name()
    ))
}

fn held_sessions() -> std::sync::MutexGuard<'static, HashSet<Uuid>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(
        |_| std::env::var("HOSTNAME").unwrap_or_else(|_| "an unknown host".into()),
        |name| name.trim().to_owned(),
    )
}

/// Within what process numbers mean something: a running system, and in it a space of process numbers, as containers
/// have their own. `None` where the system does not tell.
fn machine() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let space = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), space.display()))
}

/// When the process with this number began, in ticks since the system started; `None` when there is none.
fn started(pid: u32) -> Option<i64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in parentheses, which may hold blanks; the 22nd is the time.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    // A process that has ended and waits for its parent is gone.
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_others() {
        let own = process::id();
        assert!(started(own).is_some_and(|ticks| ticks > 0));
        assert_eq!(started(own), started(own));
        assert_ne!(started(own), started(1));
        assert_eq!(started(u32::MAX), None);
        assert!(machine().is_some_and(|machine| machine.contains("pid:[")));
    }
}
