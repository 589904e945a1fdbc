//! Fails if a test proves a criterion by its name, or if its result does not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::faulty_app::{NO_DEFECTS, start};
use crate::support::{CACHEPROOF, CompletedRun, command, completed_run};

const PROOF: &str = "planted/keys_proof_test.py::TestKeys::test_prefix";
const MEASURED: &str = "[[criterion]]\nsays = \"Few errors\"\nrules = [\"errors < 1%\"]\n";

/// A project with a test, an app that runs, and a scenario for it.
struct Project {
    directory: TempDir,
}

impl Project {
    fn new(criteria: &str) -> Self {
        let address = start(NO_DEFECTS, 50);
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir(directory.path().join("planted")).expect("a directory");
        let test = "class TestKeys:\n    def test_prefix(self):\n        pass\n";
        fs::write(directory.path().join("planted/keys_proof_test.py"), test).expect("a test");
        let text = format!(
            "title = \"proofs\"\nproofs = [\"results/junit.xml\"]\n[target]\nkind = \"http\"\nurl = \"http://{address}\"\n[data]\nitems = 50\n\
             [traffic]\nrate = \"250/s\"\n[[traffic.request]]\nname = \"read\"\nget = \"/items/{{item}}\"\n\
             [[phase]]\nname = \"steady\"\nlasts = \"2s\"\n{criteria}\
             [[criterion]]\nsays = \"Keys have a prefix\"\nproved_by = \"{PROOF}\"\n"
        );
        fs::write(directory.path().join("scenario.toml"), text).expect("a scenario");
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A file as pytest writes it.
    fn junit(&self, name: &str, inside: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><testsuites name=\"pytest tests\"><testsuite name=\"pytest\">\
             <testcase classname=\"planted.keys_proof_test.TestKeys\" name=\"test_prefix\" time=\"0.1\">{inside}</testcase></testsuite></testsuites>"
        );
        fs::write(&path, text).expect("a file");
        path
    }

    fn run(&self, files: &[PathBuf]) -> CompletedRun {
        let reports = tempfile::tempdir().expect("a directory");
        let mut command = command(&self.path("scenario.toml"), &[], reports.path());
        for file in files {
            command.arg("--proofs").arg(file);
        }
        completed_run(command.output().expect("it runs"), reports)
    }

    /// The story after the run was attached.
    fn attached(&self, run: &Path) -> String {
        let story = self.path("story.md");
        fs::write(&story, "- [x] Few errors\n- [x] Keys have a prefix\n").expect("a story");
        let status = Command::new(CACHEPROOF).arg("attach").args([&story, run]).output().expect("it runs").status;
        assert_eq!(status.code(), Some(0));
        fs::read_to_string(story).expect("the story")
    }
}

fn file(run: &Path, name: &str) -> String {
    fs::read_to_string(run.join(name)).expect(name)
}

fn criterion(summary: &Value) -> &Value {
    &summary["verdict"]["criteria"][1]
}

#[test]
fn a_test_without_a_result_is_a_claim_and_with_one_a_proof_in_the_journal() {
    let project = Project::new(MEASURED);
    let claimed = project.run(&[]);
    assert_eq!(claimed.code, Some(0), "{}", claimed.said());
    let sentence = "2 criteria: 1 proved by this run, 1 claimed by a test that was not run here.";
    assert!(claimed.stdout.contains(sentence), "{}", claimed.stdout);
    let run = claimed.directory();
    for page in ["report.html", "report.md", "summary.json"] {
        assert!(file(&run, page).contains(sentence), "{page}");
    }
    let summary = claimed.summary();
    assert_eq!(
        (&criterion(&summary)["ruling"], &criterion(&summary)["tests"][0]["state"]),
        (&"claimed".into(), &"not_run".into())
    );
    let words = format!("claimed by test `{PROOF}` (not run here: results/junit.xml is not there)");
    let on_one_line = claimed.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        on_one_line.contains(&words) && file(&run, "junit.xml").contains(&format!("<skipped message=\"{words}\"")),
        "{on_one_line}"
    );
    assert!(project.attached(&run).starts_with("- [x] Few errors\n- [ ] Keys have a prefix\n"));

    // The file of the scenario is there now; what is after the journal needs neither it nor the test.
    project.junit("results/junit.xml", "");
    let proved = project.run(&[]);
    assert_eq!(proved.code, Some(0), "{}", proved.said());
    assert!(
        proved.stdout.contains("2 criteria: 1 proved by this run, 1 by the result of a test."),
        "{}",
        proved.stdout
    );
    let run = proved.directory();
    let names = ["report.html", "report.md", "summary.json", "junit.xml", "summary.png"];
    let read = || names.map(|name| fs::read(run.join(name)).expect(name));
    let first = read();
    fs::remove_dir_all(project.path("results")).expect("removed");
    fs::remove_dir_all(project.path("planted")).expect("removed");
    let again = Command::new(CACHEPROOF).arg("report").arg(&run).output().expect("it runs");
    assert_eq!(again.status.code(), Some(0));
    assert!(first == read(), "the report is made from the journal alone");
    let summary = proved.summary();
    let test = &criterion(&summary)["tests"][0];
    assert_eq!((&test["state"], &test["file"]), (&"passed".into(), &"results/junit.xml".into()));
    assert!(
        test["test"].as_str().is_some_and(|test| test.ends_with("TestKeys test_prefix")) && test["at"].is_string(),
        "{test}"
    );
    assert!(project.attached(&run).starts_with("- [x] Few errors\n- [x] Keys have a prefix\n"));
}

#[test]
fn a_test_that_failed_fails_the_run_and_one_that_was_skipped_does_not() {
    let project = Project::new(MEASURED);
    let failed = project.run(&[project.junit("failed.xml", "<failure message=\"no prefix\"/>")]);
    assert_eq!(failed.code, Some(1), "{}", failed.said());
    assert!(
        failed.stdout.contains("1 of 2 criteria failed.") && failed.stdout.contains("no prefix"),
        "{}",
        failed.stdout
    );
    assert!(file(&failed.directory(), "junit.xml").contains("type=\"test failed\""));

    let skipped = project.run(&[project.junit("skipped.xml", "<skipped message=\"no Redis\"/>")]);
    assert_eq!(skipped.code, Some(0), "{}", skipped.said());
    assert_eq!(criterion(&skipped.summary())["tests"][0]["state"], "skipped");
    assert!(skipped.stdout.contains("no Redis"), "{}", skipped.stdout);
}

#[test]
fn a_run_whose_criteria_are_only_claimed_is_inconclusive() {
    let ran = Project::new("").run(&[]);
    assert_eq!(ran.code, Some(4), "{}", ran.said());
    assert!(ran.stdout.contains("Nothing was proved.") && ran.stdout.contains("--proofs FILE"), "{}", ran.stdout);
}

#[test]
fn a_junit_file_that_is_none_is_a_usage_error_before_anything_starts() {
    let project = Project::new(MEASURED);
    for (name, text) in [("page.xml", "<html/>"), ("cut.xml", "<testsuites><testsuite>"), ("text.xml", "PASS")] {
        fs::write(project.path(name), text).expect("a file");
        let ran = project.run(&[project.path(name)]);
        assert_eq!(ran.code, Some(2), "{}", ran.said());
        assert!(ran.stderr.contains("is no JUnit file that can be used"), "{}", ran.said());
        assert_eq!(fs::read_dir(ran.reports.path()).expect("the reports").count(), 0);
    }
    assert_eq!(project.run(&[project.path("none.xml")]).code, Some(2));
}
