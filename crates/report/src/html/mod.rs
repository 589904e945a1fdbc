//! report.html: one file that needs no network and no JavaScript, with its figures inline. Everything spliced into a template is
//! escaped, but for the style sheet and the figures, which are ours.

mod combined;
mod faults;
mod stale;
mod tables;

use cacheproof_core::journal::RunStarted;
use cacheproof_verdict::{RuleResult, Ruling};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::charts::{Svg, style};
use super::text::{Span, lines, one_line, spans, with_nonbreaking_spaces};
use super::view::{Criterion, View};

pub use combined::{combined_page, is_combined_page};

/// Nothing may be loaded, run or sent; the page's own style is all there is.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
const CSS: &str = include_str!("../../assets/report.css");
/// Names and sentences from outside are shortened to these lengths.
const MAX_NAME_CHARS: usize = 120;
const MAX_SENTENCE_CHARS: usize = 600;

/// The whole page.
pub(super) fn page(view: &View<'_>, charts: &[Svg]) -> String {
    let body = html! {
        (head(view))
        div.first {
            "\n"
            (section("Acceptance criteria", criteria(&view.criteria)))
            div {
                "\n"
                (section("Cached and uncached", comparison(view)))
                (section("Validity of this run", validity(view)))
            }
        }
        "\n"
        (section("Over time", figures(charts)))
        (section("Faults", faults::faults(&view.faults)))
        (section("Phases", tables::phases(view)))
        (section("Outcomes", tables::outcomes(view)))
        (section("Stale reads", stale::stale(view)))
        (section("Examples of problems", tables::examples(view)))
        (section("Servers and machine", tables::environment(&view.environment)))
        (details("Each kind of request", tables::requests(view)))
        (details("Statements of the database", tables::statements(view)))
        (details("How to reproduce", reproduce(view)))
        footer {
            "cacheproof " (name(view.start.map_or("", |start| &start.cacheproof)))
            ". Response time is measured from the time when a request should have been sent until the last byte of its body. Percentiles \
             include errors. The warm-up is not judged."
        }
        "\n"
    };
    document(&format!("{}: {}", view.ruling.as_str(), name(view.title)), &body)
}

/// A page with a body.
fn document(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE) "\n"
        html lang="en" {
            "\n" head {
                "\n" meta charset="utf-8";
                "\n" meta http-equiv="Content-Security-Policy" content=(POLICY);
                "\n" meta name="viewport" content="width=device-width, initial-scale=1";
                "\n" title { (title) }
                "\n" style { "\n" (PreEscaped(CSS)) (PreEscaped(style())) }
                "\n"
            }
            "\n" body { "\n" main { "\n" (body) } "\n" }
            "\n"
        }
        "\n"
    };
    page.into_string()
}

/// A name from outside: one line, shortened.
fn name(text: &str) -> String {
    one_line(text, MAX_NAME_CHARS)
}

/// A sentence from outside, in which no line ends between a number and its unit or its thousands.
fn sentence(text: &str) -> String {
    with_nonbreaking_spaces(&one_line(text, MAX_SENTENCE_CHARS))
}

/// A name from outside whose direction of reading does not change that of what follows.
fn isolated(text: &str) -> Markup {
    html! { bdi { (name(text)) } }
}

fn code(text: &str, most: usize) -> Markup {
    html! { code { (one_line(text, most)) } }
}

/// A sentence with code between backticks.
fn prose(text: &str) -> Markup {
    let line = one_line(text, MAX_SENTENCE_CHARS);
    html! {
        @for span in spans(&line) {
            @match span {
                Span::Text(text) => (sentence(text)),
                Span::Code(text) => (code(text, 200)),
                Span::Space => " ",
            }
        }
    }
}

/// A section; nothing where it has no content.
fn section(title: &str, content: Option<Markup>) -> Markup {
    html! {
        @if let Some(content) = content {
            section { "\n" h2 { (title) } "\n" (content) "\n" } "\n"
        }
    }
}

fn details(title: &str, content: Option<Markup>) -> Markup {
    html! {
        @if let Some(content) = content {
            details { "\n" summary { (title) } "\n" (content) "\n" } "\n"
        }
    }
}

/// Sign and word of a ruling.
fn ruling(ruling: Ruling) -> String {
    format!("{}\u{a0}{}", ruling.sign(), ruling.as_str())
}

/// The sign of a rule's ruling, with the word where the mouse rests on it.
fn ruling_sign(ruling: Ruling) -> Markup {
    html! { span class=(ruling.as_str()) title=(ruling.as_str()) { (ruling.sign()) } }
}

