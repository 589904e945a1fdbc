//! Helpers of the whole-program tests: run the program, read its output.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use cacheproof::journal::read_journal;
use cacheproof::measurements::Measurements;
use tempfile::TempDir;

/// The program under test.
pub const CACHEPROOF: &str = env!("CARGO_BIN_EXE_cacheproof");

/// The line of tests/scenarios/nginx.toml that starts nginx.
pub const START: &str = r#"start = ["sh", "tests/fixtures/nginx-cache/start.sh", "{port}", "{dir}"]"#;

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Another binary of the workspace. `just test` builds all of them.
pub fn sibling(name: &str) -> PathBuf {
    let path = Path::new(CACHEPROOF).with_file_name(name);
    assert!(path.exists(), "{} isn't built: run `cargo build --workspace --bins`", path.display());
    path
}

/// A run of the program that has ended.
pub struct CompletedRun {
    /// Its exit code.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error, with the progress.
    pub stderr: String,
    /// The reports directory.
    pub reports: TempDir,
}

impl CompletedRun {
    /// The run's directory.
    pub fn directory(&self) -> PathBuf {
        let latest = self.reports.path().join("latest");
        assert!(latest.exists(), "no report was written; {}", self.said());
        latest.canonicalize().expect("the link leads to the run")
    }

    /// The measurements in the journal.
    pub fn measurements(&self) -> Measurements {
        Measurements::of(&read_journal(&self.directory()).expect("the journal reads"))
    }

    /// The verdict in summary.json.
    pub fn summary(&self) -> serde_json::Value {
        let text = std::fs::read_to_string(self.directory().join("summary.json")).expect("there is a summary");
        serde_json::from_str(&text).expect("it is JSON")
    }

    /// Everything it printed, for messages.
    pub fn said(&self) -> String {
        format!("exit {:?}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

/// Runs a scenario file with overrides, in a fresh reports directory.
pub fn run_scenario(file: &Path, sets: &[String]) -> CompletedRun {
    let reports = tempfile::tempdir().expect("a temporary directory");
    let output = command(file, sets, reports.path()).output().expect("the program runs");
    completed_run(output, reports)
}

/// The command that [`run_scenario`] runs.
pub fn command(file: &Path, sets: &[String], reports: &Path) -> Command {
    let mut command = Command::new(CACHEPROOF);
    command.current_dir(root()).arg("run").arg(file).arg("--reports").arg(reports).stdin(Stdio::null());
    for set in sets {
        command.arg("--set").arg(set);
    }
    command
}

/// A run from its output.
pub fn completed_run(output: Output, reports: TempDir) -> CompletedRun {
    CompletedRun {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        reports,
    }
}

/// Waits for a condition; panics with `what` after `limit`.
pub fn eventually(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < limit, "after {limit:?} still not: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A copy of a scenario with some text replaced; it is deleted with the directory.
pub fn edited(file: &Path, changes: &[(&str, &str)]) -> (TempDir, PathBuf) {
    let mut text = std::fs::read_to_string(file).expect("the scenario");
    for (from, to) in changes {
        assert!(text.contains(from), "{} has no '{from}'", file.display());
        text = text.replace(from, to);
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join(file.file_name().expect("it has a name"));
    std::fs::write(&path, text).expect("written");
    (directory, path)
}
