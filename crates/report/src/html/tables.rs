//! The tables of report.html.

use cacheproof_core::journal::ServerFacts;
use cacheproof_core::numbers;
use maud::{Markup, html};

use super::super::view::{Environment, Figures, View};
use super::{MAX_NAME_CHARS, code, isolated, name, sentence};

/// How many examples of trouble are shown.
const MAX_EXAMPLES: usize = 30;

/// A column's heading; `\n` ends a line.
pub(super) enum Column {
    Text(&'static str),
    /// Of numbers: set to the right.
    Number(&'static str),
}
use Column::{Number, Text};

impl Column {
    fn class(&self) -> Option<&'static str> {
        matches!(self, Number(_)).then_some("n")
    }

    fn heading(&self) -> Markup {
        let (Text(heading) | Number(heading)) = self;
        html! {
            th class=[self.class()] {
                @for (index, line) in heading.lines().enumerate() {
                    @if index > 0 { br; }
                    (line)
                }
            }
        }
    }
}

/// A table that scrolls where the screen is narrow.
pub(super) fn scrolling_table(head: &Markup, body: &Markup) -> Markup {
    html! {
        div.scroll {
            table { "\n" thead { tr { (head) } } "\n" tbody { "\n" (body) } }
        }
    }
}

/// A table of rows, the first cell of each its heading; `None` where it has no row.
pub(super) fn table(columns: &[Column], rows: &[Vec<Markup>]) -> Option<Markup> {
    let head = html! { @for column in columns { (column.heading()) } };
    let body = html! {
        @for row in rows {
            tr {
                @for (index, (cell, column)) in row.iter().zip(columns).enumerate() {
                    @if index == 0 { th { (cell) } } @else { td class=[column.class()] { (cell) } }
                }
            }
            "\n"
        }
    };
    (!rows.is_empty()).then(|| scrolling_table(&head, &body))
}

/// A cell of plain text.
fn cell(text: &str) -> Markup {
    html! { (text) }
}

pub(super) fn phases(view: &View<'_>) -> Option<Markup> {
    let columns = [
        Text("Phase"),
        Text("Path"),
        Number("Length"),
        Number("Requests"),
        Number("Answered"),
        Number("P50"),
        Number("P95"),
        Number("P99"),
        Number("Max"),
        Number("Hit rate"),
        Number("Errors"),
        Number("Queries\nper request"),
    ];
    let rows = view.phases.iter().map(|phase| {
        let mut row = vec![html! {
            (isolated(phase.name))
            @if phase.warm_up { br; span.muted { "not judged" } }
        }];
        let Figures { requests, throughput, p50, p95, p99, max, hit_rate, errors, queries_per_request, .. } =
            &phase.figures;
        row.extend([phase.path.as_str(), &phase.length, requests, throughput].map(cell));
        row.extend([p50, p95, p99, max, hit_rate, errors, queries_per_request].map(|text| cell(text)));
        row
    });
    table(&columns, &rows.collect::<Vec<_>>())
}

pub(super) fn requests(view: &View<'_>) -> Option<Markup> {
    let columns = [
        Text("Request"),
        Text("Phase"),
        Text("Path"),
        Number("Requests"),
        Number("P50"),
        Number("P95"),
        Number("P99"),
        Number("Max"),
        Number("Service P95"),
        Number("Hit rate"),
        Number("Errors"),
    ];
    let rows = view.requests.iter().map(|row| {
        let Figures { requests, p50, p95, p99, max, service_p95, hit_rate, errors, .. } = &row.figures;
        let mut cells = vec![isolated(row.request), isolated(row.phase), cell(row.path.as_str())];
        cells.extend([requests, p50, p95, p99, max, service_p95, hit_rate, errors].map(|text| cell(text)));
        cells
    });
    table(&columns, &rows.collect::<Vec<_>>())
}

pub(super) fn statements(view: &View<'_>) -> Option<Markup> {
    let statements = view.statements.as_ref()?;
    let rows = statements.rows.iter().map(|(text, calls, share)| vec![code(text, 200), cell(calls), cell(share)]);
    let table =
        table(&[Text("The ten most frequent"), Number("Executed"), Number("Share")], &rows.collect::<Vec<_>>())?;
    Some(html! { p { (sentence(&statements.sentence)) } (table) })
}

pub(super) fn outcomes(view: &View<'_>) -> Option<Markup> {
    let mut columns = vec![Text("Phase")];
    columns.extend(view.outcomes.outcomes.iter().map(|outcome| Number(outcome.as_str())));
    columns.push(Number("stale"));
    let rows = view.outcomes.rows.iter().map(|row| {
        let mut cells = vec![isolated(row.phase)];
        cells.extend(row.counts.iter().chain([&row.stale]).map(|count| cell(count)));
        cells
    });
    let table = table(&columns, &rows.collect::<Vec<_>>()).filter(|_| !view.outcomes.outcomes.is_empty())?;
    Some(html! {
        (table)
        @if !view.redis_lookups.is_empty() {
            "\n"
            ul {
                "\n"
                @for (phase, text) in &view.redis_lookups { li { (isolated(phase)) ": " (sentence(text)) } "\n" }
            }
        }
    })
}

pub(super) fn examples(view: &View<'_>) -> Option<Markup> {
    let shown = view.examples.iter().take(MAX_EXAMPLES);
    let rows = shown.map(|example| {
        vec![
            cell(&name(example.kind)),
            isolated(example.phase),
            code(example.request, 160),
            cell(&sentence(example.detail)),
        ]
    });
    let columns = [Text("Kind"), Text("Phase"), Text("Request"), Text("What was wrong")];
    let table = table(&columns, &rows.collect::<Vec<_>>())?;
    Some(html! { (table) (more_in_journal(view.examples.len().saturating_sub(MAX_EXAMPLES))) })
}

/// How many examples are not shown.
pub(super) fn more_in_journal(count: usize) -> Markup {
    html! { @if count > 0 { p.muted { (count) " more are in events.jsonl." } } }
}

pub(super) fn environment(environment: &Environment<'_>) -> Option<Markup> {
    let mut rows: Vec<_> = environment.servers.iter().map(|(what, facts)| server(what, facts)).collect();
    rows.extend(environment.app.map(|app| {
        let origin = if app.pid.is_some() { "started by cacheproof" } else { "was running" };
        vec![cell("App"), cell(&sentence(&app.what)), cell(origin), code(&app.url, MAX_NAME_CHARS), cell("")]
    }));
    rows.extend(environment.host.map(|host| {
        vec![
            cell("Machine"),
            html! { (name(&host.cpu)) ", " (host.cores) " cores" },
            cell(&name(&host.kernel)),
            cell(""),
            html! { (numbers::bytes(host.memory as f64)) " memory" },
        ]
    }));
    table(&[Text(""), Text("Version"), Text("Provider"), Text("Address"), Text("Settings")], &rows)
}

fn server(what: &str, server: &ServerFacts) -> Vec<Markup> {
    let topology = Some(server.topology.as_str()).filter(|topology| !["", "standalone"].contains(topology));
    vec![
        cell(what),
        html! {
            (name(&server.version))
            @if let Some(image) = &server.image { " " (code(image, MAX_NAME_CHARS)) }
            @if let Some(topology) = topology { br; (name(topology)) }
        },
        html! { (name(&server.provider)) br; span.muted { (sentence(&server.why)) } },
        html! {
            (code(&server.url, MAX_NAME_CHARS))
            @for node in &server.nodes {
                br;
                span.muted {
                    (name(&node.name)) " (" (name(&node.role)) "): " (code(&node.address, MAX_NAME_CHARS))
                    @if let Some(proxy) = &node.proxy { ", proxy " (code(proxy, MAX_NAME_CHARS)) }
                }
            }
        },
        html! {
            @for (index, (name, value)) in server.settings.iter().enumerate() {
                @if index > 0 { br; }
                (code(&format!("{} {}", super::one_line(name, 60), super::one_line(value, 80)), usize::MAX))
            }
        },
    ]
}
