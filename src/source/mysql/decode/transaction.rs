//! Where transactions begin and end, and what is written of those that changed nothing.

use std::time::Instant;

use super::super::event::{Event, Flaw, Reader, kind};
use super::super::gtid::{MariaGtid, Run};
use super::{Decoder, Group, Gtid, State};
use crate::error::{Error, Kind, Result};
use crate::model::block::{BlockBuilder, Commit};

impl Decoder {
    pub(super) fn mysql_gtid(&mut self, event: &Event<'_>) -> Result<()> {
        self.expect_boundary()?;
        let mut input = Reader(event.body);
        let parsed = (|| {
            input.u8()?;
            let uuid: [u8; 16] = input.array()?;
            let number = input.u64()?;
            let mut time_ms = i64::from(event.time) * 1000;
            // Servers before 8.0 end here. The highest bit of the commit time says that the time at the server
            // where the transaction began follows it.
            if input.0.len() >= 24 && input.u8()? == 2 {
                input.take(16)?;
                let micros = input.uint(7)? & !(1 << 55);
                time_ms = (micros / 1000) as i64;
            }
            if number > Run::NUMBER_MAX {
                return Err(Flaw::Number);
            }
            Ok((uuid, number, time_ms))
        })();
        let (uuid, number, time_ms) = parsed.map_err(|flaw| self.malformed(event, &flaw))?;
        let gtid = (event.kind == kind::GTID).then_some(Gtid::MySql(uuid, number));
        self.group = Group { state: State::Announced, gtid, time_ms, ..Group::default() };
        Ok(())
    }

    pub(super) fn mariadb_gtid(&mut self, event: &Event<'_>) -> Result<()> {
        const STANDALONE: u8 = 1;
        self.expect_boundary()?;
        let mut input = Reader(event.body);
        let parsed = (|| Ok((input.u64()?, input.u32()?, input.u8()?)))();
        let (sequence, domain, flags) = parsed.map_err(|flaw| self.malformed(event, &flaw))?;
        let gtid = Gtid::MariaDb(domain, MariaGtid { server_id: event.server_id, sequence });
        self.group = Group {
            state: if flags & STANDALONE != 0 { State::Announced } else { State::Open },
            gtid: Some(gtid),
            time_ms: i64::from(event.time) * 1000,
            ..Group::default()
        };
        Ok(())
    }

    pub(super) fn expect_boundary(&self) -> Result<()> {
        if self.group.in_payload {
            return Err(self.error(Kind::Data, "a compressed transaction could not be unpacked"));
        }
        if self.group.changes > 0 {
            return Err(self.error(Kind::Data, "a transaction begins before the one before it has ended"));
        }
        Ok(())
    }

    pub(super) fn end(&mut self, out: &mut BlockBuilder) {
        match self.group.gtid.take() {
            Some(Gtid::MySql(uuid, number)) => self.gtid.add_mysql(uuid, number),
            Some(Gtid::MariaDb(domain, gtid)) => self.gtid.add_mariadb(domain, gtid),
            None => {}
        }
        self.boundary.1 = self.offset;
        if self.boundary.0 != self.file {
            self.boundary.0.clone_from(&self.file);
        }
        let group = std::mem::take(&mut self.group);
        self.commit_time_ms = group.time_ms;
        self.unwritten = true;
        if group.changes > 0 {
            self.write_commit(out);
        }
        self.between(out);
    }

    pub(super) fn write_commit(&mut self, out: &mut BlockBuilder) {
        if self.commit_time_ms == 0 {
            // No transaction has been seen yet; nothing is older than this moment.
            self.commit_time_ms = jiff::Timestamp::now().as_millisecond();
        }
        out.commit(Commit { position: self.position(), time_ms: self.commit_time_ms });
        self.last_commit = Some(Instant::now());
        self.unwritten = false;
    }

    pub(super) fn xa_prepare(&mut self, event: &Event<'_>, out: &mut BlockBuilder) -> Result<()> {
        let one_phase = event.body.first().is_some_and(|byte| *byte != 0);
        if !one_phase && self.group.changes > 0 {
            return Err(self
                .error(Kind::Data, "an XA transaction on mined tables was prepared, to be committed later")
                .advice("end XA transactions with XA COMMIT … ONE PHASE, or do without XA"));
        }
        self.end(out);
        Ok(())
    }

    pub(super) fn rolled_back(&self) -> Error {
        self.error(
            Kind::Data,
            "changes of a mined table that were logged are rolled back later in the binlog",
        )
        .advice("do not mix transactional and other tables in one transaction")
    }
}
