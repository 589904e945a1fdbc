//! Several runs on one page: what each proved, and every fault of all of them in one table a run.

use cacheproof_verdict::Ruling;
use maud::{Markup, html};

use super::super::JudgedRun;
use super::super::view::View;
use super::faults::faults;
use super::tables::scrolling_table;
use super::{banner, document, isolated, lines, name, ruling, section, sentence};

/// One HTML page over several runs, each with the address of its own report as seen from the page. Needs no network and no JavaScript.
pub fn combined_page(runs: &[(String, JudgedRun)]) -> String {
    let views: Vec<(&str, View<'_>)> =
        runs.iter().map(|(link, judged)| (link.as_str(), View::of(judged.input()))).collect();
    let worst = views.iter().map(|(_, view)| view.ruling).max();
    let body = html! {
        header { "\n" (banner(worst, &html! { h1 { (runs.len()) " runs together" } })) }
        "\n"
        (section("Runs", Some(overview(&views))))
        @for (_, view) in &views { (section(&name(view.title), Some(run(view)))) }
    };
    document(&format!("{}: {} runs", worst.map_or("no run", Ruling::as_str), runs.len()), &body)
}

/// Whether a page was written by [`combined_page`], also by another version: as far as its title all pages of cacheproof are alike.
pub fn is_combined_page(page: &[u8]) -> bool {
    let empty = document("", &html! {});
    let head = empty.split("<title>").next().unwrap_or(&empty);
    let text = String::from_utf8_lossy(page);
    let Some((before, rest)) = text.split_once("<title>") else { return false };
    let title = rest.split("</title>").next().unwrap_or_default();
    before == head && title.ends_with(" runs") && text.contains(" runs together</h1>")
}

fn overview(views: &[(&str, View<'_>)]) -> Markup {
    let head = html! {
        th { "Run" }
        th { "Verdict" }
        @for heading in ["Faults", "Requests", "Answered", "Judged reads", "Stale", "Wrong"] { th.n { (heading) } }
    };
    let body = html! { @for (link, view) in views { (row(link, view)) "\n" } };
    html! {
        (scrolling_table(&head, &body))
        "\n"
        p.muted { "Without the warm-up. The columns judged, stale and wrong include probe reads." }
    }
}

fn row(link: &str, view: &View<'_>) -> Markup {
    let totals = &view.totals;
    let counts = [&totals.requests, &totals.answered, &totals.judged_reads, &totals.stale, &totals.wrong];
    html! {
        tr {
            th { a href=(lines(link)) { (isolated(view.title)) } }
            td class=(view.ruling.as_str()) { (ruling(view.ruling)) }
            td.n { (view.faults.rows.len()) }
            @for count in counts { td.n { (count) } }
        }
    }
}

fn run(view: &View<'_>) -> Markup {
    let failed: Vec<_> = view.criteria.iter().filter(|criterion| criterion.ruling != Ruling::Pass).collect();
    html! {
        p { (sentence(view.summary)) }
        "\n"
        @if !failed.is_empty() {
            ul {
                "\n"
                @for criterion in failed { li { (ruling(criterion.ruling)) ": " (sentence(criterion.says)) } "\n" }
            }
            "\n"
        }
        @if let Some(faults) = faults(&view.faults) { (faults) }
    }
}
