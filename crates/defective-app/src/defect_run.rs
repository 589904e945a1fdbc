//! Runs cacheproof against a defective deployment and reads what it caught.

use crate::Defect;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The programs and files that a run needs.
#[derive(Clone, Debug)]
pub struct DefectRunner {
    /// The program `cacheproof`.
    pub cacheproof: PathBuf,
    /// The program `defective-app`.
    pub app: PathBuf,
    /// The repository, with the scenarios in tests/scenarios.
    pub root: PathBuf,
}

/// The result of one run.
#[derive(Clone, Debug)]
pub struct DefectRun {
    /// cacheproof's exit code; `None`: it was killed by a signal.
    pub code: Option<i32>,
    /// The criteria that failed, each with its first failed rule.
    pub failed: Vec<FailedCriterion>,
    /// How long cacheproof ran.
    pub took: Duration,
    /// What cacheproof printed, for messages.
    pub printed: String,
}

/// A criterion that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedCriterion {
    /// Its text.
    pub criterion: String,
    /// Its first rule that failed.
    pub rule: String,
    /// What was measured.
    pub number: String,
}

/// Why a run was not possible.
#[derive(Debug, thiserror::Error)]
pub enum DefectRunError {
    /// A program of the workspace is missing.
    #[error("{0} isn't built: run `cargo build --workspace --bins`")]
    NotBuilt(PathBuf),
    /// cacheproof could not be run.
    #[error("can't run {program}: {source}")]
    Run {
        /// Which program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No temporary directory.
    #[error("can't make a temporary directory: {0}; is the disk full?")]
    Directory(std::io::Error),
}

impl DefectRunner {
    /// With the programs in this directory, target/debug for instance.
    ///
    /// # Errors
    /// One of them is missing.
    pub fn find(programs: &Path, root: &Path) -> Result<Self, DefectRunError> {
        let program = |name: &str| {
            let path = programs.join(name);
            if path.exists() { Ok(path) } else { Err(DefectRunError::NotBuilt(path)) }
        };
        Ok(Self { cacheproof: program("cacheproof")?, app: program("defective-app")?, root: root.to_owned() })
    }

    /// Runs a scenario of tests/scenarios against a deployment.
    ///
    /// # Errors
    /// cacheproof did not run.
    pub fn run(&self, defect: &Defect, scenario: &str) -> Result<DefectRun, DefectRunError> {
        let reports = tempfile::tempdir().map_err(DefectRunError::Directory)?;
        let start = Value::from(self.start(defect)).to_string();
        let started_at = Instant::now();
        let output = Command::new(&self.cacheproof)
            .current_dir(&self.root)
            .arg("run")
            .arg(format!("tests/scenarios/{scenario}.toml"))
            .arg("--reports")
            .arg(reports.path())
            .args(["--set", &format!("target.start={start}")])
            .stdin(Stdio::null())
            .output()
            .map_err(|source| DefectRunError::Run { program: self.cacheproof.clone(), source })?;
        let took = started_at.elapsed();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let printed = format!("{}\n{}", text(&output.stdout), text(&output.stderr));
        let code = output.status.code();
        let summary = std::fs::read(reports.path().join("latest/summary.json")).ok();
        let summary = summary.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        // A run that could not start leaves no summary: it caught nothing, and printed why.
        let failed = summary.as_ref().map_or(Vec::new(), failed);
        Ok(DefectRun { code, failed, took, printed })
    }

    fn start(&self, defect: &Defect) -> Vec<String> {
        let mut command = vec![self.app.display().to_string(), defect.name.to_owned()];
        if defect.supervised {
            let again = r#"while :; do "$0" "$@"; sleep 0.2; done"#;
            command.splice(0..0, ["sh", "-c", again].map(str::to_owned));
        }
        command
    }
}

impl DefectRun {
    /// The criterion that must fail, if it did.
    pub fn caught(&self, defect: &Defect) -> Option<&FailedCriterion> {
        self.failed.iter().find(|caught| caught.criterion == defect.caught_by).filter(|_| self.code == Some(1))
    }
}

fn failed(summary: &Value) -> Vec<FailedCriterion> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let has_failed = |value: &Value| value["ruling"] == "fail";
    let caught = |criterion: Value| {
        let rule = list(&criterion["rules"]).into_iter().find(has_failed)?;
        Some(FailedCriterion { criterion: text(&criterion["says"]), rule: text(&rule["text"]), number: number(&rule) })
    };
    list(&summary["verdict"]["criteria"]).into_iter().filter(has_failed).filter_map(caught).collect()
}

/// What a rule measured, with its unit.
fn number(rule: &Value) -> String {
    // There is no number where a percentile falls on errors; the evidence says so.
    let Some(observed) = rule["observed"].as_f64() else {
        return rule["evidence"].as_str().unwrap_or("nothing was measured").to_owned();
    };
    match rule["unit"].as_str().unwrap_or_default() {
        "seconds" => format!("{:.0} ms", observed * 1e3),
        "share" => format!("{:.1} %", observed * 100.0),
        "bytes" if observed < 10e3 => format!("{observed:.0} B"),
        "bytes" => format!("{:.1} MB", observed / f64::from(1 << 20)),
        "per_second" => format!("{observed:.0}/s"),
        _ if observed.fract() == 0.0 => format!("{observed:.0}"),
        _ => format!("{observed:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_criterion_is_reported_with_its_failed_rule_and_number() {
        let rule = |ruling: &str, text: &str, observed: f64, unit: &str| serde_json::json!({ "ruling": ruling, "text": text, "observed": observed, "unit": unit });
        let criteria = serde_json::json!([
            { "says": "fast", "ruling": "fail", "rules": [rule("pass", "p50", 0.1, "seconds"), rule("fail", "p95", 0.2, "seconds")] },
            { "says": "right", "ruling": "pass", "rules": [rule("pass", "wrong_answers == 0", 0.0, "count")] },
        ]);
        let failed = failed(&serde_json::json!({ "verdict": { "criteria": criteria } }));
        let caught = FailedCriterion { criterion: "fast".into(), rule: "p95".into(), number: "200 ms".into() };
        assert_eq!(failed, [caught]);
    }
}
