//! junit.xml: one suite for each run, one case for each rule and for each test that a criterion names. Names are the same in every run, so that a CI system can
//! follow a rule over time; the numbers are in messages and output.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

use cacheproof_verdict::{CriterionResult, Ruling};

use super::ReportError;
use super::text::one_line;
use super::view::{ReportInput, View};

pub(super) fn report(input: ReportInput<'_>, view: &View<'_>) -> Result<Vec<u8>, ReportError> {
    let title = one_line(view.title, 200);
    let mut suite = TestSuite::new(format!("cacheproof: {title}"));
    suite.set_time(Duration::from_millis((input.measurements.last_at * 1e3).round() as u64));
    suite.add_properties(properties(view).map(|(name, value)| Property::new(name, one_line(&value, 500))));
    for criterion in &input.verdict.criteria {
        suite.add_test_cases(cases(criterion));
    }
    suite.add_test_case(validity(view));
    let mut report = Report::new("cacheproof");
    report.add_test_suite(suite);
    let mut text = report.to_string().map_err(|error| ReportError::Draw(format!("junit.xml: {error}")))?.into_bytes();
    if text.last() != Some(&b'\n') {
        text.push(b'\n');
    }
    Ok(text)
}

fn properties(view: &View<'_>) -> impl Iterator<Item = (&'static str, String)> {
    let mut all = vec![
        ("verdict", view.ruling.as_str().to_owned()),
        ("summary", view.summary.to_owned()),
        ("seed", view.seed.to_string()),
    ];
    if let Some(start) = view.start {
        all.extend([
            ("run", start.run_id.clone()),
            ("scenario", start.scenario_name.clone()),
            ("started_at", start.started_at.clone()),
            ("cacheproof", start.cacheproof.clone()),
            ("git", start.git.clone()),
            ("command", start.command.clone()),
            ("host", format!("{}, {} cores, {}", start.host.cpu, start.host.cores, start.host.kernel)),
        ]);
    }
    for (name, server) in &view.environment.servers {
        let name = if *name == "Redis" { "redis" } else { "postgres" };
        all.push((name, format!("{} ({})", server.version, server.provider)));
    }
    all.into_iter().filter(|(_, value)| !value.is_empty())
}

fn cases(criterion: &CriterionResult) -> Vec<TestCase> {
    let class = one_line(&criterion.says, 300);
    let rules = criterion.rules.iter().map(|rule| case(&class, &rule.text, rule.ruling, &rule.evidence, "rule broken"));
    let mut cases: Vec<TestCase> = rules.collect();
    for test in &criterion.tests {
        let name = format!("proved by {}", test.name);
        cases.push(case(&class, &name, test.ruling(), &test.evidence(), "test failed"));
    }
    if cases.is_empty() {
        let mut status = TestCaseStatus::skipped();
        status.set_message("no rule and no test");
        cases.push(test_case(&class, "no rule", status));
    }
    cases
}

fn case(class: &str, name: &str, ruling: Ruling, evidence: &str, broken: &str) -> TestCase {
    let evidence = one_line(evidence, 1_000);
    let mut status = match ruling {
        Ruling::Pass => TestCaseStatus::success(),
        Ruling::Claimed => TestCaseStatus::skipped(),
        // Not skipped: a CI system that reads only this file must not take it for a pass.
        Ruling::Inconclusive => TestCaseStatus::non_success(NonSuccessKind::Error),
        Ruling::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
    };
    if ruling != Ruling::Pass {
        status.set_message(evidence.clone());
    }
    match ruling {
        Ruling::Pass | Ruling::Claimed => {}
        Ruling::Inconclusive => {
            status.set_type("not decided");
        }
        Ruling::Fail => {
            status.set_type(broken);
        }
    }
    let mut case = test_case(class, name, status);
    if ruling == Ruling::Pass {
        case.set_system_out(evidence);
    }
    case
}

fn test_case(class: &str, name: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(one_line(name, 300), status);
    case.set_classname(class.to_owned());
    case
}

/// Whether the run can be trusted at all: an error of the environment, not a failure of the app.
fn validity(view: &View<'_>) -> TestCase {
    let blocking: Vec<&str> =
        view.findings.iter().filter(|finding| finding.blocking).map(|finding| finding.text.as_str()).collect();
    let mut status = TestCaseStatus::success();
    if !blocking.is_empty() {
        status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_type("run not valid");
        status.set_message(one_line(&blocking.join(" "), 2_000));
    }
    let mut case = TestCase::new("the run is valid", status);
    case.set_classname("validity");
    case
}
