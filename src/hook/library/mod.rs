//! The library: the functions that hooks have besides those of Rhai, with what each is for.
//!
//! What a function is called with decides what it gives: none of them reads a clock, draws lots or asks the world, so that a
//! change gives the same row whenever it is read. The table of a file stands before the code that it is about; the help
//! at the prompt and `grammar/HOOKS.md` are made from all of them, and a test runs each example.

mod calendar;
mod hashing;
mod masking;
mod numbers;
mod patterns;
mod texts;

use rhai::Engine;

use super::act;

/// A function as people look it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// What it belongs to.
    pub group: Group,
    /// The forms in which it is called, one a line.
    pub signature: &'static str,
    /// What it does, in a sentence.
    pub meaning: &'static str,
    /// How it is used.
    pub example: &'static str,
    /// What the example gives, as `print` shows it; empty where it gives nothing to show.
    pub gives: &'static str,
}

/// What functions belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The row of a filter or map.
    Rows,
    /// Dates and times.
    Dates,
    /// Numbers.
    Numbers,
    /// Texts and patterns.
    Texts,
    /// Hashes, and values that must not be seen.
    Masking,
    /// JSON.
    Json,
    /// What hooks of alerts and schedules do.
    Acting,
}

impl Group {
    /// Every group, in the order of the reference.
    pub const ALL: &[Group] = &[
        Group::Rows,
        Group::Dates,
        Group::Numbers,
        Group::Texts,
        Group::Masking,
        Group::Json,
        Group::Acting,
    ];

    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Group::Rows => "Rows",
            Group::Dates => "Dates and times",
            Group::Numbers => "Numbers",
            Group::Texts => "Texts and patterns",
            Group::Masking => "Hashing and masking",
            Group::Json => "JSON",
            Group::Acting => "Acting",
        }
    }

    /// What stands below the heading.
    pub fn introduction(self) -> &'static str {
        match self {
            Group::Rows => "In filters and maps only.",
            Group::Dates => {
                "DATE, DATETIME, TIMESTAMP and TIME are types of their own and compare with each other of the same type. A \
                 TIMESTAMP is a moment, and its parts are those in UTC. Formats are those of strftime. Names of time zones \
                 are the system's."
            }
            Group::Numbers => "DECIMAL is exact; it mixes with INT, and not with FLOAT.",
            Group::Texts => {
                "Patterns are regular expressions without look-around and back references, which take time in proportion to \
                 the text whatever they are. Rhai's own functions of texts (`len`, `sub_string`, `index_of`, `split`, \
                 `to_upper`, `trim` …) are there, too."
            }
            Group::Masking => {
                "Equal values give equal results, so that masked tables can still be joined. A hash of something that can be \
                 guessed (a telephone number) can be guessed, too, unless a key belongs to it."
            }
            Group::Json => "Numbers with a point become DECIMAL, so that no digit is lost.",
            Group::Acting => {
                "In `on … do`, `every … do` and `at … do` only: what they do cannot be taken back, and a row may be read \
                 twice. `notify` and `log` are always allowed; a module that is included with `{ allow = [mail, control] }` \
                 may do the named besides, and one without it everything."
            }
        }
    }
}

/// Every function, by groups.
pub fn functions() -> Vec<Function> {
    let mut all: Vec<Function> = [
        ROWS,
        calendar::FUNCTIONS,
        numbers::FUNCTIONS,
        texts::FUNCTIONS,
        patterns::FUNCTIONS,
        hashing::FUNCTIONS,
        masking::FUNCTIONS,
        JSON,
    ]
    .concat();
    all.extend(act::FUNCTIONS.iter().map(|known| Function {
        name: known.name,
        group: Group::Acting,
        signature: known.signature,
        meaning: known.meaning,
        example: known.example,
        gives: "",
    }));
    all
}

