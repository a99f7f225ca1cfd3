//! The source `binlog`: binlog files in a folder, read in order, without a server.
//!
//! The files must have been written with `binlog_row_metadata = FULL`, as nobody can be asked what their columns
//! are. A file that is still being written, or that was cut off, is read up to its last complete transaction.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::mysql::decode::{Decoder, Flavor, Step, flavor_of};
use super::mysql::event::{Event, HEADER_LEN, Reader, kind};
use super::mysql::gtid::GtidSet;
use super::{ChangeStream, Identity, Progress, Source, SourceKind};
use crate::error::{Error, Kind, Result};
use crate::model::block::{BlockBuilder, SchemaBook};
use crate::model::connection::{Connection, Endpoint};
use crate::model::coverage::Coverage;
use crate::model::position::{Position, Seq};
use crate::model::spec::{EndpointSpec, SettingSpec, SettingType, Start};
use crate::model::table::TableSelection;

/// What stands after `binlog` in a `connection` statement.
pub const ENDPOINT: EndpointSpec = EndpointSpec::Folder;

/// Settings of a `connection x = binlog "…"` statement.
pub const CONNECTION: &[SettingSpec] = &[
    SettingSpec {
        key: "database",
        ty: SettingType::Text,
        default: None,
        required: true,
        meaning: "The database that the names of tables mean.",
        check: None,
    },
    SettingSpec::new(
        "prefix",
        SettingType::Text,
        None,
        "What the names of the files have before the point and their number; needed when there are several such names.",
    ),
];

/// Settings of `source binlog … { }` besides those that every source has.
pub const SETTINGS: &[SettingSpec] = &[];

/// What a file begins with.
const MAGIC: &[u8; 4] = b"\xFEbin";
/// An event may be as large as the protocol's largest packet, and a little more for its header.
const EVENT_MAX: usize = (1 << 30) + (1 << 20);
/// A compressed transaction may become as large as this.
const PAYLOAD_MAX: u64 = 1 << 30;
const READ_BUFFER: usize = 256 << 10;
/// An event as large as this is held against the length of its file before there is room made for it.
const LARGE: usize = 1 << 20;
/// How much is read before other tasks get their turn, and a change has been kept back for long enough.
const TURN_BYTES: usize = 4 << 20;

/// The kind `binlog`.
#[derive(Clone, Copy, Debug, Default)]
pub struct BinlogFiles;

impl SourceKind for BinlogFiles {
    fn source(&self, connection: Arc<Connection>) -> Result<Arc<dyn Source>> {
        let Endpoint::Path(folder) = &connection.endpoint else {
            return Err(Error::new(
                Kind::Script,
                format!("connection {} needs a folder as its endpoint", connection.name),
            )
            .advice("write it as binlog \"folder\""));
        };
        let folder =
            Folder { path: folder.clone(), prefix: connection.settings.text("prefix").unwrap_or_default() };
        Ok(Arc::new(FolderSource { connection, folder }))
    }
}

struct FolderSource {
    connection: Arc<Connection>,
    folder: Folder,
}

#[async_trait]
impl Source for FolderSource {
    /// The first transaction of the oldest file tells folders apart: which server wrote it, when, and which it was.
    /// Whoever points to files wants what is in them.
    fn default_start(&self) -> Start {
        Start::Earliest
    }

    async fn identify(&self) -> Result<Identity> {
        let files = self.files()?;
        let first = files.first().ok_or_else(|| self.empty())?;
        let mut reader = FileReader::open(&self.folder.path.join(first), 4)?;
        let mut flavor = Flavor::MySql;
        let mut origin = String::new();
        while let Some(event) = reader.next()? {
            match event.kind {
                kind::FORMAT_DESCRIPTION => flavor = flavor_of(event.body.get(2..52).unwrap_or_default()),
                kind::GTID | kind::MARIA_GTID | kind::ANONYMOUS_GTID | kind::QUERY => {
                    let mut hasher = crc32fast::Hasher::new();
                    hasher.update(event.body);
                    origin = format!("{}-{}-{:08x}", event.server_id, event.time, hasher.finalize());
                    break;
                }
                _ => {}
            }
        }
        let name = if flavor == Flavor::MariaDb { "MariaDB" } else { "MySQL" };
        Ok(Identity {
            id: format!("binlog-{first}-{origin}"),
            description: format!(
                "{} binlog file{} of {name} in {}",
                files.len(),
                if files.len() == 1 { "" } else { "s" },
                self.folder.path.display()
            ),
            clock_ms: None,
        })
    }

