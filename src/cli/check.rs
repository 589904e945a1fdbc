//! `cacheproof check SCENARIO`: validates a scenario. Nothing is started.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{CommandResult, Exit, Failure, terminal};
use crate::journal::{TestResult, TestState};
use crate::proofs::read_proofs;
use crate::scenario::{LoadModel, LoadedScenario, Phase, Quantity, Scenario, TargetKind, load};
use crate::verdict::{test_in_words, undecidable_rules};

/// Validates a scenario; nothing is started
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// The scenario file
    #[arg(value_name = "SCENARIO")]
    pub file: PathBuf,
    /// Replace or add one value, e.g. --set traffic.rate=800/s; can be repeated
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    /// A JUnit file with the results of the tests that criteria name in proved_by; can be repeated
    #[arg(long = "proofs", value_name = "FILE")]
    pub proofs: Vec<PathBuf>,
}

/// Validates the scenario and prints a summary of it.
///
/// # Errors
/// Everything that is wrong with the scenario, including missing proofs.
pub fn run(args: CheckArgs) -> CommandResult {
    let (loaded, proofs) = load_checked(&args.file, &args.set, &args.proofs, Path::new(""))?;
    terminal::print(&summary(&loaded, &proofs));
    Ok(Exit::Pass)
}

/// Loads a scenario and checks its proofs, whose paths are relative to `base`.
fn load_checked(
    file: &Path,
    sets: &[String],
    junit: &[PathBuf],
    base: &Path,
) -> Result<(LoadedScenario, BTreeMap<String, TestResult>), Failure> {
    let loaded = load(file, sets).map_err(Failure::usage)?;
    let proofs = read_proofs(&loaded, junit, base).map_err(Failure::usage)?;
    terminal::hide(&loaded.mask);
    check_reference_app(&loaded.scenario)?;
    Ok((loaded, proofs))
}

/// Rejects a scenario that tests the reference app if cacheproof was built without it.
pub fn check_reference_app(scenario: &Scenario) -> Result<(), Failure> {
    let target = &scenario.target;
    let own_app = target.kind == TargetKind::Reference && target.url.is_none() && target.start.is_empty();
    if own_app && !cfg!(feature = "reference-app") {
        return Err(Failure::usage(miette::miette!(
            help = "set target.kind = \"http\" with the url or start of your own app, or build cacheproof with its default features",
            "this cacheproof was built without the reference app that the scenario tests"
        )));
    }
    Ok(())
}

