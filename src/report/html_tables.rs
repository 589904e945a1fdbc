//! The tables of report.html.

use std::collections::BTreeMap;

use crate::observe::{Outcome, ServerFacts};
use crate::scenario::Path;
use crate::verdict::numbers;

use super::View;
use super::figures::{Figures, errors, figures, or_dash, redis_lookups};
use super::html::{name, sentence};
use super::text::{escape, one_line};

/// How many examples of trouble are shown.
const EXAMPLES: usize = 30;

/// A table of a head and lines; cells are HTML. A head that begins with `#` is of numbers.
fn table(head: &[&str], lines: &[Vec<String>]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let class = |column: usize| if head[column].starts_with('#') { " class=\"n\"" } else { "" };
    let heads: String = (0..head.len())
        .map(|index| format!("<th{}>{}</th>", class(index), head[index].trim_start_matches('#')))
        .collect();
    let body: String = lines
        .iter()
        .map(|line| {
            let cells = line.iter().enumerate().map(|(index, cell)| match index {
                0 => format!("<th>{cell}</th>"),
                index => format!("<td{}>{cell}</td>", class(index)),
            });
            format!("<tr>{}</tr>\n", cells.collect::<String>())
        })
        .collect();
    format!("<div class=\"scroll\"><table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}</tbody></table></div>")
}

fn figure_cells(figures: &Figures) -> Vec<String> {
    vec![
        numbers::count(figures.requests),
        or_dash(figures.p50, numbers::time),
        or_dash(figures.p95, numbers::time),
        or_dash(figures.p99, numbers::time),
        or_dash(figures.max, numbers::time),
        or_dash(figures.service_p95, numbers::time),
        or_dash(figures.hit_rate, numbers::share),
        errors(figures),
    ]
}

pub(super) fn phases(view: &View<'_>) -> String {
    let lines: Vec<Vec<String>> = view
        .seen
        .phases
        .iter()
        .filter_map(|(index, span)| {
            let phase = view.scenario.phases.get(*index)?;
            let figures = figures(view.scenario, view.seen, &[*index], |_| true);
            let warm_up = if phase.warm_up { "<br><span class=\"muted\">not judged</span>" } else { "" };
            let mut line = vec![
                format!("<bdi>{}</bdi>{warm_up}", name(&phase.name)),
                phase.path.as_str().to_owned(),
                match span.to {
                    Some(to) => numbers::moment(to - span.from),
                    None => "broke off".to_owned(),
                },
            ];
            let mut cells = figure_cells(&figures);
            cells.remove(5); // service time has its place in the table of requests
            cells.insert(1, or_dash(figures.throughput, numbers::rate));
            line.extend(cells);
            line.push(or_dash(figures.db_queries_per_request, numbers::plain));
            Some(line)
        })
        .collect();
    let head = [
        "Phase",
        "Path",
        "#Length",
        "#Requests",
        "#Answered",
        "#P50",
        "#P95",
        "#P99",
        "#Max",
        "#Hit rate",
        "#Errors",
        "#Queries<br>a request",
    ];
    table(&head, &lines)
}

pub(super) fn requests(view: &View<'_>) -> String {
    let mut keys: Vec<(usize, usize, Path)> =
        view.seen.cells.keys().map(|key| (key.request, key.phase, key.path)).collect();
    keys.sort_unstable();
    keys.dedup();
    let lines: Vec<Vec<String>> = keys
        .into_iter()
        .map(|(request, phase, path)| {
            let figures = figures(view.scenario, view.seen, &[phase], |key| key.request == request && key.path == path);
            let mut line = vec![
                format!("<bdi>{}</bdi>", name(view.request_name(request))),
                format!("<bdi>{}</bdi>", name(view.phase_name(phase))),
                path.as_str().to_owned(),
            ];
            line.extend(figure_cells(&figures));
            line
        })
        .collect();
    let head = [
        "Request",
        "Phase",
        "Path",
        "#Requests",
        "#P50",
        "#P95",
        "#P99",
        "#Max",
        "#Service P95",
        "#Hit rate",
        "#Errors",
    ];
    table(&head, &lines)
}

