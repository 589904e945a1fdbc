//! Stale reads in report.html: the numbers, and each example with the history around it.

use cacheproof_core::journal::HistoryEntry;

use super::ReportInput;
use super::html::{name, sentence};
use super::html_tables::table;
use super::stale::{StaleExample, relative, stale_summary};
use super::text::{escape, one_line};

/// How many lines of an example's history and of its second looks are shown: the last ones.
const MAX_HISTORY_ROWS: usize = 40;

pub(super) fn stale(view: &ReportInput<'_>) -> String {
    let Some(stale_summary) = stale_summary(view) else { return String::new() };
    let sentences: String =
        stale_summary.sentences().iter().map(|text| format!("<li>{}</li>\n", sentence(text))).collect();
    let examples: String = stale_summary.examples.iter().map(example).collect();
    let more = match stale_summary.more_examples {
        0 => String::new(),
        more => format!("<p class=\"muted\">{more} more are in events.jsonl.</p>\n"),
    };
    format!("<ul>\n{sentences}</ul>\n{examples}{more}")
}

fn example(example: &StaleExample<'_>) -> String {
    let read = &example.read;
    let lines: Vec<Vec<String>> = last(example.history).iter().map(|event| line(example, event)).collect();
    let head = ["What", "#Version", "#Sent", "#Answered", "How"];
    let rechecks: String =
        last(&example.describe_rechecks()).iter().map(|look| format!("<li>{}</li>\n", sentence(look))).collect();
    let facts = [
        format!("{} path", example.path.as_str()),
        if read.probe { "cacheproof's own read after a write".to_owned() } else { name(example.request) },
        sentence(&example.age()),
        read.since_ack.map_or_else(String::new, |since| {
            format!("sent {} after the last acknowledgement", sentence(&cacheproof_core::numbers::time(since)))
        }),
        if read.item == read.call.trim_start_matches("GET ") {
            String::new()
        } else {
            format!("item <code>{}</code>", escape(&one_line(read.item, 160)))
        },
    ];
    let facts: Vec<String> = facts.into_iter().filter(|fact| !fact.is_empty()).collect();
    format!(
        "<details>\n<summary><strong>{}</strong>: <code>{}</code> in <bdi>{}</bdi> at {}: {}</summary>\n\
         <p>{}.</p>\n{}\n<p>Looked at again:</p>\n<ul>\n{rechecks}</ul>\n</details>\n",
        example.kind.as_str(),
        escape(&one_line(read.call, 160)),
        name(example.phase),
        sentence(&cacheproof_core::numbers::moment(example.at)),
        sentence(read.detail),
        facts.join(" · "),
        table(&head, &lines),
    )
}

fn line(example: &StaleExample<'_>, event: &HistoryEntry) -> Vec<String> {
    let it = example.is_stale_read(event);
    let what = name(&event.what);
    vec![
        if it { format!("<strong>{what}</strong> (this one)") } else { what },
        event.version.map_or_else(|| "–".to_owned(), |version| version.to_string()),
        relative(event.from),
        event.to.map_or_else(|| "not yet".to_owned(), relative),
        name(&event.how),
    ]
}

fn last<T>(all: &[T]) -> &[T] {
    &all[all.len().saturating_sub(MAX_HISTORY_ROWS)..]
}