/// One line for the scenario, one for each phase, and one for each rule that cannot be decided and each test that was run and proves
/// nothing.
fn summary(loaded: &LoadedScenario, proofs: &BTreeMap<String, TestResult>) -> String {
    let scenario = &loaded.scenario;
    let rules = scenario.criteria.iter().map(|criterion| criterion.rules.len()).sum();
    let named = scenario.criteria.iter().map(|criterion| criterion.proved_by.len()).sum();
    let mut text = format!(
        "{} is valid: {}, {}, {} of request, {} with {}",
        loaded.name,
        count(scenario.phases.len(), "phase"),
        seconds(scenario),
        count(scenario.traffic.requests.len(), "kind"),
        if scenario.criteria.len() == 1 {
            "1 criterion".to_owned()
        } else {
            format!("{} criteria", scenario.criteria.len())
        },
        count(rules, "rule"),
    );
    if named > 0 {
        let _ = write!(text, " and {}", count(named, "test"));
    }
    text.push('\n');
    let width = |of: &dyn Fn(&Phase) -> usize| scenario.phases.iter().map(of).max().unwrap_or(0);
    let names = width(&|phase| phase.name.chars().count());
    let lengths = width(&|phase| length(phase).chars().count());
    for phase in &scenario.phases {
        let line = format!(
            "  {:names$}  {:8}  {:>lengths$}  {}",
            phase.name,
            phase.path.as_str(),
            length(phase),
            details(scenario, phase)
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    for note in undecidable_rules(scenario) {
        let _ = writeln!(text, "  warning: {note}");
    }
    for (test, result) in
        proofs.iter().filter(|(_, result)| !matches!(result.state, TestState::Passed | TestState::NotRun))
    {
        let _ = writeln!(text, "  warning: {}", test_in_words(test, result));
    }
    text
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn seconds(scenario: &Scenario) -> String {
    let at_most = if scenario.phases.iter().any(|phase| phase.warm_up) { "at most " } else { "" };
    format!("{at_most}{} s", scenario.planned_length().as_secs_f64())
}

fn length(phase: &Phase) -> String {
    Quantity::Time(phase.lasts).to_string()
}

fn details(scenario: &Scenario, phase: &Phase) -> String {
    let mut parts = Vec::new();
    match (scenario.traffic.load_model, phase.rate) {
        (LoadModel::Open { rate, .. }, own) => parts.push(Quantity::Rate(own.unwrap_or(rate)).to_string()),
        (LoadModel::Closed { users }, _) => parts.push(count(users, "user")),
    }
    if phase.warm_up {
        parts.push("not judged, ends when the hit rate is stable".to_owned());
    }
    parts.extend(phase.faults.iter().map(|fault| fault.to_toml()));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(name)
    }

    #[test]
    fn a_valid_scenario_is_summarized_with_a_line_for_each_phase() {
        let sample = file("../crates/core/src/scenario/tests/app.toml");
        let mut loaded = load(&sample, &["phase.steady.rate=800/s".to_owned()]).unwrap();
        loaded.name = "app.toml".to_owned();
        insta::assert_snapshot!(summary(&loaded, &BTreeMap::new()), @r#"
        app.toml is valid: 4 phases, at most 41 s, 2 kinds of request, 1 criterion with 1 rule
          uncached    uncached   5s  50/s
          warm-up     cached     6s  50/s, not judged, ends when the hit rate is stable
          steady      cached    20s  800/s
          redis down  cached    10s  50/s, { kill = "redis", after = "2s", lasts = "5s" }
        "#);
    }

    #[test]
    fn rules_that_a_run_could_not_decide_are_listed() {
        let text = std::fs::read_to_string(file("../crates/core/src/scenario/tests/app.toml")).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.toml");
        std::fs::write(&path, text.replace("errors < 1%", "p95 in steady < 1s")).unwrap();
        let loaded = |rate: &str| load(&path, &[format!("phase.steady.rate={rate}")]).unwrap();
        let short = summary(&loaded("1/s"), &BTreeMap::new());
        assert!(short.contains("will not be decided: about 20 requests are planned, 200 are needed"), "{short}");
        assert!(!summary(&loaded("800/s"), &BTreeMap::new()).contains("  warning: "));
        let mut empty = loaded("800/s");
        empty.scenario.criteria.clear();
        assert!(summary(&empty, &BTreeMap::new()).contains("  warning: there is no [[criterion]]"));
    }

    #[test]
    fn a_limit_on_fallbacks_that_the_app_may_never_signal_is_listed() {
        let text = std::fs::read_to_string(file("../crates/core/src/scenario/tests/slips.toml")).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.toml");
        let warned = |rule: &str, hit: &str| {
            let text = text.replace("RULE", rule).replace("[data]", &format!("{hit}\n[data]"));
            std::fs::write(&path, text).unwrap();
            summary(&load(&path, &[]).unwrap(), &BTreeMap::new())
                .contains("holds in vain if the app does not say that it fell back")
        };
        assert!(warned("fallbacks == 0", ""));
        assert!(warned("fallbacks in broken < 1%", "[target.hit]\nheader = \"Cache-Status\"\nhit = [\"app; hit\"]"));
        assert!(!warned("fallbacks in broken > 90%", ""), "it fails where nothing is signalled");
        let own = "[target.hit]\nheader = \"X-Cache-Status\"\nhit = [\"HIT\"]\nfallback = [\"DOWN\"]";
        assert!(!warned("fallbacks == 0", own));
    }

    #[test]
    fn a_valid_scenario_passes_and_an_invalid_one_is_a_usage_error() {
        let run = |set: &[&str]| {
            let set = set.iter().map(|set| (*set).to_owned()).collect();
            run(CheckArgs { file: file("http-app.toml"), set, proofs: Vec::new() })
        };
        assert_eq!(run(&[]).unwrap(), Exit::Pass);
        assert_eq!(run(&["traffic.users=0"]).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn a_missing_proof_is_a_usage_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        let text = std::fs::read_to_string(file("http-app.toml")).unwrap();
        let proof = "\n[[criterion]]\nsays = \"x\"\nproved_by = \"none.rs::none\"\n";
        std::fs::write(&path, text + proof).unwrap();
        assert_eq!(load_checked(&path, &[], &[], directory.path()).unwrap_err().exit, Exit::Usage);
        std::fs::write(directory.path().join("none.rs"), "#[test]\nfn none() {}").unwrap();
        assert!(load_checked(&path, &[], &[], directory.path()).is_ok());
    }
}