    async fn resolve(&self, start: &Start) -> Result<Position> {
        let files = self.files()?;
        let first = files.first().ok_or_else(|| self.empty())?.clone();
        let begin = Position { gtid: String::new(), file: first, offset: 4 };
        match start {
            Start::Earliest => Ok(begin),
            Start::Now => Ok(self.search(&begin, |_, _| true).await?.0),
            Start::Time(time_ms) => {
                let before = |_: &Position, next: Option<i64>| next.is_none_or(|next| next < *time_ms);
                Ok(self.search(&begin, before).await?.0)
            }
            Start::Position { file, offset } => {
                let wanted = |place: &Position| place.file == *file && place.offset >= *offset;
                let (found, _) = self.search(&begin, |place, _| !wanted(place)).await?;
                if found.file == *file && found.offset == *offset {
                    return Ok(found);
                }
                Err(Error::new(
                    Kind::Gap,
                    format!("{file}:{offset} is no place between two transactions of these files"),
                ))
            }
            Start::Gtid(text) => {
                let text: String = text.chars().filter(|char| !char.is_whitespace()).collect();
                let (found, stopped) = self.search(&begin, |place, _| place.gtid != text).await?;
                if stopped {
                    return Ok(found);
                }
                Err(Error::new(
                    Kind::Gap,
                    format!("these files have no place behind exactly the GTIDs {text}"),
                )
                .advice("begin with start = earliest, or at a position(\"file\", offset)"))
            }
        }
    }

    async fn open(&self, from: &Position, tables: TableSelection) -> Result<Box<dyn ChangeStream>> {
        Ok(Box::new(self.stream(from, tables)?))
    }
}

impl FolderSource {
    fn files(&self) -> Result<Vec<String>> {
        let files = self.folder.files().map_err(|error| {
            Error::new(
                Kind::Environment,
                format!("cannot list the folder {}: {error}", self.folder.path.display()),
            )
            .advice("name the folder that the binlog files lie in; the path is relative to the script")
            .context(format!("connection {}", self.connection.name))
        })?;
        if let (Some(first), Some(last)) = (files.first(), files.last())
            && first.base != last.base
        {
            return Err(Error::new(
                Kind::Environment,
                format!("the folder has files of several logs: {} and {}", first.name, last.name),
            )
            .context(format!("connection {}", self.connection.name))
            .advice(format!("set prefix = \"{}\"", first.base)));
        }
        Ok(files.into_iter().map(|file| file.name).collect())
    }

    fn empty(&self) -> Error {
        Error::new(
            Kind::Environment,
            format!("the folder {} has no binlog files", self.folder.path.display()),
        )
        .context(format!("connection {}", self.connection.name))
        .advice("their names end in a number, such as binlog.000001; check the path and the setting prefix")
    }

    fn stream(&self, from: &Position, tables: TableSelection) -> Result<FileStream> {
        if !self.files()?.contains(&from.file) {
            return Err(Error::new(Kind::Gap, format!("the file {} is no longer there", from.file))
                .context(format!("connection {}", self.connection.name)));
        }
        let path = self.folder.path.join(&from.file);
        let (flavor, reader) = FileReader::resume(&path, from.offset)?;
        let gtid = match flavor {
            Flavor::MySql => GtidSet::parse_mysql(&from.gtid),
            Flavor::MariaDb => GtidSet::parse_mariadb(&from.gtid),
        };
        let gtid =
            gtid.map_err(|why| Error::new(Kind::Data, format!("cannot read the set of GTIDs: {}", why.0)))?;
        let decoder = Decoder::new(flavor, false, tables, from, gtid);
        Ok(FileStream {
            folder: self.folder.clone(),
            file: from.file.clone(),
            reader: Some(reader),
            decoder,
            unfinished: false,
        })
    }

