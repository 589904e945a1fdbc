//! The tables of report.html.

use std::collections::BTreeMap;

use cacheproof_core::journal::CachePath;
use cacheproof_core::journal::{NodeFacts, Outcome, ServerFacts};
use cacheproof_core::numbers;

use super::ReportInput;
use super::faults::{fault_summaries, limits};
use super::html::{name, sentence};
use super::request_stats::{RequestStats, errors, or_dash, redis_lookups, request_stats};
use super::text::{escape, one_line};

/// How many examples of trouble are shown.
const MAX_EXAMPLES: usize = 30;
/// How many steps of faults are shown.
const MAX_FAULT_EVENTS: usize = 120;

/// A table of a head and lines; cells are HTML. A head that begins with `#` is of numbers.
pub(super) fn table(head: &[&str], lines: &[Vec<String>]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let class =
        |column: usize| if head[column].len() > 1 && head[column].starts_with('#') { " class=\"n\"" } else { "" };
    let heads: String = (0..head.len())
        .map(|index| {
            let words = if head[index].len() > 1 { head[index].trim_start_matches('#') } else { head[index] };
            format!("<th{}>{words}</th>", class(index))
        })
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

fn figure_cells(request_stats: &RequestStats) -> Vec<String> {
    vec![
        numbers::count(request_stats.requests),
        or_dash(request_stats.p50, numbers::time),
        or_dash(request_stats.p95, numbers::time),
        or_dash(request_stats.p99, numbers::time),
        or_dash(request_stats.max, numbers::time),
        or_dash(request_stats.service_p95, numbers::time),
        or_dash(request_stats.hit_rate, numbers::share),
        errors(request_stats),
    ]
}

pub(super) fn phases(view: &ReportInput<'_>) -> String {
    let lines: Vec<Vec<String>> = view
        .seen
        .phases
        .iter()
        .filter_map(|(index, span)| {
            let phase = view.scenario.phases.get(*index)?;
            let request_stats = request_stats(view.scenario, view.seen, &[*index], |_| true);
            let warm_up = if phase.warm_up { "<br><span class=\"muted\">not judged</span>" } else { "" };
            let mut line = vec![
                format!("<bdi>{}</bdi>{warm_up}", name(&phase.name)),
                phase.path.as_str().to_owned(),
                match span.to {
                    Some(to) => numbers::moment(to - span.from),
                    None => "broke off".to_owned(),
                },
            ];
            let mut cells = figure_cells(&request_stats);
            cells.remove(5); // service time has its place in the table of requests
            cells.insert(1, or_dash(request_stats.throughput, numbers::rate));
            line.extend(cells);
            line.push(or_dash(request_stats.db_queries_per_request, numbers::plain));
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

pub(super) fn requests(view: &ReportInput<'_>) -> String {
    let mut keys: Vec<(usize, usize, CachePath)> =
        view.seen.cells.keys().map(|key| (key.request, key.phase, key.path)).collect();
    keys.sort_unstable();
    keys.dedup();
    let lines: Vec<Vec<String>> = keys
        .into_iter()
        .map(|(request, phase, path)| {
            let request_stats =
                request_stats(view.scenario, view.seen, &[phase], |key| key.request == request && key.path == path);
            let mut line = vec![
                format!("<bdi>{}</bdi>", name(view.request_name(request))),
                format!("<bdi>{}</bdi>", name(view.phase_name(phase))),
                path.as_str().to_owned(),
            ];
            line.extend(figure_cells(&request_stats));
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

pub(super) fn outcomes(view: &ReportInput<'_>) -> String {
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

/// What was done, what was promised about it, and what happened.
pub(super) fn faults(view: &ReportInput<'_>) -> String {
    let fault_summaries = fault_summaries(view);
    let lines: Vec<Vec<String>> = fault_summaries
        .iter()
        .map(|fault| {
            let promised: Vec<String> = fault
                .promised
                .iter()
                .map(|(ruling, rule)| {
                    let word = ruling.as_str();
                    let rule = escape(&one_line(rule, 120));
                    format!(
                        "<p><span class=\"{word}\" title=\"{word}\">{}</span>&nbsp;<code>{rule}</code></p>",
                        ruling.sign()
                    )
                })
                .collect();
            vec![
                fault.number.to_string(),
                format!(
                    "<strong>{}</strong><br><span class=\"muted\">{}<br>Seen: {}</span>",
                    name(&fault.outcome.window.what),
                    sentence(&fault.done),
                    sentence(&fault.seen)
                ),
                format!(
                    "<bdi>{}</bdi><br>at {},<br>{}",
                    name(fault.phase),
                    sentence(&numbers::moment(fault.outcome.window.from)),
                    sentence(&lasted(&fault.lasted))
                ),
                if promised.is_empty() {
                    "nothing".to_owned()
                } else {
                    format!("<div class=\"promised\">{}</div>", promised.concat())
                },
                sentence(&fault.noticed),
                fault.availability.clone(),
                fault.bad.clone(),
                sentence(&fault.recovered),
                sentence(&fault.hit_rate),
            ]
        })
        .collect();
    if lines.is_empty() {
        return String::new();
    }
    let head = [
        "#",
        "What was broken",
        "Where, when",
        "Promised",
        "Noticed by users",
        "#Available",
        "#Bad answers",
        "Service back",
        "Hit rate back",
    ];
    let hints: String = fault_summaries
        .iter()
        .flat_map(|fault| fault.outcome.hints.iter().map(move |hint| (fault, hint)))
        .map(|(fault, hint)| {
            format!("<li>{} {}: {}</li>\n", fault.number, name(&fault.outcome.window.what), sentence(hint))
        })
        .collect();
    let hints = if hints.is_empty() { hints } else { format!("<h3>What it looks like</h3>\n<ul>\n{hints}</ul>\n") };
    let limits: String =
        limits(view).iter().map(|text| format!("<p class=\"muted\">{}</p>\n", sentence(text))).collect();
    let steps: String = view
        .seen
        .faults
        .iter()
        .take(MAX_FAULT_EVENTS)
        .map(|(at, event)| {
            format!(
                "<li><span class=\"num\">{}</span> {}: {}</li>\n",
                numbers::moment(*at),
                name(&event.what),
                sentence(&event.detail)
            )
        })
        .collect();
    let summary = table(&head, &lines).replacen("<th>#</th>", "<th title=\"as in the charts\">#</th>", 1);
    format!(
        "{summary}\n{limits}{hints}<details class=\"inner\">\n<summary>Step by step</summary>\n<ul>\n{steps}</ul>\n</details>"
    )
}

/// `for 5 s`, `over at once`, `never undone`.
fn lasted(lasted: &str) -> String {
    if lasted.starts_with(|letter: char| letter.is_ascii_digit()) { format!("for {lasted}") } else { lasted.to_owned() }
}

pub(super) fn examples(view: &ReportInput<'_>) -> String {
    let lines: Vec<Vec<String>> = view
        .seen
        .examples
        .iter()
        .take(MAX_EXAMPLES)
        .map(|example| {
            vec![
                name(&example.kind),
                format!("<bdi>{}</bdi>", name(view.phase_name(example.phase))),
                format!("<code>{}</code>", escape(&one_line(&example.request, 160))),
                sentence(&example.detail),
            ]
        })
        .collect();
    let more = view.seen.examples.len().saturating_sub(MAX_EXAMPLES);
    let more =
        if more > 0 { format!("<p class=\"muted\">{more} more are in events.jsonl.</p>") } else { String::new() };
    table(&["Kind", "Phase", "Request", "What was wrong"], &lines) + &more
}

/// Every server of a deployment and where the app finds it.
fn nodes(server: &ServerFacts) -> String {
    let node = |node: &NodeFacts| {
        let proxy =
            node.proxy.as_ref().map_or_else(String::new, |proxy| format!(", proxy <code>{}</code>", name(proxy)));
        let what = format!("{} ({})", name(&node.name), name(&node.role));
        format!("<br><span class=\"muted\">{what}: <code>{}</code>{proxy}</span>", name(&node.address))
    };
    server.nodes.iter().map(node).collect()
}

pub(super) fn servers(view: &ReportInput<'_>) -> String {
    let server = |what: &str, server: &ServerFacts| {
        let settings: Vec<String> = server
            .settings
            .iter()
            .map(|(name, value)| {
                format!("<code>{} {}</code>", escape(&one_line(name, 60)), escape(&one_line(value, 80)))
            })
            .collect();
        let image = server.image.as_ref().map_or_else(String::new, |image| format!(" <code>{}</code>", name(image)));
        let topology = match server.topology.as_str() {
            "" | "standalone" => String::new(),
            several => format!("<br>{}", name(several)),
        };
        vec![
            what.to_owned(),
            format!("{}{image}{topology}", name(&server.version)),
            format!("{}<br><span class=\"muted\">{}</span>", name(&server.provider), sentence(&server.why)),
            format!("<code>{}</code>{}", name(&server.url), nodes(server)),
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