pub(super) fn outcomes(view: &View<'_>) -> String {
    let mut counts: BTreeMap<(usize, Outcome), u64> = BTreeMap::new();
    for (key, totals) in &view.seen.cells {
        *counts.entry((key.phase, key.outcome)).or_default() += totals.count();
    }
    let present: Vec<Outcome> =
        Outcome::ALL.into_iter().filter(|outcome| counts.keys().any(|(_, other)| other == outcome)).collect();
    let mut head = vec!["Phase".to_owned()];
    head.extend(present.iter().map(|outcome| format!("#{}", outcome.as_str())));
    head.push("#stale".to_owned());
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let lines: Vec<Vec<String>> = view
        .seen
        .phases
        .keys()
        .map(|phase| {
            let mut line = vec![format!("<bdi>{}</bdi>", name(view.phase_name(*phase)))];
            line.extend(present.iter().map(|outcome| {
                counts.get(&(*phase, *outcome)).map_or_else(|| "–".to_owned(), |count| numbers::count(*count))
            }));
            line.push(numbers::count(view.seen.total(|key| key.phase == *phase).stale));
            line
        })
        .collect();
    let redis: String = redis_lookups(view.scenario, view.seen)
        .into_iter()
        .map(|(phase, text)| format!("<li><bdi>{}</bdi>: {}</li>\n", name(view.phase_name(phase)), sentence(&text)))
        .collect();
    let redis = if redis.is_empty() { redis } else { format!("\n<ul>\n{redis}</ul>") };
    if present.is_empty() { String::new() } else { table(&head, &lines) + &redis }
}

pub(super) fn faults(view: &View<'_>) -> String {
    let windows = view.seen.fault_windows();
    let lines: Vec<Vec<String>> = windows
        .iter()
        .map(|fault| {
            vec![
                name(&fault.what),
                format!("<bdi>{}</bdi>", name(view.phase_name(fault.phase))),
                numbers::moment(fault.from),
                or_dash(fault.seen, |at| format!("after {}", numbers::time(at - fault.from))),
                or_dash(fault.undone, numbers::moment),
                or_dash(fault.back, |at| match fault.undone {
                    Some(undone) => format!("after {}", numbers::time(at - undone)),
                    None => numbers::moment(at),
                }),
            ]
        })
        .collect();
    let summary = table(&["Fault", "Phase", "#Injected at", "#Seen to work", "#Undone at", "#Back"], &lines);
    let steps: String = view
        .seen
        .faults
        .iter()
        .take(60)
        .map(|(at, event)| {
            format!(
                "<li><span class=\"num\">{}</span> {}: {}</li>\n",
                numbers::moment(*at),
                name(&event.what),
                sentence(&event.detail)
            )
        })
        .collect();
    if lines.is_empty() { String::new() } else { format!("{summary}\n<ul>\n{steps}</ul>") }
}

pub(super) fn examples(view: &View<'_>) -> String {
    let lines: Vec<Vec<String>> = view
        .seen
        .examples
        .iter()
        .take(EXAMPLES)
        .map(|example| {
            vec![
                name(&example.kind),
                format!("<bdi>{}</bdi>", name(view.phase_name(example.phase))),
                format!("<code>{}</code>", escape(&one_line(&example.request, 160))),
                sentence(&example.detail),
            ]
        })
        .collect();
    let more = view.seen.examples.len().saturating_sub(EXAMPLES);
    let more =
        if more > 0 { format!("<p class=\"muted\">{more} more are in events.jsonl.</p>") } else { String::new() };
    table(&["Kind", "Phase", "Request", "What was wrong"], &lines) + &more
}

pub(super) fn servers(view: &View<'_>) -> String {
    let server = |what: &str, server: &ServerFacts| {
        let settings: Vec<String> = server
            .settings
            .iter()
            .map(|(name, value)| {
                format!("<code>{} {}</code>", escape(&one_line(name, 60)), escape(&one_line(value, 80)))
            })
            .collect();
        let image = server.image.as_ref().map_or_else(String::new, |image| format!(" <code>{}</code>", name(image)));
        vec![
            what.to_owned(),
            format!("{}{image}", name(&server.version)),
            format!("{}<br><span class=\"muted\">{}</span>", name(&server.provider), sentence(&server.why)),
            format!("<code>{}</code>", name(&server.url)),
            settings.join("<br>"),
        ]
    };
    let mut lines = Vec::new();
    if let Some(stack) = &view.seen.stack {
        lines.extend(stack.redis.as_ref().map(|facts| server("Redis", facts)));
        lines.extend(stack.postgres.as_ref().map(|facts| server("Postgres", facts)));
    }
    if let Some(target) = &view.seen.target {
        lines.push(vec![
            "App".to_owned(),
            sentence(&target.what),
            if target.pid.is_some() { "started by cacheproof" } else { "was running" }.to_owned(),
            format!("<code>{}</code>", name(&target.url)),
            String::new(),
        ]);
    }
    if let Some(start) = &view.seen.start {
        lines.push(vec![
            "Machine".to_owned(),
            format!("{}, {} cores", name(&start.host.cpu), start.host.cores),
            name(&start.host.kernel),
            String::new(),
            format!("{} memory", numbers::bytes(start.host.memory as f64)),
        ]);
    }
    table(&["", "Version", "Provider", "Address", "Settings"], &lines)
}
