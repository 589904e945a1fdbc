//! Stale reads in report.html: the numbers, and each example with the history around it.

use cacheproof_core::observe::PastEvent;

use super::View;
use super::html::{name, sentence};
use super::html_tables::table;
use super::stale::{Example, relative, told};
use super::text::{escape, one_line};

/// How many lines of an example's history and of its second looks are shown: the last ones.
const LINES: usize = 40;

pub(super) fn stale(view: &View<'_>) -> String {
    let Some(told) = told(view) else { return String::new() };
    let sentences: String = told.sentences().iter().map(|text| format!("<li>{}</li>\n", sentence(text))).collect();
    let examples: String = told.examples.iter().map(example).collect();
    let more = match told.more_examples {
        0 => String::new(),
        more => format!("<p class=\"muted\">{more} more are in events.jsonl.</p>\n"),
    };
    format!("<ul>\n{sentences}</ul>\n{examples}{more}")
}

fn example(example: &Example<'_>) -> String {
    let read = &example.read;
    let lines: Vec<Vec<String>> = last(example.history).iter().map(|event| line(example, event)).collect();
    let head = ["What", "#Version", "#Sent", "#Answered", "How"];
    let looks: String = last(&example.looks()).iter().map(|look| format!("<li>{}</li>\n", sentence(look))).collect();
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
         <p>{}.</p>\n{}\n<p>Looked at again:</p>\n<ul>\n{looks}</ul>\n</details>\n",
        example.kind.as_str(),
        escape(&one_line(read.call, 160)),
        name(example.phase),
        sentence(&cacheproof_core::numbers::moment(example.at)),
        sentence(read.detail),
        facts.join(" · "),
        table(&head, &lines),
    )
}

fn line(example: &Example<'_>, event: &PastEvent) -> Vec<String> {
    let it = example.is_it(event);
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
    &all[all.len().saturating_sub(LINES)..]
}