    /// Goes on from `from` while `before` is true of the last place between two transactions and the next commit time.
    async fn search(
        &self,
        from: &Position,
        mut before: impl FnMut(&Position, Option<i64>) -> bool + Send,
    ) -> Result<(Position, bool)> {
        let mut stream = self.stream(from, TableSelection::default())?;
        let mut out = BlockBuilder::new(Seq(0), SchemaBook::default());
        let mut read = 0;
        loop {
            let was_open = stream.decoder.in_transaction();
            let Some(size) = stream.step(&mut out)? else { return Ok((stream.decoder.position(), false)) };
            out.seal();
            let is_open = stream.decoder.in_transaction();
            let moved = was_open != is_open || !is_open;
            if moved && !before(&stream.decoder.position(), stream.decoder.begun_at_ms()) {
                return Ok((stream.decoder.position(), true));
            }
            read += size;
            if read >= TURN_BYTES {
                read = 0;
                tokio::task::yield_now().await;
            }
        }
    }
}

/// A reader of all files from one place on.
struct FileStream {
    folder: Folder,
    file: String,
    reader: Option<FileReader>,
    decoder: Decoder,
    /// The file before this one does not say that it ends. That is right only when its server died: the first file
    /// after a start has the time of it, and one that follows in a running server has none.
    unfinished: bool,
}

impl FileStream {
    /// Takes one event. Returns its size, or `None` at the end of the last file.
    fn step(&mut self, out: &mut BlockBuilder) -> Result<Option<usize>> {
        loop {
            let Some(reader) = &mut self.reader else { return Ok(None) };
            if let Some(event) = reader.next()? {
                let size = event.size as usize;
                if event.kind == kind::FORMAT_DESCRIPTION
                    && std::mem::take(&mut self.unfinished)
                    && event.body.get(52..56) == Some(&[0; 4])
                {
                    return Err(self
                        .decoder
                        .error(Kind::Gap, "the file before this one was copied while it was written")
                        .advice("copy it from the server again"));
                }
                if event.kind == kind::TRANSACTION_PAYLOAD {
                    take(&mut self.decoder, &event, out)?;
                    unpack(&mut self.decoder, event.body, out)?;
                } else if event.kind != kind::ROTATE {
                    // The order of files is that of their names; a rotation names one that may not be here.
                    take(&mut self.decoder, &event, out)?;
                }
                return Ok(Some(size));
            }
            let torn = reader.torn;
            self.unfinished = !reader.closed;
            self.reader = None;
            let Some(next) = self.following()? else { return Ok(None) };
            if torn {
                return Err(self
                    .decoder
                    .error(Kind::Gap, format!("{} ends within an event, but {next} follows it", self.file))
                    .advice("copy the file from the server again"));
            }
            if self.decoder.in_transaction() {
                return Err(self
                    .decoder
                    .error(
                        Kind::Gap,
                        format!("{} ends within a transaction, but {next} follows it", self.file),
                    )
                    .advice("copy the file from the server again"));
            }
            let reader = FileReader::open(&self.folder.path.join(&next), 4)?;
            self.decoder.next_file(&next);
            self.file = next;
            self.reader = Some(reader);
        }
    }

    fn following(&self) -> Result<Option<String>> {
        let files = self.folder.files().map_err(|error| unreadable(&self.folder.path, &error))?;
        let Some(at) = files.iter().position(|file| file.name == self.file) else { return Ok(None) };
        let Some(next) = files.get(at + 1) else { return Ok(None) };
        if files[at].number.checked_add(1) != Some(next.number) {
            return Err(self
                .decoder
                .error(Kind::Gap, format!("files are missing between {} and {}", self.file, next.name))
                .advice("copy them from the server"));
        }
        Ok(Some(next.name.clone()))
    }
}

#[async_trait]
impl ChangeStream for FileStream {
    async fn fill(
        &mut self,
        out: &mut BlockBuilder,
        target_bytes: usize,
        _patience: Duration,
    ) -> Result<Progress> {
        let start = out.len();
        self.decoder.begin(out);
        let mut read = 0;
        loop {
            if out.len() >= target_bytes && out.len() > start {
                return Ok(Progress::Full);
            }
            match self.step(out)? {
                Some(size) => read += size,
                None => {
                    self.decoder.finish(out);
                    return Ok(Progress::End);
                }
            }
            if read >= TURN_BYTES {
                tokio::task::yield_now().await;
                if out.len() == start {
                    self.decoder.between(out);
                }
                return Ok(Progress::Full);
            }
        }
    }

