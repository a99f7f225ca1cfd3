//! Binlog events as bytes: the header, the kinds, and a reader that never reads past the end.

use std::fmt;

/// Length of an event's header.
pub(crate) const HEADER_LEN: usize = 19;

/// The header says that the server made this event up for the connection; it is in no file.
const FLAG_ARTIFICIAL: u16 = 0x20;
/// The header says that a reader that does not know the event may pass over it.
const FLAG_IGNORABLE: u16 = 0x80;
/// The file is being written. Not part of the checksum, as it is cleared when the file is closed.
const FLAG_IN_USE: u16 = 0x1;

/// One event: header fields and the body without its checksum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event<'a> {
    /// Seconds since 1970 UTC; 0 in made-up events.
    pub time: u32,
    /// The kind, one of [`kind`] or a number that is not known here.
    pub kind: u8,
    /// The server that executed the change first.
    pub server_id: u32,
    /// Bytes in the file, with header and checksum.
    pub size: u32,
    /// The lower half of the offset behind the event; 0 when the server does not say.
    pub end: u32,
    /// Flags.
    pub flags: u16,
    /// What follows the header, without checksum.
    pub body: &'a [u8],
}

impl<'a> Event<'a> {
    /// Reads the header at the start of `bytes`; the body stays empty.
    pub fn header(bytes: &[u8; HEADER_LEN]) -> Event<'a> {
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Event {
            time: u32_at(0),
            kind: bytes[4],
            server_id: u32_at(5),
            size: u32_at(9),
            end: u32_at(13),
            flags: u16::from_le_bytes([bytes[17], bytes[18]]),
            body: &[],
        }
    }

    pub fn is_artificial(&self) -> bool {
        self.flags & FLAG_ARTIFICIAL != 0
    }

    pub fn is_ignorable(&self) -> bool {
        self.flags & FLAG_IGNORABLE != 0
    }

    /// The CRC32 that the server writes behind the event. `algorithm` is the byte that a format description
    /// has between its body and its checksum.
    pub fn crc32(&self, algorithm: Option<u8>) -> u32 {
        let mut header = [0; HEADER_LEN];
        header[0..4].copy_from_slice(&self.time.to_le_bytes());
        header[4] = self.kind;
        header[5..9].copy_from_slice(&self.server_id.to_le_bytes());
        header[9..13].copy_from_slice(&self.size.to_le_bytes());
        header[13..17].copy_from_slice(&self.end.to_le_bytes());
        header[17..19].copy_from_slice(&(self.flags & !FLAG_IN_USE).to_le_bytes());
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&header);
        hasher.update(self.body);
        if let Some(algorithm) = algorithm {
            hasher.update(&[algorithm]);
        }
        hasher.finalize()
    }
}

/// Kinds of events.
pub(crate) mod kind {
    pub const QUERY: u8 = 2;
    pub const STOP: u8 = 3;
    pub const ROTATE: u8 = 4;
    pub const INTVAR: u8 = 5;
    pub const APPEND_BLOCK: u8 = 9;
    pub const DELETE_FILE: u8 = 11;
    pub const RAND: u8 = 13;
    pub const USER_VAR: u8 = 14;
    pub const FORMAT_DESCRIPTION: u8 = 15;
    pub const XID: u8 = 16;
    pub const BEGIN_LOAD_QUERY: u8 = 17;
    pub const EXECUTE_LOAD_QUERY: u8 = 18;
    pub const TABLE_MAP: u8 = 19;
    pub const WRITE_ROWS_V1: u8 = 23;
    pub const UPDATE_ROWS_V1: u8 = 24;
    pub const DELETE_ROWS_V1: u8 = 25;
    pub const INCIDENT: u8 = 26;
    pub const HEARTBEAT: u8 = 27;
    pub const IGNORABLE: u8 = 28;
    pub const ROWS_QUERY: u8 = 29;
    pub const WRITE_ROWS: u8 = 30;
    pub const UPDATE_ROWS: u8 = 31;
    pub const DELETE_ROWS: u8 = 32;
    pub const GTID: u8 = 33;
    pub const ANONYMOUS_GTID: u8 = 34;
    pub const PREVIOUS_GTIDS: u8 = 35;
    pub const TRANSACTION_CONTEXT: u8 = 36;
    pub const VIEW_CHANGE: u8 = 37;
    pub const XA_PREPARE: u8 = 38;
    pub const PARTIAL_UPDATE_ROWS: u8 = 39;
    pub const TRANSACTION_PAYLOAD: u8 = 40;
    pub const HEARTBEAT_V2: u8 = 41;
    pub const GTID_TAGGED: u8 = 42;
    pub const MARIA_ANNOTATE_ROWS: u8 = 160;
    pub const MARIA_BINLOG_CHECKPOINT: u8 = 161;
    pub const MARIA_GTID: u8 = 162;
    pub const MARIA_GTID_LIST: u8 = 163;
    pub const MARIA_START_ENCRYPTION: u8 = 164;
    pub const MARIA_QUERY_COMPRESSED: u8 = 165;
    pub const MARIA_WRITE_ROWS_COMPRESSED_V1: u8 = 166;
    pub const MARIA_UPDATE_ROWS_COMPRESSED_V1: u8 = 167;
    pub const MARIA_DELETE_ROWS_COMPRESSED_V1: u8 = 168;
    pub const MARIA_WRITE_ROWS_COMPRESSED: u8 = 169;
    pub const MARIA_UPDATE_ROWS_COMPRESSED: u8 = 170;
    pub const MARIA_DELETE_ROWS_COMPRESSED: u8 = 171;

