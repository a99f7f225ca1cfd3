//! Puts back what a source leaves out of its log: the columns that a minimal row image does not have.
//!
//! Of an update's new row, columns that stand in its old row only did not change, and are copied. All others are read
//! from the source's table by key, many rows at a time, between the source and the log. They may be newer than the
//! change, and the image says which these are; the changes that made them newer follow in the log. A row that is gone
//! stays as it is, and so do old rows: what they were cannot be read any more.

use std::collections::HashMap;
use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;

use super::mine::Mine;
use crate::error::{Error, Kind, Result};
use crate::model::block::{Block, BlockBuilder, ChangeEntry, Count, Entry, SchemaBook, parse_schema};
use crate::model::row::{ImageWriter, Row, RowView};
use crate::model::schema::{SchemaNo, TableSchema};
use crate::source::RowReader;

/// Rows that are read at one time, at the most; fewer where they are large.
const WINDOW_ROWS_MAX: usize = 500;
/// Rows that are read the first time, when nobody knows how large they are.
const WINDOW_ROWS_FIRST: usize = 16;
/// So many bytes the rows of a window are to have.
const WINDOW_BYTES: usize = 4 << 20;
/// A block with completed rows is sealed when it has so many bytes.
const BLOCK_BYTES: usize = 512 << 10;
/// Blocks are appended when they have so many bytes.
const APPEND_BYTES: usize = 8 << 20;

/// Completes the rows of one session of a mine.
pub(super) struct FullRows {
    rows: Box<dyn RowReader>,
    schemas: Arc<SchemaBook>,
    window_rows: usize,
}

/// Blocks on their way to the log.
pub(super) struct Outgoing<'a> {
    mine: &'a Mine,
    blocks: Vec<Arc<Block>>,
    counts: Vec<Vec<Count>>,
    bytes: usize,
}

/// The cells of a row: `None` when absent, `Some(None)` for NULL.
type Cells<'a> = Vec<Option<Option<&'a [u8]>>>;

/// The key of a row, as an image that has nothing else.
type Key = (SchemaNo, Vec<u8>);

/// What was read for a window.
struct Found {
    rows: HashMap<Key, Row>,
    /// Where rows have moved within the window.
    moved: HashMap<Key, Key>,
}

/// An entry, and what is known of the new row when it lacks something.
struct Item<'a> {
    bytes: Range<usize>,
    entry: Entry<'a>,
    lacking: Option<Lacking<'a>>,
}

struct Lacking<'a> {
    change: ChangeEntry<'a>,
    schema: &'a Arc<TableSchema>,
    cells: Cells<'a>,
    /// Cells came from the old row.
    copied: bool,
    /// An image of the key alone; `None` when nothing has to be read, or nothing can.
    key: Option<Vec<u8>>,
    /// The same of the old row, where that had another key.
    moved_from: Option<Vec<u8>>,
}

impl FullRows {
    /// Completes what comes behind the schemas of `schemas`.
    pub fn new(rows: Box<dyn RowReader>, schemas: SchemaBook) -> FullRows {
        FullRows { rows, schemas: Arc::new(schemas), window_rows: WINDOW_ROWS_FIRST }
    }

    /// Passes a block on; one that lacks nothing as it is.
    ///
    /// # Errors
    /// As [`RowReader::read`] and [`Outgoing::push`].
    pub async fn complete(
        &mut self,
        block: Arc<Block>,
        counts: Vec<Count>,
        out: &mut Outgoing<'_>,
    ) -> Result<()> {
        if !self.lacks(&block)? {
            return out.push(block, counts).await;
        }
        let schemas = Arc::clone(&self.schemas);
        let mut builder = BlockBuilder::new(block.first, SchemaBook::default());
        let mut entries = block.entries();
        let (mut window, mut lacking, mut end) = (Vec::new(), 0, 0);
        while let Some(entry) = entries.next() {
            let (_, entry) = entry.map_err(|_| unreadable())?;
            let bytes = end..block.payload.len() - entries.remaining();
            end = bytes.end;
            let item = Item::of(bytes, entry, &schemas)?;
            lacking += usize::from(item.lacking.is_some());
            window.push(item);
            if lacking >= self.window_rows {
                self.window(&block, std::mem::take(&mut window), &mut builder, out).await?;
                lacking = 0;
            }
        }
        self.window(&block, window, &mut builder, out).await?;
        if let Some(last) = builder.seal() {
            out.push(Arc::new(last), builder.take_counts()).await?;
        }
        // The block was a part of a transaction itself.
        if let Some(last) = builder.seal_part() {
            out.push(Arc::new(last), builder.take_counts()).await?;
        }
        Ok(())
    }