/// The coloured bar at the top of a page: the verdict, and what it is about.
fn banner(ruling: Option<Ruling>, content: &Markup) -> Markup {
    let word = ruling.map_or("no run", Ruling::as_str);
    html! {
        div class={ "head " (word) } {
            div class={ "verdict " (word) } { (ruling.map_or("", Ruling::sign)) " " (word.to_uppercase()) }
            "\n" div { (content) }
        }
        "\n"
    }
}

fn head(view: &View<'_>) -> Markup {
    let content = html! { h1 { (isolated(view.title)) } p { (sentence(view.summary)) } };
    html! {
        header {
            "\n" (banner(Some(view.ruling), &content))
            p.facts {
                @if let Some(start) = view.start {
                    time datetime=(name(&start.started_at)) { (name(&start.started_at)) }
                    " · " (view.duration) " long · "
                    (name(&start.host.cpu)) ", " (start.host.cores) " cores, " (name(&start.host.kernel))
                    @if !start.git.is_empty() { " · commit " (code(&start.git, MAX_NAME_CHARS)) }
                    " · run " (code(&start.run_id, MAX_NAME_CHARS))
                }
            }
            "\n"
        }
        "\n"
    }
}

fn criteria(criteria: &[Criterion<'_>]) -> Option<Markup> {
    let rule = |rule: &RuleResult, has_sign| {
        html! {
            p {
                @if has_sign { (ruling_sign(rule.ruling)) " " }
                (sentence(&rule.evidence)) br; (code(&rule.text, 200))
            }
        }
    };
    let list = html! {
        ol.criteria {
            "\n"
            @for criterion in criteria {
                li {
                    span class={ "ruling " (criterion.ruling.as_str()) } { (ruling(criterion.ruling)) }
                    div {
                        div.says { bdi { (prose(criterion.says)) } }
                        div.evidence {
                            @for result in criterion.rules { (rule(result, criterion.has_several_rules())) }
                            @for evidence in &criterion.other_evidence { p { (prose(evidence)) } }
                        }
                    }
                }
                "\n"
            }
        }
    };
    (!criteria.is_empty()).then_some(list)
}

fn comparison(view: &View<'_>) -> Option<Markup> {
    let rows = view.comparison.lines();
    let heading = |(path, phases): (&str, &[String])| {
        let names: Vec<String> = phases.iter().map(|phase| one_line(phase, 40)).collect();
        html! {
            th.n {
                (path)
                @if !names.is_empty() { br; bdi.phases { (names.join(", ")) } }
            }
        }
    };
    let head = html! { th {} @for column in view.comparison.columns() { (heading(column)) } th {} };
    let body = html! {
        @for row in &rows {
            tr {
                th { (row.name) }
                td.n { (row.uncached) }
                td.n { (row.cached) }
                td.word { (sentence(&row.change)) }
            }
            "\n"
        }
    };
    (!rows.is_empty()).then(|| tables::scrolling_table(&head, &body))
}

fn validity(view: &View<'_>) -> Option<Markup> {
    let mut findings: Vec<_> = view.findings.iter().collect();
    findings.sort_by_key(|finding| !finding.blocking);
    let list = html! {
        div.box.grave[view.is_doubtful()] {
            p {
                @if view.is_doubtful() {
                    strong.inconclusive { "This run does not prove everything it should." }
                } @else {
                    "Nothing was found that puts this run in doubt."
                }
            }
            ul {
                "\n"
                @for finding in &findings {
                    li {
                        @if finding.blocking { strong.inconclusive { "? doubtful:" } " " }
                        (sentence(&finding.text))
                    }
                    "\n"
                }
            }
        }
    };
    (!findings.is_empty()).then_some(list)
}

fn figures(charts: &[Svg]) -> Option<Markup> {
    Some(html! {
        @if charts.is_empty() {
            p.muted { "The run ended before its first phase: there is nothing to draw." }
        } @else {
            div.charts {
                "\n"
                @for svg in charts { div.scroll { (PreEscaped(svg.inline.trim_end())) } "\n" }
            }
        }
    })
}

fn reproduce(view: &View<'_>) -> Option<Markup> {
    let RunStarted { command, cacheproof, git, scenario_name, scenario, .. } = view.start?;
    Some(html! {
        pre { (lines(command)) }
        "\n"
        p {
            "Seed " (view.seed) ", cacheproof " (name(cacheproof))
            @if !git.is_empty() { ", commit " (code(git, MAX_NAME_CHARS)) }
            ". The same seed gives the same keys, order and arrival times. The scenario as it was run, "
            (code(scenario_name, MAX_NAME_CHARS)) ":"
        }
        "\n"
        pre { (lines(scenario.trim_end())) }
    })
}