    /// The manual's name of a kind.
    pub fn name(kind: u8) -> &'static str {
        match kind {
            QUERY => "QUERY",
            INTVAR => "INTVAR",
            ROTATE => "ROTATE",
            FORMAT_DESCRIPTION => "FORMAT_DESCRIPTION",
            XID => "XID",
            EXECUTE_LOAD_QUERY => "EXECUTE_LOAD_QUERY",
            TABLE_MAP => "TABLE_MAP",
            WRITE_ROWS_V1 | WRITE_ROWS => "WRITE_ROWS",
            UPDATE_ROWS_V1 | UPDATE_ROWS => "UPDATE_ROWS",
            DELETE_ROWS_V1 | DELETE_ROWS => "DELETE_ROWS",
            INCIDENT => "INCIDENT",
            GTID => "GTID",
            ANONYMOUS_GTID => "ANONYMOUS_GTID",
            PREVIOUS_GTIDS => "PREVIOUS_GTIDS",
            XA_PREPARE => "XA_PREPARE",
            PARTIAL_UPDATE_ROWS => "PARTIAL_UPDATE_ROWS",
            TRANSACTION_PAYLOAD => "TRANSACTION_PAYLOAD",
            GTID_TAGGED => "GTID_TAGGED",
            MARIA_GTID => "GTID (MariaDB)",
            MARIA_GTID_LIST => "GTID_LIST",
            MARIA_START_ENCRYPTION => "START_ENCRYPTION",
            MARIA_QUERY_COMPRESSED => "QUERY_COMPRESSED",
            MARIA_WRITE_ROWS_COMPRESSED_V1 | MARIA_WRITE_ROWS_COMPRESSED => "WRITE_ROWS_COMPRESSED",
            MARIA_UPDATE_ROWS_COMPRESSED_V1 | MARIA_UPDATE_ROWS_COMPRESSED => "UPDATE_ROWS_COMPRESSED",
            MARIA_DELETE_ROWS_COMPRESSED_V1 | MARIA_DELETE_ROWS_COMPRESSED => "DELETE_ROWS_COMPRESSED",
            _ => "of an unknown kind",
        }
    }
}

/// Why bytes could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// They end too early.
    Short,
    /// Text is not valid in the column's character set.
    Text,
    /// An enum's index or a set's bits have no label.
    Label,
    /// A date or time no calendar has.
    Temporal,
    /// A decimal with impossible digits.
    Decimal,
    /// A malformed JSON document.
    Json,
    /// A number of a transaction that no server gives.
    Number,
    /// Rows without columns.
    NoColumns,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Flaw::Short => "the bytes end too early",
            Flaw::Text => "its text is not valid in the column's character set",
            Flaw::Label => "its value has no label in the column's definition",
            Flaw::Temporal => "its date or time is out of range",
            Flaw::Decimal => "its digits are not decimal",
            Flaw::Json => "its JSON is malformed",
            Flaw::Number => "its GTID has an impossible number",
            Flaw::NoColumns => "they hold no columns",
        })
    }
}

/// Reads little-endian fields from the front of a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Flaw> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(Flaw::Short)?;
        self.0 = rest;
        Ok(head)
    }

    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Flaw::Short)?;
        self.0 = rest;
        Ok(*head)
    }

    #[inline]
    pub fn u8(&mut self) -> Result<u8, Flaw> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub fn u16(&mut self) -> Result<u16, Flaw> {
        self.array().map(u16::from_le_bytes)
    }

    #[inline]
    pub fn u32(&mut self) -> Result<u32, Flaw> {
        self.array().map(u32::from_le_bytes)
    }

    #[inline]
    pub fn u64(&mut self) -> Result<u64, Flaw> {
        self.array().map(u64::from_le_bytes)
    }

    /// An integer of `len` bytes, at most 8.
    #[inline]
    pub fn uint(&mut self, len: usize) -> Result<u64, Flaw> {
        let mut bytes = [0; 8];
        bytes.get_mut(..len).ok_or(Flaw::Short)?.copy_from_slice(self.take(len)?);
        Ok(u64::from_le_bytes(bytes))
    }

    /// An integer of `len` bytes, at most 8, highest byte first.
    #[inline]
    pub fn uint_be(&mut self, len: usize) -> Result<u64, Flaw> {
        Ok(self.take(len)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// MySQL's length-encoded integer.
    pub fn lenenc(&mut self) -> Result<u64, Flaw> {
        match self.u8()? {
            0xFC => self.uint(2),
            0xFD => self.uint(3),
            0xFE => self.u64(),
            small => Ok(u64::from(small)),
        }
    }

    /// Bytes behind their length as a length-encoded integer.
    pub fn lenenc_bytes(&mut self) -> Result<&'a [u8], Flaw> {
        let len = self.lenenc()?;
        self.take(usize::try_from(len).map_err(|_| Flaw::Short)?)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
