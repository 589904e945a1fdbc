//! Reads typed values out of the TOML tree. What is wrong becomes a [`Problem`] at its place, and reading goes on.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, Problems, known_names};
use super::schema::Key;
pub(super) use super::value_span::span_in_file;
use super::{Quantity, QuantityError};
use crate::metrics::as_percent;

/// A value of the file and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

impl<T> Located<T> {
    pub(super) fn map<U>(self, to: impl FnOnce(T) -> U) -> Located<U> {
        Located { value: to(self.value), span: self.span }
    }
}

/// One table of the file.
#[derive(Clone)]
pub(super) struct Section<'a> {
    pub(super) problems: &'a Problems,
    pub(super) text: &'a str,
    table: &'a DeTable<'a>,
    /// Its header, or the whole of an inline table.
    pub(super) span: Range<usize>,
    /// As messages call it: `[stack.redis]`.
    pub(super) place: String,
}

impl<'a> Section<'a> {
    /// Takes a table and complains of the keys that it should not have.
    pub(super) fn new(
        problems: &'a Problems,
        text: &'a str,
        table: &'a DeTable<'a>,
        span: Range<usize>,
        place: &str,
        keys: &'static [Key],
    ) -> Self {
        let section = Self { problems, text, table, span, place: place.to_owned() };
        for key in table.keys().filter(|key| keys.iter().all(|known| known.name != key.get_ref().as_ref())) {
            let known = keys.iter().map(|key| key.name);
            problems.add(
                Problem::new(format!("{place} has no key \"{}\"", key.get_ref()))
                    .at(key.span())
                    .label("unknown key")
                    .help(known_names(key.get_ref(), "keys here", known)),
            );
        }
        section
    }

    /// Takes a table whose keys the user chose.
    pub(super) fn with_user_keys(
        parent: &Section<'a>,
        table: &'a DeTable<'a>,
        span: Range<usize>,
        place: &str,
    ) -> Self {
        Self { table, span, place: place.to_owned(), ..parent.clone() }
    }

