//! Where in the binlog the decoder is: files, offsets, and the set of transactions.

use super::super::event::{Event, Flaw, HEADER_LEN, Reader, kind};
use super::super::gtid::{GtidSet, MariaGtid, Run};
use super::{Decoder, State, flavor_of};
use crate::error::{Kind, Result};

impl Decoder {
    /// Moves the place behind the event.
    pub(super) fn advance(&mut self, event: &Event<'_>) {
        let made_up = event.is_artificial();
        let no_place =
            event.end == 0 && matches!(event.kind, kind::FORMAT_DESCRIPTION | kind::PREVIOUS_GTIDS);
        let alive = matches!(event.kind, kind::HEARTBEAT | kind::HEARTBEAT_V2 | kind::ROTATE);
        if made_up || no_place || alive || self.group.in_payload {
            return;
        }
        let counted = self.offset + u64::from(event.size);
        if event.end == 0 || counted as u32 == event.end {
            // The header has room for 32 bits only, and files may be larger.
            self.offset = counted;
            return;
        }
        // The server left out events before this one.
        let end = u64::from(event.end);
        let high = self.offset & !0xFFFF_FFFF;
        self.offset = if high | end >= self.offset { high | end } else { (high | end) + (1 << 32) };
    }

    /// An event between two transactions moves the boundary, too, but never back: after a start by GTID, the server
    /// begins before the place where it was left.
    pub(super) fn touch_boundary(&mut self) {
        if self.group.state != State::None {
            return;
        }
        if self.boundary.0 != self.file {
            self.boundary = (self.file.clone(), self.offset);
            self.unwritten = true;
        }
        self.boundary.1 = self.boundary.1.max(self.offset);
    }

    pub(super) fn rotate(&mut self, event: &Event<'_>) -> Result<()> {
        let mut input = Reader(event.body);
        let offset = input.u64().map_err(|flaw| self.malformed(event, &flaw))?;
        let mut name = input.0;
        // Before the format description came, nobody knows whether there is a checksum; it then is still there.
        if let Some((body, sum)) = event.body.split_last_chunk::<4>()
            && body.len() > 8
            && (Event { body, ..*event }).crc32(None) == u32::from_le_bytes(*sum)
        {
            name = &body[8..];
        }
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        let Some(file) = std::str::from_utf8(&name[..end]).ok().filter(|file| !file.is_empty()) else {
            return Ok(());
        };
        // A connection begins with one that repeats what was asked for, or names the place where the server begins to
        // search for a GTID.
        self.offset = offset;
        if file != self.file {
            file.clone_into(&mut self.file);
            tracing::info!(file, offset, "reading another binlog file");
        }
        self.touch_boundary();
        Ok(())
    }

    pub(super) fn format_description(&mut self, event: &Event<'_>) -> Result<()> {
        let mut input = Reader(event.body);
        let parsed = (|| Ok((input.u16()?, input.take(50)?, input.u32()?, input.u8()?)))();
        let (version, server, created, header_len) = parsed.map_err(|flaw| self.malformed(event, &flaw))?;
        if version != 4 || usize::from(header_len) != HEADER_LEN {
            return Err(self.error(Kind::Data, format!("binlogs of version {version} are not supported")));
        }
        self.flavor = flavor_of(server);
        // After a restart of the server, numbers of tables begin anew.
        if created != 0 {
            self.tables.clear();
        }
        self.touch_boundary();
        Ok(())
    }

    pub(super) fn previous_gtids(&mut self, event: &Event<'_>) -> Result<()> {
        self.touch_boundary();
        if !self.gtid.is_empty() || event.is_artificial() {
            return Ok(());
        }
        let mut input = Reader(event.body);
        let parsed = (|| {
            let mut set = GtidSet::MySql(Default::default());
            let count = input.u64()?;
            if count >> 56 != 0 {
                return Ok(None);
            }
            for _ in 0..count {
                let uuid: [u8; 16] = input.array()?;
                for _ in 0..input.u64()? {
                    let (first, end) = (input.u64()?, input.u64()?);
                    if first == 0 || end <= first || end > Run::NUMBER_MAX + 1 {
                        return Err(Flaw::Number);
                    }
                    set.add_run(uuid, Run { first, last: end - 1 });
                }
            }
            Ok(Some(set))
        })();
        match parsed.map_err(|flaw| self.malformed(event, &flaw))? {
            Some(set) => {
                self.gtid = set;
                Ok(())
            }
            None => Err(self
                .error(Kind::Data, "the server's set of GTIDs has tags, which are not supported")
                .advice("begin behind them with RESET BINARY LOGS AND GTIDS, or at a server without tags")),
        }
    }

    pub(super) fn gtid_list(&mut self, event: &Event<'_>) -> Result<()> {
        self.touch_boundary();
        if !self.gtid.is_empty() || event.is_artificial() {
            return Ok(());
        }
        let mut input = Reader(event.body);
        let parsed = (|| {
            let mut set = GtidSet::MariaDb(Default::default());
            // The upper four bits are flags. Of several servers in a domain, the last one listed wrote last.
            for _ in 0..input.u32()? & 0x0FFF_FFFF {
                let (domain, server_id, sequence) = (input.u32()?, input.u32()?, input.u64()?);
                set.add_mariadb(domain, MariaGtid { server_id, sequence });
            }
            Ok(set)
        })();
        self.gtid = parsed.map_err(|flaw| self.malformed(event, &flaw))?;
        Ok(())
    }
}
