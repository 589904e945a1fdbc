//! The verdict in one sentence.

use super::{CriterionResult, Finding, Ruling};

/// The sentence on the first screen.
pub(super) fn summary(criteria: &[CriterionResult], validity: &[Finding]) -> String {
    let count = |ruling| criteria.iter().filter(|criterion| criterion.ruling == ruling).count();
    let (failed, open, claimed) = (count(Ruling::Fail), count(Ruling::Inconclusive), count(Ruling::Claimed));
    let all = criteria.len();
    let text = match (failed, open) {
        _ if all == 0 => "The scenario has no criteria: measured, not judged".to_owned(),
        (0, 0) => proved(criteria, claimed),
        (failed, open) => {
            let failed = (failed > 0).then(|| format!("{failed} of {all} criteria failed"));
            let of = if failed.is_some() { String::new() } else { format!(" of {all} criteria") };
            let open = (open > 0).then(|| format!("{open}{of} could not be decided"));
            let claimed = (claimed > 0).then(|| format!("{claimed} claimed by tests that were not run here"));
            [failed, open, claimed].into_iter().flatten().collect::<Vec<_>>().join(", ")
        }
    };
    match validity.iter().filter(|finding| finding.blocking).count() {
        0 => text + ".",
        1 => text + "; one finding makes the run doubtful.",
        blocking => text + &format!("; {blocking} findings make the run doubtful."),
    }
}

/// Where nothing failed and nothing is open: what proved the criteria.
fn proved(criteria: &[CriterionResult], claimed: usize) -> String {
    let all = criteria.len();
    let by_test = |criterion: &&CriterionResult| criterion.ruling == Ruling::Pass && criterion.rules.is_empty();
    let by_tests = criteria.iter().filter(by_test).count();
    match (by_tests, claimed) {
        (0, 0) if all == 1 => "The only criterion was proved".to_owned(),
        (0, 0) => format!("All {all} criteria were proved"),
        (_, claimed) if claimed == all => {
            let (criteria, tests) = if all == 1 {
                ("The only criterion is", "a test that was")
            } else {
                ("All criteria are", "tests that were")
            };
            format!(
                "Nothing was proved. {criteria} claimed by {tests} not run here: give the results with --proofs FILE"
            )
        }
        (by_tests, claimed) => {
            let tests = |count: usize, one: &str, several: &str| {
                (count > 0).then(|| format!("{count} by {}", if count == 1 { one } else { several }))
            };
            let run = all - by_tests - claimed;
            let run = (run > 0).then(|| format!("{run} proved by this run"));
            let proved = if run.is_some() { "" } else { "proved " };
            let by_tests = tests(by_tests, "the result of a test", "the results of tests")
                .map(|text| text.replacen(" by", &format!(" {proved}by"), 1));
            let claimed = tests(claimed, "a test that was not run here", "tests that were not run here")
                .map(|text| text.replacen(" by", " claimed by", 1));
            let noun = if all == 1 { "criterion" } else { "criteria" };
            let parts: Vec<String> = [run, by_tests, claimed].into_iter().flatten().collect();
            format!("{all} {noun}: {}", parts.join(", "))
        }
    }
}