    /// Every key with its value.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Located<&'a str>, Value<'a>)> {
        self.table.iter().map(|(key, value)| {
            let at = Located { value: key.get_ref().as_ref(), span: key.span() };
            (at, Value { problems: self.problems, text: self.text, key: key.get_ref().to_string(), inner: value })
        })
    }

    /// The value of a key, whatever it is.
    pub(super) fn get(&self, key: &str) -> Option<Value<'a>> {
        let inner = self.table.get(key)?;
        Some(Value { problems: self.problems, text: self.text, key: key.to_owned(), inner })
    }

    /// Where a key stands.
    pub(super) fn key_span(&self, key: &str) -> Option<Range<usize>> {
        self.table.get_key_value(key).map(|(key, _)| key.span())
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Complains that a key is not there.
    pub(super) fn missing(&self, key: &str, example: &str) {
        self.problems.add(
            Problem::new(format!("{} lacks the key \"{key}\"", self.place))
                .at(self.span.clone())
                .label(format!("\"{key}\" is missing"))
                .help(format!("add {example}")),
        );
    }

    /// A table inside this one.
    pub(super) fn section(&self, key: &str, place: &str, keys: &'static [Key]) -> Option<Section<'a>> {
        self.get(key)?.section(place, keys)
    }

    /// A list of tables inside this one.
    pub(super) fn sections(&self, key: &str, place: &str, keys: &'static [Key]) -> Vec<Section<'a>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(items) = value.inner.get_ref().as_array() else {
            value.wrong("a list of tables", &format!("write [[{place}]] with two brackets on each side"));
            return Vec::new();
        };
        let place = format!("[[{place}]]");
        let in_list = |inner| Value { inner, ..value.clone() };
        items.iter().filter_map(|item| in_list(item).section(&place, keys)).collect()
    }

    pub(super) fn string(&self, key: &str) -> Option<Located<&'a str>> {
        self.get(key)?.string()
    }

    pub(super) fn boolean(&self, key: &str) -> Option<bool> {
        let value = self.get(key)?;
        let boolean = value.inner.get_ref().as_bool();
        if boolean.is_none() {
            value.wrong("true or false", &format!("write {key} = true or {key} = false"));
        }
        boolean
    }

    /// A whole number inside `range`.
    pub(super) fn integer(&self, key: &str, range: RangeInclusive<u64>, example: &str) -> Option<Located<u64>> {
        self.get(key)?.integer(range, example)
    }

    /// A time longer than nothing, or than less than nothing where `zero` is right too.
    pub(super) fn time(&self, key: &str, zero: bool, example: &str) -> Option<Located<Duration>> {
        let value = self.get(key)?;
        let quantity = value.quantity("a time", example, |digits| format!("{digits}s"))?;
        match quantity.value {
            Quantity::Time(time) if time.is_zero() && !zero => {
                value.refuse(format!("\"{key}\" must be longer than 0"), "too short", &format!("write {example}"));
                None
            }
            Quantity::Time(time) if time > MAX_DURATION => {
                value.refuse(format!("\"{key}\" is longer than a week"), "too long", &format!("write {example}"));
                None
            }
            Quantity::Time(time) => Some(quantity.map(|_| time)),
            other => {
                value.wrong_kind("a time", other, example);
                None
            }
        }
    }

    /// A rate above 0 that a machine can send.
    pub(super) fn rate(&self, key: &str, example: &str) -> Option<f64> {
        let value = self.get(key)?;
        match value.quantity("a rate", example, |digits| format!("{digits}/s"))?.value {
            Quantity::Rate(rate) if (MIN_RATE..=MAX_RATE).contains(&rate) => Some(rate),
            Quantity::Rate(rate) if rate > MAX_RATE => {
                let message = format!("\"{key}\" is more than a machine can send");
                let help = format!("write at most {MAX_RATE}/s: one process sends all requests");
                value.refuse(message, "too much", &help);
                None
            }
            Quantity::Rate(rate) if rate > 0.0 => {
                let message = format!("\"{key}\" is less than a request in {} s", 1.0 / MIN_RATE);
                value.refuse(message, "too little", &format!("write {example}"));
                None
            }
            Quantity::Rate(_) => {
                value.refuse(format!("\"{key}\" must be more than 0"), "nothing sent", &format!("write {example}"));
                None
            }
            other => {
                value.wrong_kind("a rate", other, example);
                None
            }
        }
    }

    /// A size in bytes above 0.
    pub(super) fn bytes(&self, key: &str, example: &str) -> Option<u64> {
        let value = self.get(key)?;
        match value.quantity("a size", example, |digits| format!("{digits}mb"))?.value {
            Quantity::Bytes(bytes) if bytes > 0 => Some(bytes),
            Quantity::Bytes(_) => {
                value.refuse(format!("\"{key}\" must be more than 0"), "no memory", &format!("write {example}"));
                None
            }
            other => {
                value.wrong_kind("a size", other, example);
                None
            }
        }
    }

    /// A share of the whole, above 0 and up to 100 %.
    pub(super) fn share(&self, key: &str, example: &str) -> Option<f64> {
        let value = self.get(key)?;
        match value.quantity("a percentage", example, percent)?.value {
            Quantity::Share(share) if share > 0.0 && share <= 1.0 => Some(share),
            Quantity::Share(_) => {
                let message = format!("\"{key}\" must be more than 0% and at most 100%");
                value.refuse(message, "out of range", &format!("write {example}"));
                None
            }
            other => {
                value.wrong_kind("a percentage", other, example);
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn one_of<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<Located<T>> {
        let text = self.string(key)?;
        let found = words.iter().find(|(word, _)| *word == text.value);
        if found.is_none() {
            self.problems.add(
                Problem::new(format!("\"{}\" is not a value of \"{key}\"", text.value))
                    .at(text.span.clone())
                    .label("unknown")
                    .help(known_names(text.value, "it is one of", words.iter().map(|(word, _)| *word))),
            );
        }
        found.map(|(_, value)| Located { value: *value, span: text.span })
    }

    pub(super) fn strings(&self, key: &str) -> Option<Vec<Located<&'a str>>> {
        self.get(key)?.strings()
    }

    /// A string, or a list of strings.
    pub(super) fn one_or_more_strings(&self, key: &str) -> Option<Vec<Located<&'a str>>> {
        let value = self.get(key)?;
        match value.inner.get_ref() {
            DeValue::Array(_) => value.strings(),
            _ => Some(vec![value.string()?]),
        }
    }
}

/// More requests a second than one process can send on any machine, by a wide margin. A higher rate would only fill the
/// memory with requests that wait.
const MAX_RATE: f64 = 1_000_000.0;

/// A lower rate sends nothing in most phases.
const MIN_RATE: f64 = 0.001;

/// How a share without its `%` should have been written: `50` as `50%`, `0.5` as `50%`.
pub(super) fn percent(number: &str) -> String {
    match number.parse() {
        Ok(Quantity::Count(share)) if number.contains('.') && share <= 1.0 => format!("{}%", as_percent(share)),
        _ => format!("{number}%"),
    }
}

/// Longer phases are slips of the pen, and sums of times must not overflow.
const MAX_DURATION: Duration = Duration::from_secs(7 * 24 * 3600);

/// A value of the file with the key it belongs to.
#[derive(Clone)]
pub(super) struct Value<'a> {
    problems: &'a Problems,
    text: &'a str,
    key: String,
    pub(super) inner: &'a Spanned<DeValue<'a>>,
}

impl<'a> Value<'a> {
    pub(super) fn span(&self) -> Range<usize> {
        self.inner.span()
    }

    /// Complains of the value.
    pub(super) fn refuse(&self, message: String, label: &str, help: &str) {
        self.problems.add(Problem::new(message).at(self.span()).label(label).help(help));
    }

