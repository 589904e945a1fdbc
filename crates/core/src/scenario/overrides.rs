//! `--set path.to.key=value`: one value of the file replaced, its comments and order kept.

use std::ops::Range;

use toml_edit::{DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::problem::{known_names, nearest};
use super::schema::{Key, KeyKind, ROOT};
use super::{Problem, ScenarioErrors};

/// The text with every override written into it. A text that is not TOML is returned as it is: the parser says why.
pub(super) fn apply(name: &str, text: &str, sets: &[String]) -> Result<String, ScenarioErrors> {
    let Ok(mut document) = text.parse::<DocumentMut>() else {
        super::parse(name, text)?;
        return Ok(text.to_owned());
    };
    for set in sets {
        let change = Override { set };
        change.apply(&mut document).map_err(|problem| ScenarioErrors::new("--set", set, vec![problem]))?;
    }
    Ok(document.to_string())
}

struct Override<'a> {
    set: &'a str,
}

/// A table of the document. A table in braces cannot hold a `[table]`, so there are two kinds.
enum TableRef<'t> {
    Table(&'t mut Table),
    Inline(&'t mut InlineTable),
}

impl<'t> TableRef<'t> {
    fn of_item(item: &'t mut Item) -> Option<Self> {
        match item {
            Item::Table(table) => Some(Self::Table(table)),
            Item::Value(value) => Self::of_value(value),
            _ => None,
        }
    }

    fn of_value(value: &'t mut Value) -> Option<Self> {
        value.as_inline_table_mut().map(Self::Inline)
    }

    fn into_table_like(self) -> &'t mut dyn TableLike {
        match self {
            Self::Table(table) => table,
            Self::Inline(table) => table,
        }
    }
}

/// One name of the path, without its quotes, and where it stands.
struct Segment {
    name: String,
    span: Range<usize>,
}

impl Override<'_> {
    fn apply(&self, document: &mut DocumentMut) -> Result<(), Problem> {
        let (path, value) = self.split()?;
        let mut table = TableRef::Table(document.as_table_mut());
        let mut keys = ROOT;
        let mut rest = path.as_slice();
        loop {
            let Some((segment, after)) = rest.split_first() else { return Err(self.too_short()) };
            let Some(key) = keys.iter().find(|key| key.name == segment.name) else {
                return Err(unknown(segment, keys));
            };
            match key.kind {
                KeyKind::Value | KeyKind::Table(_) if after.is_empty() => {
                    write(table.into_table_like(), key.name, value);
                    return Ok(());
                }
                KeyKind::Value => {
                    let problem = Problem::new(format!("\"{}\" has no parts", key.name)).at(after[0].span.clone());
                    return Err(problem.help(format!("set it as a whole: --set {}=…", self.up_to(segment))));
                }
                KeyKind::UserKeys => {
                    let [name] = after else { return Err(self.too_short()) };
                    // Names are the user's own: none of them excludes another.
                    replace(self.descend(table, key.name, segment)?.into_table_like(), &name.name, value);
                    return Ok(());
                }
                KeyKind::Table(inner) => {
                    table = self.descend(table, key.name, segment)?;
                    keys = inner;
                    rest = after;
                }
                KeyKind::Tables(label, inner) => {
                    let Some((which, after)) = after.split_first() else { return Err(self.too_short()) };
                    table = item(table, key.name, label, which)?;
                    keys = inner;
                    rest = after;
                }
            }
        }
    }

    /// Path and value on both sides of the first `=` outside quotes.
    fn split(&self) -> Result<(Vec<Segment>, Value), Problem> {
        let shape = "write --set path.to.key=value, e.g. --set traffic.rate=800/s";
        let whole = || 0..self.set.len();
        let mut segments = Vec::new();
        let mut at = 0;
        loop {
            let rest = &self.set[at..];
            let (name, length) = match rest.chars().next() {
                Some(quote @ ('"' | '\'')) => match rest[1..].find(quote) {
                    Some(end) => (&rest[1..=end], end + 2),
                    None => return Err(Problem::new("this quote is never closed").at(at..self.set.len()).help(shape)),
                },
                _ => {
                    let end = rest.find(['.', '=']).unwrap_or(rest.len());
                    (rest[..end].trim(), end)
                }
            };
            if name.is_empty() {
                return Err(Problem::new("this is not an override").at(whole()).help(shape));
            }
            segments.push(Segment { name: name.to_owned(), span: at..at + length });
            at += length;
            let rest = self.set[at..].trim_start();
            at = self.set.len() - rest.len();
            if let Some(value) = rest.strip_prefix('=') {
                let value = value.trim();
                let value = value.parse().unwrap_or_else(|_| Value::from(value));
                return Ok((segments, value));
            }
            if !rest.starts_with('.') {
                return Err(Problem::new("an override has a path, = and a value").at(whole()).help(shape));
            }
            at += 1;
        }
    }

    fn up_to(&self, segment: &Segment) -> &str {
        &self.set[..segment.span.end]
    }

    fn too_short(&self) -> Problem {
        Problem::new("this path does not lead to a value")
            .at(0..self.set.find('=').unwrap_or(self.set.len()))
            .help("name one value: traffic.rate, phase.steady.lasts, data.posts, traffic.request.'read post'.weight")
    }

    /// The table behind a key, made where the file does not have it.
    fn descend<'t>(&self, table: TableRef<'t>, key: &str, segment: &Segment) -> Result<TableRef<'t>, Problem> {
        let found = match table {
            TableRef::Table(table) => TableRef::of_item(table.entry(key).or_insert_with(|| Item::Table(Table::new()))),
            TableRef::Inline(table) => {
                if !table.contains_key(key) {
                    table.insert(key, Value::InlineTable(InlineTable::new()));
                }
                table.get_mut(key).and_then(TableRef::of_value)
            }
        };
        found.ok_or_else(|| self.no_table(key, segment))
    }

    fn no_table(&self, key: &str, segment: &Segment) -> Problem {
        Problem::new(format!("\"{key}\" is not a table in this file"))
            .at(segment.span.clone())
            .help(format!("set it as a whole: --set {}='{{ … }}'", self.up_to(segment)))
    }
}

