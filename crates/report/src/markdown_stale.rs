//! Stale reads in report.md.

use cacheproof_core::observe::PastEvent;

use super::View;
use super::stale::{Example, relative, told};
use super::text::{code, markdown};

/// How many of an example's last writes are told, and how many of its last reads.
const PAST: usize = 3;
/// How many of its second looks.
const LOOKS: usize = 3;

pub(super) fn stale(view: &View<'_>) -> String {
    let Some(told) = told(view) else { return String::new() };
    let mut text = format!("### Stale reads\n\n{}\n", markdown(&told.sentences().join(" "), 1_500));
    if told.examples.is_empty() {
        return text;
    }
    text += "\n<details><summary>Examples, with times relative to the stale read</summary>\n\n";
    text += &told.examples.iter().map(example).collect::<String>();
    if told.more_examples > 0 {
        text += &format!("\n…and {} more.\n", told.more_examples);
    }
    text + "\n</details>\n"
}

fn example(example: &Example<'_>) -> String {
    let read = &example.read;
    let last = |reads: bool| {
        let wanted = move |event: &&PastEvent| (event.what == "read") == reads && !example.is_it(event);
        example.history.iter().rev().filter(wanted).take(PAST)
    };
    let mut past: Vec<&PastEvent> = last(true).chain(last(false)).collect();
    past.sort_by(|a, b| a.from.total_cmp(&b.from));
    let past: Vec<String> = past.into_iter().map(one).collect();
    let looks = example.looks();
    let looks = &looks[looks.len().saturating_sub(LOOKS)..];
    format!(
        "- {} in '{}'{}: {} — {}; {}\n  - Around it: {}\n  - Looked at again: {}\n",
        code(read.call, 120),
        markdown(example.phase, 60),
        if read.probe { " (probe)" } else { "" },
        example.kind.as_str(),
        markdown(read.detail, 240),
        example.age(),
        if past.is_empty() { "nothing".to_owned() } else { past.join("; ") },
        markdown(&looks.join("; "), 300)
    )
}

/// `write 95 at −75 ms: acknowledged at −72 ms`.
fn one(event: &PastEvent) -> String {
    let version = event.version.map_or_else(String::new, |version| format!(" {version}"));
    let to = event.to.map_or_else(String::new, |to| format!(" at {}", relative(to)));
    format!("{}{version} at {}: {}{to}", markdown(&event.what, 20), relative(event.from), markdown(&event.how, 30))
}
