//! Stale reads in report.md.

use cacheproof_core::journal::HistoryEntry;

use super::super::text::{code, markdown};
use super::super::view::{StaleExample, View, relative};

/// How many of an example's last writes are shown, and how many of its last reads.
const MAX_HISTORY_ENTRIES: usize = 3;
/// How many of its last rechecks.
const MAX_RECHECKS: usize = 3;

pub(super) fn stale(view: &View<'_>) -> String {
    let Some(stale) = &view.stale else { return String::new() };
    let mut text = format!("### Stale reads\n\n{}\n", markdown(&stale.sentences().join(" "), 1_500));
    if stale.examples.is_empty() {
        return text;
    }
    text += "\n<details><summary>Examples, with times relative to the stale read</summary>\n\n";
    text += &stale.examples.iter().map(example).collect::<String>();
    if stale.more_examples > 0 {
        text += &format!("\n…and {} more.\n", stale.more_examples);
    }
    text + "\n</details>\n"
}

fn example(example: &StaleExample<'_>) -> String {
    let read = &example.read;
    let last = |reads: bool| {
        let wanted = move |event: &&HistoryEntry| (event.what == "read") == reads && !example.is_stale_read(event);
        example.history.iter().rev().filter(wanted).take(MAX_HISTORY_ENTRIES)
    };
    let mut past: Vec<&HistoryEntry> = last(true).chain(last(false)).collect();
    past.sort_by(|a, b| a.from.total_cmp(&b.from));
    let past: Vec<String> = past.into_iter().map(|event| entry(example, event)).collect();
    let rechecks = example.describe_rechecks();
    let rechecks = &rechecks[rechecks.len().saturating_sub(MAX_RECHECKS)..];
    format!(
        "- {} in '{}'{}: {} — {}; {}\n  - History: {}\n  - Rechecks: {}\n",
        code(read.call, 120),
        markdown(example.phase, 60),
        if read.probe { " (probe)" } else { "" },
        example.kind.as_str(),
        markdown(read.detail, 240),
        example.age(),
        if past.is_empty() { "nothing".to_owned() } else { past.join("; ") },
        markdown(&rechecks.join("; "), 300)
    )
}

/// `write 95 at −75 ms: acknowledged at −72 ms`.
fn entry(example: &StaleExample<'_>, event: &HistoryEntry) -> String {
    let version = event.version.map_or_else(String::new, |version| format!(" {}", example.version_text(version)));
    let to = event.to.map_or_else(String::new, |to| format!(" at {}", relative(to)));
    format!("{}{version} at {}: {}{to}", markdown(&event.what, 20), relative(event.from), markdown(&event.how, 30))
}