/// The page of a function for `help`; `None` when there is none of this name.
pub fn page(name: &str) -> Option<String> {
    let forms: Vec<_> = functions().into_iter().filter(|known| known.name == name).collect();
    if forms.is_empty() {
        return None;
    }
    let pages = forms.iter().map(|known| {
        let gives = if known.gives.is_empty() { String::new() } else { format!("   // {}", known.gives) };
        let signature = known.signature.replace('\n', "\n  ");
        format!("  {signature}\n\n{}\n\n  {}{gives}\n", known.meaning, known.example)
    });
    Some(pages.collect::<Vec<_>>().join("\n"))
}

/// The reference of all functions, in Markdown.
pub fn reference() -> String {
    let mut text = String::from(
        "# Functions of hooks\n\nMade from the functions' own table; `help NAME` at the prompt shows the same. What a hook \
         sees and how rows and values work is in [LANGUAGE.md](LANGUAGE.md). All of [Rhai](https://rhai.rs/book) is there, \
         too, but `eval`, `import`, `sleep` and the clock.\n",
    );
    let all = functions();
    for group in Group::ALL {
        text.push_str(&format!("\n## {}\n\n{}\n", group.title(), group.introduction()));
        for known in all.iter().filter(|known| known.group == *group) {
            let forms: Vec<_> = known.signature.lines().map(|form| format!("`{form}`")).collect();
            let gives = if known.gives.is_empty() { String::new() } else { format!("   // {}", known.gives) };
            let (forms, example) = (forms.join(", "), known.example);
            text.push_str(&format!("\n- {forms}: {}\n\n      {example}{gives}\n", known.meaning));
        }
    }
    text
}

/// Adds everything that this module has itself; dates, decimals and JSON have their own places.
pub(super) fn register(engine: &mut Engine) {
    calendar::register(engine);
    numbers::register(engine);
    texts::register(engine);
    patterns::register(engine);
    hashing::register(engine);
    masking::register(engine);
}

macro_rules! table {
    ($group:ident: $($name:literal, $signature:literal, $meaning:literal, $example:literal => $gives:literal;)*) => {
        &[$(crate::hook::library::Function {
            name: $name,
            group: crate::hook::library::Group::$group,
            signature: $signature,
            meaning: $meaning,
            example: $example,
            gives: $gives,
        }),*]
    };
}
use table;

const ROWS: &[Function] = table! { Rows:
    "skip", "skip()", "Ends the hook and drops the change.", "if row.qty == 0 { skip(); }" => "";
    "emit", "emit(row)", "Adds a row of the same operation before the row itself.", "for part in 1..3 { let copy = row; copy.part = part; emit(copy); }" => "";
    "remove", "row.remove(column)", "Takes a column out of the row, and gives its value.", "row.remove(\"note\");" => "";
    "contains", "row.contains(column)", "Whether the row has the column, with a value or NULL.", "if row.contains(\"note\") { row.note = (); }" => "";
    "lookup", "lookup(\"connection.table\", key)\nlookup(\"connection.table\", \"column\", key)", "The row of another table with this key, as an object map; `()` where there is none. It is remembered for the connection's `lookup_ttl`, and so may be that old.", "let found = lookup(\"dim.customers\", row.id); if found != () { row.note = found.name; }" => "";
    "keys", "row.keys()", "The names of the row's columns.", "for name in row.keys() { if row[name] == \"\" { row[name] = (); } }" => "";
};

const JSON: &[Function] = table! { Json:
    "parse_json", "parse_json(text)", "Reads a JSON document: object maps, arrays, texts, numbers, `true`, `false`, `()`.", "parse_json(`{\"a\": [1, 2.50]}`).a[1]" => "2.50";
    "to_json", "map.to_json()\narray.to_json()", "Writes an object map or an array as JSON.", "#{ a: [1, \"x\", ()] }.to_json()" => "{\"a\":[1,\"x\",null]}";
    "json_get", "json_get(text, pointer)", "The value at a place of a JSON document (RFC 6901), `()` where there is none.", "json_get(`{\"items\": [{\"sku\": \"A1\"}]}`, \"/items/0/sku\")" => "A1";
};