    fn select(&mut self, coverage: Coverage) {
        self.decoder.select(coverage);
    }

    fn position(&self) -> Position {
        self.decoder.position()
    }

    async fn close(self: Box<Self>) {}
}

/// A folder of files whose names end in a number.
#[derive(Clone)]
struct Folder {
    path: PathBuf,
    prefix: String,
}

impl Folder {
    /// The files in the order of their numbers.
    fn files(&self) -> io::Result<Vec<LogFile>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let Ok(name) = entry?.file_name().into_string() else { continue };
            if let Some((base, number)) = name.rsplit_once('.')
                && (self.prefix.is_empty() || base == self.prefix)
                && number.bytes().all(|byte| byte.is_ascii_digit())
                && let Ok(number) = number.parse::<u64>()
            {
                files.push(LogFile { base: base.to_owned(), number, name });
            }
        }
        files.sort();
        Ok(files)
    }
}

/// `shop.000001`
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct LogFile {
    base: String,
    number: u64,
    name: String,
}

/// Reads the events of one file and compares their checksums.
struct FileReader {
    path: PathBuf,
    input: BufReader<File>,
    offset: u64,
    buffer: Vec<u8>,
    checksums: bool,
    /// The last event was the one that the server ends a file with.
    closed: bool,
    /// An event was cut off at the end.
    torn: bool,
}

impl FileReader {
    fn open(path: &Path, offset: u64) -> Result<FileReader> {
        let failed = |error: io::Error| unreadable(path, &error);
        let mut input = BufReader::with_capacity(READ_BUFFER, File::open(path).map_err(failed)?);
        let mut magic = [0; 4];
        let read = input.read_exact(&mut magic);
        if read.is_err() || magic != *MAGIC {
            let message = if magic == *b"\xFDbin" { "is encrypted" } else { "is not a binlog file" };
            return Err(Error::new(Kind::Environment, format!("{} {message}", path.display())));
        }
        input.seek(SeekFrom::Start(offset)).map_err(failed)?;
        Ok(FileReader {
            path: path.to_owned(),
            input,
            offset,
            buffer: Vec::new(),
            checksums: false,
            closed: false,
            torn: false,
        })
    }

    /// Opens a file in the middle, after reading from its beginning what all events depend on.
    fn resume(path: &Path, offset: u64) -> Result<(Flavor, FileReader)> {
        let mut reader = FileReader::open(path, 4)?;
        let flavor = match reader.next()? {
            Some(event) if event.kind == kind::FORMAT_DESCRIPTION => {
                flavor_of(event.body.get(2..52).unwrap_or_default())
            }
            _ => {
                return Err(Error::new(
                    Kind::Environment,
                    format!("{} does not begin with a format description", path.display()),
                ));
            }
        };
        let offset = offset.max(4);
        let len = reader.len()?;
        if offset > len {
            return Err(Error::new(
                Kind::Gap,
                format!("{} is only {len} bytes long, and reading stopped at {offset}", path.display()),
            )
            .advice("copy the file from the server again"));
        }
        reader.input.seek(SeekFrom::Start(offset)).map_err(|error| unreadable(path, &error))?;
        reader.offset = offset;
        Ok((flavor, reader))
    }