    /// Complains that the value is of another type than it should be.
    pub(super) fn wrong(&self, wanted: &str, help: &str) {
        let found = match self.inner.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) | DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.refuse(format!("\"{}\" should be {wanted}", self.key), &format!("this is {found}"), help);
    }

    fn wrong_kind(&self, wanted: &str, found: Quantity, example: &str) {
        let message = format!("\"{}\" should be {wanted}", self.key);
        self.refuse(message, &format!("this is {}", found.kind()), &format!("write {example}"));
    }

    pub(super) fn is_table(&self) -> bool {
        self.inner.get_ref().is_table()
    }

    pub(super) fn section(&self, place: &str, keys: &'static [Key]) -> Option<Section<'a>> {
        match self.inner.get_ref().as_table() {
            Some(table) => Some(Section::new(self.problems, self.text, table, self.span(), place, keys)),
            None => {
                let names = keys.iter().map(|key| key.name).collect::<Vec<_>>().join(", ");
                self.wrong("a table", &format!("write {{ … }} with some of the keys {names}"));
                None
            }
        }
    }

    pub(super) fn string(&self) -> Option<Located<&'a str>> {
        let text = self.inner.get_ref().as_str();
        if text.is_none() {
            let raw = self.text.get(self.span()).unwrap_or_default();
            let simple = !raw.contains(['"', '\n', '[', '{']);
            let help = if simple { format!("write \"{raw}\" with its quotes") } else { "write \"…\"".to_owned() };
            self.wrong("a string", &help);
        }
        text.map(|value| Located { value, span: self.span() })
    }

    pub(super) fn strings(&self) -> Option<Vec<Located<&'a str>>> {
        let Some(items) = self.inner.get_ref().as_array() else {
            let help = match self.inner.get_ref().as_str() {
                Some(_) => format!("write {} = [{}]", self.key, self.text.get(self.span()).unwrap_or("…")),
                None => format!("write {} = [\"…\"]", self.key),
            };
            self.wrong("a list of strings", &help);
            return None;
        };
        items.iter().map(|item| Value { inner: item, ..self.clone() }.string()).collect()
    }

    pub(super) fn integer(&self, range: RangeInclusive<u64>, example: &str) -> Option<Located<u64>> {
        let (least, most) = (*range.start(), *range.end());
        let help = format!("write {example}");
        let Some(integer) = self.inner.get_ref().as_integer() else {
            self.refuse(format!("\"{}\" should be a whole number", self.key), "not a whole number", &help);
            return None;
        };
        let number = i128::from_str_radix(integer.as_str(), integer.radix()).ok();
        match number.and_then(|number| u64::try_from(number).ok()) {
            Some(value) if range.contains(&value) => Some(Located { value, span: self.span() }),
            Some(value) if value < least => {
                self.refuse(format!("\"{}\" must be at least {least}", self.key), "too small", &help);
                None
            }
            _ => {
                let message = format!("\"{}\" must be from {least} to {most}", self.key);
                self.refuse(message, "out of range", &help);
                None
            }
        }
    }

    /// A plain number, whole or not.
    pub(super) fn number(&self) -> Option<f64> {
        match self.inner.get_ref() {
            DeValue::Integer(integer) => {
                i128::from_str_radix(integer.as_str(), integer.radix()).ok().map(|integer| integer as f64)
            }
            DeValue::Float(float) => float.as_str().parse().ok(),
            _ => None,
        }
    }

    /// A value with a unit, in a string. `with_unit` shows how a bare number should have been written.
    pub(super) fn quantity(
        &self,
        wanted: &str,
        example: &str,
        with_unit: impl Fn(&str) -> String,
    ) -> Option<Located<Quantity>> {
        let unit_is_missing = |number: &str| {
            // Never advise to write what would be refused next, as "-5s" would be.
            let value = Some(with_unit(number)).filter(|value| value.parse::<Quantity>().is_ok());
            let help = value.map_or(format!("write {example}"), |value| format!("write {} = \"{value}\"", self.key));
            self.refuse(format!("\"{}\" should be {wanted} with its unit", self.key), "the unit is missing", &help);
        };
        if self.number().is_some_and(|number| number < 0.0) {
            self.refuse(format!("\"{}\" is never negative", self.key), "below 0", &format!("write {example}"));
            return None;
        }
        if self.number().is_some() {
            unit_is_missing(self.text.get(self.span()).unwrap_or_default());
            return None;
        }
        let Some(text) = self.inner.get_ref().as_str() else {
            self.wrong(wanted, &format!("write {example}"));
            return None;
        };
        match text.parse() {
            Ok(Quantity::Count(_)) => {
                unit_is_missing(text);
                None
            }
            Ok(value) => Some(Located { value, span: self.span() }),
            Err(QuantityError { message, help }) => {
                // A help that is just the value becomes the whole line.
                let value = help.strip_prefix("write ").filter(|value| value.parse::<Quantity>().is_ok());
                let help = value.map_or(help.clone(), |value| format!("write {} = \"{value}\"", self.key));
                self.refuse(format!("\"{}\" should be {wanted}, but {message}", self.key), "here", &help);
                None
            }
        }
    }
}
