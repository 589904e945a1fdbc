//! Values of cache headers that nobody understood, counted for the report; and how many answers had none at all.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::shorten;
use cacheproof_core::journal::LabelCounts;

/// How many different values are kept.
const VALUES: usize = 20;

/// How many of them a sentence names.
const NAMED: usize = 5;

/// Counts the values.
#[derive(Debug, Default)]
pub struct UnreadCacheWords {
    seen: Mutex<Seen>,
    assumed: AtomicU64,
    told: AtomicU64,
}

#[derive(Debug, Default)]
struct Seen {
    values: BTreeMap<String, u64>,
    /// Answers with a value for which there was no room.
    others: u64,
}

impl UnreadCacheWords {
    /// Counts an answer with this `name: value`.
    pub fn record(&self, value: &str) {
        let value = shorten(value.as_bytes());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = seen.values.get_mut(&value) {
            *count += 1;
        } else if seen.values.len() < VALUES {
            seen.values.insert(value, 1);
        } else {
            seen.others += 1;
        }
    }

    /// Counts an answer that said where it came from, or that said nothing and is assumed to be what the scenario says.
    pub fn count_label(&self, is_assumed: bool) {
        let of = if is_assumed { &self.assumed } else { &self.told };
        of.fetch_add(1, Ordering::Relaxed);
    }

    /// How many answers said where they came from, and for how many that was assumed.
    pub fn labels(&self) -> LabelCounts {
        LabelCounts { told: self.told.load(Ordering::Relaxed), assumed: self.assumed.load(Ordering::Relaxed) }
    }

    /// What the user should know; `None`: everything was understood.
    pub fn note(&self) -> Option<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut values: Vec<(&String, &u64)> = seen.values.iter().collect();
        // Stable, so that equal counts stay in the order of the alphabet.
        values.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let answers = |count: u64| if count == 1 { "1 answer".to_owned() } else { format!("{count} answers") };
        let mut named: Vec<String> =
            values.iter().take(NAMED).map(|(value, count)| format!("\"{value}\" ({})", answers(**count))).collect();
        let rest = seen.others + values.iter().skip(NAMED).map(|(_, count)| **count).sum::<u64>();
        if rest > 0 {
            named.push(format!("and other values ({})", answers(rest)));
        }
        (!named.is_empty()).then(|| {
            format!(
                "These cache headers hold no word that is known: {}. Such an answer counts neither as a hit nor as a miss, \
                 unless another header tells. Say in [target.hit] what the words mean.",
                named.join(", ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_named_with_its_count_the_most_frequent_first() {
        let words = UnreadCacheWords::default();
        assert_eq!(words.note(), None);
        for value in ["x-cache: A", "x-cache: B", "x-cache: B"] {
            words.record(value);
        }
        let note = words.note().unwrap();
        assert!(note.contains("known: \"x-cache: B\" (2 answers), \"x-cache: A\" (1 answer). "), "{note}");
    }

    #[test]
    fn values_that_differ_with_every_answer_take_no_room() {
        let words = UnreadCacheWords::default();
        (0..1000).for_each(|number| words.record(&format!("x-cache: {number}{}", "!".repeat(10_000))));
        let note = words.note().unwrap();
        assert!(note.len() < 1500, "{}", note.len());
        assert!(note.contains("and other values (995 answers)"), "{note}");
    }
}
