//! The result of a test, out of all JUnit files.

use std::collections::BTreeSet;

use cacheproof_core::journal::{TestResult, TestState};
use jiff::Timestamp;

use super::junit::{Case, JunitFile, Outcome};
use super::owner::Wanted;
use super::source::{Cases, Language, read};

/// Searched for a test of the same title in another file.
const MAX_TWIN_BYTES: u64 = 1 << 20;

/// What the files say about a test. A failure in a file that is not outdated counts more than a pass in another.
pub(crate) fn result(wanted: &Wanted<'_>, files: &[JunitFile]) -> TestResult {
    let mut results: Vec<TestResult> = files.iter().filter_map(|file| in_file(wanted, file)).collect();
    let order = [TestState::Failed, TestState::Passed, TestState::Ambiguous, TestState::Skipped, TestState::Outdated];
    let best = order.iter().find_map(|state| results.iter().position(|result| result.state == *state));
    if let Some(best) = best {
        return results.swap_remove(best);
    }
    let names = |files: &mut dyn Iterator<Item = &JunitFile>| {
        files.map(|file| file.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let has_tests: Vec<&JunitFile> = files.iter().filter(|file| !file.cases.is_empty()).collect();
    match (files, has_tests.as_slice()) {
        ([], _) => TestResult::default(),
        (_, []) => {
            TestResult { state: TestState::Empty, file: Some(names(&mut files.iter())), ..TestResult::default() }
        }
        (_, some) => {
            let file = Some(names(&mut some.iter().copied()));
            TestResult { state: TestState::Missing, file, detail: elsewhere(wanted, some), ..TestResult::default() }
        }
    }
}

/// What a file says; `None` where it has no such test.
fn in_file(wanted: &Wanted<'_>, file: &JunitFile) -> Option<TestResult> {
    let cases: Vec<&Case> = file.cases.iter().filter(|case| wanted.is_result(case)).collect();
    let first = *cases.first()?;
    let result =
        TestResult { test: Some(label(first, cases.len())), file: Some(file.name.clone()), ..TestResult::default() };
    if let Some(others) = several(wanted, &cases) {
        return Some(TestResult { state: TestState::Ambiguous, test: None, detail: Some(others), ..result });
    }
    let latest = |case: &&Case| case.started.map_or(file.written, |started| started.at_the_latest.min(file.written));
    let time = cases.iter().map(latest).min().unwrap_or(file.written);
    let exact = cases.iter().filter_map(|case| case.started.and_then(|started| started.exact)).min();
    // A time that is still to come is no time of a test.
    let result =
        TestResult { at: Some(seconds(exact.filter(|exact| *exact <= file.written).unwrap_or(time))), ..result };
    match wanted.tree.last_change(wanted.file) {
        Some((changed, at)) if at > time => {
            let detail = Some(format!("{changed}, changed {}", seconds(at)));
            return Some(TestResult { state: TestState::Outdated, detail, ..result });
        }
        None => {
            let detail = Some("a file whose last change is not known".to_owned());
            return Some(TestResult { state: TestState::Outdated, detail, ..result });
        }
        Some(_) => {}
    }
    let (state, detail) = outcome(&cases);
    Some(TestResult { state, detail, ..result })
}

/// What became of a test with these cases: all of them must have passed.
fn outcome(cases: &[&Case]) -> (TestState, Option<String>) {
    let all = cases.len();
    let of_all = |count: usize| if all > 1 { format!("{count} of {all} cases") } else { String::new() };
    let with = |count: usize, message: &str| {
        let parts = [of_all(count), message.to_owned()];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        (!parts.is_empty()).then(|| parts.join(": "))
    };
    let failed: Vec<&str> = cases
        .iter()
        .filter_map(|case| match &case.outcome {
            Outcome::Failed(why) => Some(why.as_str()),
            _ => None,
        })
        .collect();
    let skipped: Vec<&str> = cases
        .iter()
        .filter_map(|case| match &case.outcome {
            Outcome::Skipped(why) => Some(why.as_str()),
            _ => None,
        })
        .collect();
    if let Some(why) = failed.first() {
        return (TestState::Failed, with(failed.len(), why));
    }
    if let Some(why) = skipped.first() {
        return (TestState::Skipped, with(skipped.len(), why));
    }
    let retried = cases.iter().filter(|case| case.outcome == Outcome::PassedOnRetry).count();
    let detail = (retried > 0).then(|| with(retried, "it failed at first and passed when it was run again")).flatten();
    (TestState::Passed, detail)
}

/// The tests that could be meant, where they are not one.
fn several(wanted: &Wanted<'_>, cases: &[&Case]) -> Option<String> {
    let owners: BTreeSet<String> = cases.iter().map(|case| owner(wanted, case)).collect();
    if owners.len() > 1 {
        return Some(owners.into_iter().take(5).collect::<Vec<_>>().join(", "));
    }
    if wanted.language != Some(Language::JavaScript) || wanted.is_file_told(cases[0]) {
        return None;
    }
    // The file says only titles: another test of the same title may have this result.
    let found = wanted.found?;
    if cases.len() > 1 && found.cases != Cases::Unknown {
        return Some(format!("{} tests of this title, and no file is told", cases.len()));
    }
    twin(wanted).map(|twin| format!("{twin} has a test of this title too, and no file is told"))
}

/// What distinguishes a test from another of its name.
fn owner(wanted: &Wanted<'_>, case: &Case) -> String {
    match (wanted.language, &case.file) {
        (Some(Language::JavaScript), Some(file)) => file.clone(),
        (Some(Language::JavaScript), None) => String::new(),
        (_, Some(file)) if case.class.is_empty() => file.clone(),
        _ => case.class.clone(),
    }
}

/// Another file with a test of the same titles.
fn twin(wanted: &Wanted<'_>) -> Option<String> {
    let path = &wanted.found?.path;
    let title = path.last()?;
    let is_twin = |file: &&String| {
        let place = wanted.tree.root.join(file.as_str());
        let is_small = std::fs::metadata(&place).is_ok_and(|data| data.len() <= MAX_TWIN_BYTES);
        let text = if is_small { std::fs::read_to_string(place).unwrap_or_default() } else { String::new() };
        text.contains(title.as_str())
            && read(Language::JavaScript, file, &text).tests.iter().any(|found| &found.path == path)
    };
    let others = wanted.tree.files.iter().filter(|file| *file != wanted.file);
    others.filter(|file| Language::of(file) == Some(Language::JavaScript)).find(is_twin).cloned()
}

/// A test of this name that is of another file, for the message.
fn elsewhere(wanted: &Wanted<'_>, files: &[&JunitFile]) -> Option<String> {
    let of_source = wanted.found.and_then(|found| found.path.last()).map(String::as_str);
    let last = of_source.unwrap_or_else(|| wanted.name.rsplit("::").next().unwrap_or(wanted.name));
    let is_like = |case: &&Case| case.name == last || case.name.ends_with(&format!("::{last}"));
    let like = files.iter().flat_map(|file| &file.cases).find(is_like)?;
    Some(format!("`{}` is another test", label(like, 1)))
}

/// A test as its runner names it.
fn label(case: &Case, count: usize) -> String {
    let name = match case.class.as_str() {
        "" => case.name.clone(),
        class if case.name.contains(class) || class.contains(&case.name) => case.name.clone(),
        class => format!("{class} {}", case.name),
    };
    let name = super::junit::shortened(&name);
    if count > 1 { format!("{name} and {} more", count - 1) } else { name }
}

fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
