//! `[safety]`: what limits faults.

use super::parse::read_rule;
use super::problem::Problem;
use super::reader::Section;
use super::resolve::RuleContext;
use super::{AbortCondition, DEFAULT_MAX_FAULT_DURATION, Limit, Phase, Rule, SafetySpec, Victim, schema};
use crate::metrics::{MetricDefinition, definitions};

/// Everything but the steady state, whose rules need the phases.
pub(super) fn safety(root: &Section<'_>) -> SafetySpec {
    let Some(section) = root.section("safety", "[safety]", schema::SAFETY) else { return SafetySpec::default() };
    let mut abort = Vec::new();
    for text in section.strings("abort").unwrap_or_default() {
        match AbortCondition::parse(text.value) {
            Ok(one) => abort.push(one),
            Err((message, help)) => section.problems.add(Problem::new(message).at(text.span).help(help)),
        }
    }
    let mut allow = Vec::new();
    for name in section.strings("allow").unwrap_or_default() {
        match name.value {
            "redis" => allow.push(Victim::Redis),
            "postgres" => allow.push(Victim::Postgres),
            other => {
                let message = format!("\"{other}\" is not an external server");
                let help = "write \"redis\" or \"postgres\": what cacheproof started itself need not be listed";
                section.problems.add(Problem::new(message).at(name.span).help(help));
            }
        }
    }
    let max_fault =
        section.time("max_fault", false, "max_fault = \"60s\"").map_or(DEFAULT_MAX_FAULT_DURATION, |time| time.value);
    SafetySpec { max_fault, abort, steady: None, allow }
}

/// The rules of the steady state.
pub(super) fn steady(root: &Section<'_>, text: &str, context: &RuleContext<'_>, phases: &[Phase]) -> Option<Vec<Rule>> {
    // Its keys were checked the first time.
    let section = root.get("safety")?.inner.get_ref().as_table()?;
    let section = Section::with_user_keys(root, section, root.get("safety")?.span(), "[safety]");
    let texts = section.strings("steady")?;
    let refuse = |span, message: String, help: &str| {
        section.problems.add(Problem::new(message).at(span).help(help));
    };
    if phases.first().is_some_and(|phase| !phase.faults.is_empty()) {
        let span = section.key_span("steady").unwrap_or_default();
        let message = "nothing is measured before the first fault, which is in the first phase";
        refuse(span, message.to_owned(), "add a [[phase]] without a fault in front, or leave \"steady\" out");
    }
    let mut rules = Vec::new();
    for rule in texts {
        let Some(read) = read_rule(&section, text, &rule, context) else { continue };
        if !read.term.metric.definition().can_be_steady || !matches!(read.limit, Limit::Value(_)) {
            let names = definitions().filter(|one| one.can_be_steady).map(MetricDefinition::listed_name);
            let help = format!(
                "these can be compared with a value: {}; \"on\" and \"for\" may narrow them",
                names.collect::<Vec<_>>().join(", ")
            );
            refuse(rule.span, "this cannot be measured before the first fault".to_owned(), &help);
        } else if read.term.phase.is_some() {
            refuse(rule.span, "the steady state is that before the first fault".to_owned(), "leave \"in …\" out");
        } else {
            rules.push(read);
        }
    }
    Some(rules)
}
