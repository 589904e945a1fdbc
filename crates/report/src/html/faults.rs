//! The faults in report.html: what was done, what was promised about it, and what happened.

use cacheproof_verdict::Ruling;
use maud::{Markup, html};

use super::super::view::{FaultRow, FaultsView};
use super::tables::scrolling_table;
use super::{code, isolated, name, ruling_sign, sentence};

/// How many faults are shown. A run of hours can have thousands; summary.json has them all.
const MAX_FAULTS: usize = 500;

/// How many steps of faults are shown.
const MAX_STEPS: usize = 120;

pub(super) fn faults(faults: &FaultsView<'_>) -> Option<Markup> {
    let head = html! {
        th title="as in the charts" { "#" }
        th { "What was broken" }
        th { "Where, when" }
        th { "Promised" }
        th { "Noticed by users" }
        th.n { "Available" }
        th.n { "Bad answers" }
        th { "Service back" }
        th { "Hit rate back" }
    };
    let rows = html! { @for fault in faults.rows.iter().take(MAX_FAULTS) { (row(fault)) "\n" } };
    let page = html! {
        (scrolling_table(&head, &rows))
        "\n"
        @if faults.rows.len() > MAX_FAULTS {
            p.muted { (faults.rows.len() - MAX_FAULTS) " more faults are in summary.json." } "\n"
        }
        @for text in &faults.limits { p.muted { (sentence(text)) } "\n" }
        @if faults.hints(MAX_FAULTS).next().is_some() {
            h3 { "Possible cause" }
            "\n"
            ul {
                "\n"
                @for (fault, hint) in faults.hints(MAX_FAULTS) {
                    li { (fault.number) " " (name(fault.what)) ": " (sentence(hint)) }
                    "\n"
                }
            }
            "\n"
        }
        details.inner {
            "\n" summary { "Step by step" } "\n"
            ul {
                "\n"
                @for (at, event) in faults.steps.iter().take(MAX_STEPS) {
                    li { span.num { (at) } " " (name(&event.what)) ": " (sentence(&event.detail)) }
                    "\n"
                }
            }
            "\n"
        }
    };
    (!faults.rows.is_empty()).then_some(page)
}

fn row(fault: &FaultRow<'_>) -> Markup {
    html! {
        tr {
            th { (fault.number) }
            td {
                strong { (name(fault.what)) }
                br;
                span.muted { (sentence(&fault.done)) br; "Effect: " (sentence(&fault.seen)) }
            }
            td {
                (isolated(fault.phase)) br;
                "at " (sentence(&fault.at)) "," br;
                (sentence(&fault.lasted_phrase()))
            }
            td { (promised(&fault.promised)) }
            td { (sentence(&fault.noticed)) }
            td.n { (fault.availability) }
            td.n { (fault.bad) }
            td { (sentence(&fault.recovered)) }
            td { (sentence(&fault.hit_rate)) }
        }
    }
}

fn promised(rules: &[(Ruling, &str)]) -> Markup {
    html! {
        @if rules.is_empty() {
            "nothing"
        } @else {
            div.promised {
                @for (ruling, rule) in rules { p { (ruling_sign(*ruling)) "\u{a0}" (code(rule, 120)) } }
            }
        }
    }
}