fn unknown(segment: &Segment, keys: &[Key]) -> Problem {
    let names = keys.iter().map(|key| key.name);
    Problem::new(format!("there is no \"{}\" to set", segment.name))
        .at(segment.span.clone())
        .label("unknown key")
        .help(known_names(&segment.name, "keys here", names))
}

/// Keys that exclude others: to set the one is to give the others up.
const MUTUALLY_EXCLUSIVE_KEYS: [(&str, &[&str]); 7] = [
    ("users", &["rate", "arrivals", "connections"]),
    ("rate", &["users"]),
    ("kill", &["pause"]),
    ("pause", &["kill"]),
    ("json", &["header"]),
    ("query", &["header"]),
    ("header", &["json", "query"]),
];

/// Writes a value and gives up what it excludes.
fn write(table: &mut dyn TableLike, key: &str, value: Value) {
    for other in MUTUALLY_EXCLUSIVE_KEYS.iter().filter(|(one, _)| *one == key).flat_map(|(_, others)| *others) {
        table.remove(other);
    }
    if key == "provider" && value.as_str() != Some("external") {
        for other in ["url", "container", "compose"] {
            table.remove(other);
        }
    }
    replace(table, key, value);
}

/// Replaces or adds a value; a comment behind the old value stays.
fn replace(table: &mut dyn TableLike, key: &str, mut value: Value) {
    if let Some(old) = table.get(key).and_then(Item::as_value) {
        *value.decor_mut() = old.decor().clone();
        if let Some(item) = table.get_mut(key) {
            *item = Item::Value(value);
        }
    } else {
        value.decor_mut().clear();
        table.insert(key, Item::Value(value));
    }
}

/// One of a list of tables, by its name or its number from 0.
fn item<'t>(table: TableRef<'t>, key: &str, label: &str, which: &Segment) -> Result<TableRef<'t>, Problem> {
    let label = |table: &dyn TableLike| table.get(label).and_then(Item::as_str).unwrap_or_default().to_owned();
    let (names, mut tables): (Vec<String>, Vec<TableRef<'t>>) = match table.into_table_like().get_mut(key) {
        Some(Item::ArrayOfTables(array)) => {
            array.iter_mut().map(|table| (label(table), TableRef::Table(table))).unzip()
        }
        Some(Item::Value(Value::Array(array))) => array
            .iter_mut()
            .filter_map(Value::as_inline_table_mut)
            .map(|table| (label(table), TableRef::Inline(table)))
            .unzip(),
        _ => (Vec::new(), Vec::new()),
    };
    let by_number = || which.name.parse().ok().filter(|index: &usize| *index < names.len());
    match names.iter().position(|name| *name == which.name).or_else(by_number) {
        Some(index) => Ok(tables.swap_remove(index)),
        None => {
            let meant = nearest(&which.name, names.iter().map(String::as_str));
            let meant = meant.map(|name| format!("did you mean {key}.'{name}'? ")).unwrap_or_default();
            let known = names.iter().enumerate().map(|(index, name)| format!("{index} '{name}'"));
            Err(Problem::new(format!("there is no {key} \"{}\"", which.name))
                .at(which.span.clone())
                .help(format!("{meant}by number or name: {}", known.collect::<Vec<_>>().join(", "))))
        }
    }
}