    /// Whether a new row is not complete. Learns the schemas of the block.
    fn lacks(&mut self, block: &Block) -> Result<bool> {
        let mut lacks = false;
        for entry in block.entries() {
            match entry.map_err(|_| unreadable())? {
                (_, Entry::Schema { no, json }) => {
                    let schema = parse_schema(json).map_err(|_| unreadable())?;
                    Arc::make_mut(&mut self.schemas).learn(no, schema).map_err(|_| unreadable())?;
                }
                (_, Entry::Change(change)) if !lacks => {
                    if let Some(after) = change.after {
                        lacks = !RowView::new(schema_of(&self.schemas, change.schema)?, after).is_complete();
                    }
                }
                _ => {}
            }
        }
        Ok(lacks)
    }

    /// Reads what is lacking, and writes the entries of a window.
    async fn window(
        &mut self,
        block: &Block,
        window: Vec<Item<'_>>,
        builder: &mut BlockBuilder,
        out: &mut Outgoing<'_>,
    ) -> Result<()> {
        let found = Found::of(&window, self.read(&window).await?);
        for item in window {
            match &item.lacking {
                Some(lacking) => lacking.write(&item.entry, &block.payload[item.bytes], &found, builder),
                None => builder.copy(&item.entry, &block.payload[item.bytes]),
            }
            if builder.len() >= BLOCK_BYTES {
                let sealed = match builder.seal() {
                    Some(block) => Some(block),
                    None => builder.seal_part(),
                };
                if let Some(block) = sealed {
                    out.push(Arc::new(block), builder.take_counts()).await?;
                }
            }
        }
        Ok(())
    }

