//! Stale reads in report.html: the numbers, and each example with its history.

use cacheproof_core::journal::HistoryEntry;
use cacheproof_core::numbers;
use maud::{Markup, html};

use super::super::view::{StaleExample, View, relative};
use super::tables::{Column, more_in_journal, table};
use super::{code, isolated, name, sentence};

/// How many rows of an example's history, and how many of its rechecks, are shown: the last ones.
const MAX_HISTORY_ROWS: usize = 40;

pub(super) fn stale(view: &View<'_>) -> Option<Markup> {
    let stale = view.stale.as_ref()?;
    Some(html! {
        ul { "\n" @for text in stale.sentences() { li { (sentence(&text)) } "\n" } }
        "\n"
        @for read in &stale.examples { (example(read)) "\n" }
        (more_in_journal(stale.more_examples))
    })
}

fn example(example: &StaleExample<'_>) -> Markup {
    let read = &example.read;
    let columns = [
        Column::Text("What"),
        Column::Number("Version"),
        Column::Number("Sent"),
        Column::Number("Answered"),
        Column::Text("How"),
    ];
    let history: Vec<_> = last(example.history).iter().map(|event| row(example, event)).collect();
    html! {
        details {
            "\n"
            summary {
                strong { (example.kind.as_str()) } ": " (code(read.call, 160)) " in " (isolated(example.phase)) " at "
                (sentence(&numbers::moment(example.at))) ": " (sentence(read.detail))
            }
            "\n"
            p {
                (example.path.as_str()) " path · "
                @if read.probe { "cacheproof's own read after a write" } @else { (name(example.request)) }
                " · " (sentence(&example.age()))
                @if let Some(since) = read.since_ack {
                    " · sent " (sentence(&numbers::time(since))) " after the last acknowledgement"
                }
                @if read.item != read.call.trim_start_matches("GET ") { " · item " (code(read.item, 160)) }
                "."
            }
            "\n"
            @if let Some(history) = table(&columns, &history) { (history) }
            "\n"
            p { "Rechecks:" }
            "\n"
            ul { "\n" @for recheck in last(&example.describe_rechecks()) { li { (sentence(recheck)) } "\n" } }
            "\n"
        }
    }
}

fn row(example: &StaleExample<'_>, event: &HistoryEntry) -> Vec<Markup> {
    let what = name(&event.what);
    vec![
        html! {
            @if example.is_stale_read(event) { strong { (what) } " (this one)" } @else { (what) }
        },
        html! { @if let Some(version) = event.version { (example.version_text(version)) } @else { "–" } },
        html! { (relative(event.from)) },
        html! { @if let Some(to) = event.to { (relative(to)) } @else { "not yet" } },
        html! { (name(&event.how)) },
    ]
}

fn last<T>(all: &[T]) -> &[T] {
    &all[all.len().saturating_sub(MAX_HISTORY_ROWS)..]
}