    /// The next event; `None` at the end, also when the last event is not complete.
    fn next(&mut self) -> Result<Option<Event<'_>>> {
        let mut header = [0; HEADER_LEN];
        let at = self.offset;
        if !read_whole(&mut self.input, &mut header).map_err(|error| unreadable(&self.path, &error))? {
            self.torn |= at != self.len()?;
            return Ok(None);
        }
        let mut event = Event::header(&header);
        let wrong = |what: &str| {
            Error::new(Kind::Data, format!("{what} at {}:{at}", self.path.display()))
                .advice("copy the file from the server again")
        };
        let Some(len) = (event.size as usize).checked_sub(HEADER_LEN).filter(|len| *len <= EVENT_MAX) else {
            return Err(wrong("an event has an impossible size"));
        };
        let end = at + u64::from(event.size);
        if len > LARGE && end > self.len()? {
            return self.cut_off(&event, end);
        }
        self.buffer.resize(len, 0);
        if !read_whole(&mut self.input, &mut self.buffer).map_err(|error| unreadable(&self.path, &error))? {
            return self.cut_off(&event, end);
        }
        self.offset = end;
        self.closed = matches!(event.kind, kind::ROTATE | kind::STOP);
        let mut algorithm = None;
        let mut body = &self.buffer[..];
        if event.kind == kind::FORMAT_DESCRIPTION {
            // It says whether events have checksums, in the byte before its own.
            let (rest, sum) = body.split_last_chunk::<4>().ok_or_else(|| wrong("a short event"))?;
            let (byte, rest) = rest.split_last().ok_or_else(|| wrong("a short event"))?;
            self.checksums = match byte {
                0 => false,
                1 => true,
                _ => return Err(wrong("a format description without checksum algorithm")),
            };
            algorithm = Some((*byte, *sum));
            body = rest;
        }
        if self.checksums {
            let sum = match algorithm {
                Some((_, sum)) => sum,
                None => {
                    let (rest, sum) = body.split_last_chunk::<4>().ok_or_else(|| wrong("a short event"))?;
                    body = rest;
                    *sum
                }
            };
            event.body = body;
            if event.crc32(algorithm.map(|(byte, _)| byte)) != u32::from_le_bytes(sum) {
                return Err(wrong("the checksum of an event is wrong"));
            }
        }
        event.body = body;
        Ok(Some(event))
    }

    /// The end of a file within an event. Its header says where it would end, unless the header is damaged.
    fn cut_off(&mut self, event: &Event<'_>, end: u64) -> Result<Option<Event<'_>>> {
        if event.end != 0 && event.end != end as u32 {
            return Err(Error::new(
                Kind::Data,
                format!("an event has an impossible size at {}:{}", self.path.display(), self.offset),
            )
            .advice("copy the file from the server again"));
        }
        self.torn = true;
        Ok(None)
    }

    fn len(&self) -> Result<u64> {
        let metadata = self.input.get_ref().metadata();
        metadata.map(|metadata| metadata.len()).map_err(|error| unreadable(&self.path, &error))
    }
}

/// Fills `into`; false when the file ends before that.
fn read_whole(input: &mut impl Read, into: &mut [u8]) -> io::Result<bool> {
    match input.read_exact(into) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn take(decoder: &mut Decoder, event: &Event<'_>, out: &mut BlockBuilder) -> Result<()> {
    match decoder.event(event, out)? {
        Step::Next => Ok(()),
        Step::Describe(table) => {
            Err(decoder.error(Kind::Internal, format!("nobody can be asked about {table}")))
        }
    }
}

/// Takes the events of a compressed transaction.
fn unpack(decoder: &mut Decoder, payload: &[u8], out: &mut BlockBuilder) -> Result<()> {
    const ZSTD: u64 = 0;
    const NONE: u64 = 255;
    let place = decoder.place();
    let broken = || {
        Error::new(Kind::Data, "a compressed transaction cannot be unpacked")
            .context(format!("in the binlog before {place}"))
    };
    let mut input = Reader(payload);
    let mut compression = NONE;
    // Fields of the header: 0 is its end, 2 the compression; the others are sizes.
    loop {
        let field = input.lenenc().map_err(|_| broken())?;
        if field == 0 {
            break;
        }
        let value = input.lenenc_bytes().map_err(|_| broken())?;
        if field == 2 {
            compression = Reader(value).lenenc().map_err(|_| broken())?;
        }
    }
    let mut source: Box<dyn Read + '_> = match compression {
        ZSTD => Box::new(zstd::Decoder::new(input.0).map_err(|_| broken())?.take(PAYLOAD_MAX)),
        NONE => Box::new(input.0),
        _ => return Err(broken()),
    };
    let mut header = [0; HEADER_LEN];
    let mut body = Vec::new();
    while read_whole(&mut source, &mut header).map_err(|_| broken())? {
        let event = Event::header(&header);
        let len = (event.size as usize).checked_sub(HEADER_LEN).filter(|len| *len <= EVENT_MAX);
        body.clear();
        body.resize(len.ok_or_else(broken)?, 0);
        if !read_whole(&mut source, &mut body).map_err(|_| broken())? {
            return Err(broken());
        }
        take(decoder, &Event { body: &body, ..event }, out)?;
    }
    if decoder.in_transaction() { Err(broken()) } else { Ok(()) }
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::new(Kind::Environment, format!("cannot read {}: {error}", path.display()))
}