    /// The rows as they are now, by schema and key.
    async fn read(&mut self, window: &[Item<'_>]) -> Result<HashMap<Key, Row>> {
        let mut wanted: HashMap<SchemaNo, HashMap<&[u8], Row>> = HashMap::new();
        for lacking in window.iter().filter_map(|item| item.lacking.as_ref()) {
            let Some(key) = &lacking.key else { continue };
            let row = || Row { schema: Arc::clone(lacking.schema), image: key.clone().into() };
            wanted.entry(lacking.change.schema).or_default().entry(key).or_insert_with(row);
        }
        let mut found = HashMap::new();
        let mut bytes = 0;
        for (no, keys) in wanted {
            let keys: Vec<Row> = keys.into_values().collect();
            for row in self.rows.read(&keys).await? {
                bytes += row.image.len();
                let key = key_of(&row.schema, &raw(&row.schema, &row.image));
                if let Some(key) = key {
                    found.insert((no, key), row);
                }
            }
        }
        if !found.is_empty() {
            let fitting = WINDOW_BYTES / (bytes / found.len()).max(1);
            self.window_rows = fitting.clamp(1, (self.window_rows * 2).min(WINDOW_ROWS_MAX));
        }
        Ok(found)
    }
}

impl<'a> Outgoing<'a> {
    /// Blocks for the log of `mine`.
    pub fn to(mine: &'a Mine) -> Outgoing<'a> {
        Outgoing { mine, blocks: Vec::new(), counts: Vec::new(), bytes: 0 }
    }

    /// Adds a block with its counts, and appends when there is enough.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub async fn push(&mut self, block: Arc<Block>, counts: Vec<Count>) -> Result<()> {
        self.bytes += block.payload.len();
        self.blocks.push(block);
        self.counts.push(counts);
        if self.bytes >= APPEND_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Appends what is there.
    ///
    /// # Errors
    /// As [`Log::append`](crate::store::Log::append).
    pub async fn flush(&mut self) -> Result<()> {
        if !self.blocks.is_empty() {
            self.mine.append_counted(&self.blocks, &self.counts).await?;
        }
        (self.blocks, self.counts, self.bytes) = (Vec::new(), Vec::new(), 0);
        Ok(())
    }
}

impl Found {
    fn of(window: &[Item<'_>], rows: HashMap<Key, Row>) -> Found {
        let lacking = window.iter().filter_map(|item| item.lacking.as_ref());
        let moved = lacking.filter_map(|lacking| {
            let no = lacking.change.schema;
            Some(((no, lacking.moved_from.clone()?), (no, lacking.key.clone()?)))
        });
        Found { moved: moved.collect(), rows }
    }

    /// The row that has this key, or had it before it moved.
    fn get(&self, key: Key) -> Option<&Row> {
        let mut key = &key;
        // Rows may move in circles.
        for _ in 0..=self.moved.len() {
            if let Some(row) = self.rows.get(key) {
                return Some(row);
            }
            key = self.moved.get(key)?;
        }
        None
    }
}

impl<'a> Item<'a> {
    fn of(bytes: Range<usize>, entry: Entry<'a>, schemas: &'a SchemaBook) -> Result<Item<'a>> {
        let Entry::Change(change) = entry else { return Ok(Item { bytes, entry, lacking: None }) };
        let Some(after) = change.after else { return Ok(Item { bytes, entry, lacking: None }) };
        let schema = schema_of(schemas, change.schema)?;
        let view = RowView::new(schema, after);
        if view.is_complete() {
            return Ok(Item { bytes, entry, lacking: None });
        }
        let mut cells = raw(schema, after);
        let mut copied = false;
        if let Some(before) = change.before {
            for (cell, old) in cells.iter_mut().zip(raw(schema, before)) {
                if cell.is_none() && old.is_some() {
                    (*cell, copied) = (old, true);
                }
            }
        }
        let key = if cells.iter().all(Option::is_some) { None } else { key_of(schema, &cells) };
        let moved_from = change.before.and_then(|before| key_of(schema, &raw(schema, before)));
        let moved_from = moved_from.filter(|old| key.as_ref().is_some_and(|key| key != old));
        let lacking = Some(Lacking { change, schema, cells, copied, key, moved_from });
        Ok(Item { bytes, entry, lacking })
    }
}

impl Lacking<'_> {
    fn write(&self, entry: &Entry<'_>, bytes: &[u8], found: &Found, builder: &mut BlockBuilder) {
        let row = self.key.as_ref().and_then(|key| found.get((self.change.schema, key.clone())));
        let read = row.map(|row| raw(self.schema, &row.image));
        let mut cells = self.cells.clone();
        let mut late = vec![0; cells.len().div_ceil(8)];
        let mut is_late = false;
        for (at, (cell, read)) in cells.iter_mut().zip(read.into_iter().flatten()).enumerate() {
            if cell.is_none() && read.is_some() {
                *cell = read;
                late[at / 8] |= 1 << (at % 8);
                is_late = true;
            }
        }
        if is_late {
            builder.completed(&self.change, &image(self.schema, &cells, &late));
        } else if self.copied {
            let after = image(self.schema, &cells, &[]);
            let copy = |bytes: &[u8]| {
                let bytes = bytes.to_vec();
                move |out: &mut Vec<u8>| {
                    out.extend_from_slice(&bytes);
                    Ok::<(), Infallible>(())
                }
            };
            let ChangeEntry { op, schema, time_ms, before, .. } = self.change;
            let Ok(()) = builder.change(op, schema, time_ms, before.map(copy), Some(copy(&after)));
        } else {
            builder.copy(entry, bytes);
        }
    }
}

fn schema_of(schemas: &SchemaBook, no: SchemaNo) -> Result<&Arc<TableSchema>> {
    schemas.get(no).ok_or_else(unreadable)
}

/// The cells of an image.
fn raw<'a>(schema: &'a TableSchema, image: &'a [u8]) -> Cells<'a> {
    RowView::new(schema, image).raw().collect()
}

/// The image of a row with these cells.
fn image(schema: &TableSchema, cells: &Cells<'_>, late: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let absent = cells.iter().any(Option::is_none);
    let mut writer = ImageWriter::with_late(&mut bytes, cells.len(), absent, late);
    for (column, cell) in schema.columns.iter().zip(cells) {
        writer.copy(&column.ty, *cell);
    }
    bytes
}

/// An image that has the key alone: of the primary key, or else of a unique key that has no NULL. `None` when there is none,
/// or the row does not say all of it.
fn key_of(schema: &TableSchema, cells: &Cells<'_>) -> Option<Vec<u8>> {
    let never_null = |key: &&Vec<u16>| key.iter().all(|at| !schema.columns[usize::from(*at)].nullable);
    let key = match schema.primary_key.is_empty() {
        false => &schema.primary_key,
        true => schema.unique_keys.iter().find(never_null)?,
    };
    let mut alone: Cells<'_> = vec![None; cells.len()];
    for at in key {
        let at = usize::from(*at);
        alone[at] = Some(Some(cells[at]??));
    }
    Some(image(schema, &alone, &[]))
}

fn unreadable() -> Error {
    Error::new(Kind::Internal, "a block was built that is not readable")
}
