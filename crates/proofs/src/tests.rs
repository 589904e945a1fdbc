//! Proofs in the shapes of each runner: what proves, what does not, and why.

use std::fs::{File, create_dir_all, write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cacheproof_core::journal::{TestResult, TestState};
use cacheproof_core::scenario::load;

use super::{ProofError, read_proofs};

mod junit;
mod runners;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

/// A project in a directory of its own. Its sources are older than every fixture.
struct Project {
    directory: tempfile::TempDir,
}

impl Project {
    fn new(sources: &[(&str, &str)]) -> Self {
        let project = Self { directory: tempfile::tempdir().unwrap() };
        for (file, text) in sources {
            project.write(file, text);
        }
        project
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    fn write(&self, file: &str, text: &str) {
        create_dir_all(self.path(file).parent().unwrap()).unwrap();
        write(self.path(file), text).unwrap();
        self.touch(file, 1_577_880_000); // 2020-01-01T12:00:00Z
    }

    fn touch(&self, file: &str, at: u64) {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
        File::options().append(true).open(self.path(file)).unwrap().set_modified(at).unwrap();
    }

    fn proofs(&self, proofs: &[&str], extra: &str, files: &[PathBuf]) -> Result<Vec<TestResult>, String> {
        let mut text = format!(
            "title = \"t\"\n{extra}\n[target]\nkind = \"http\"\nurl = \"http://127.0.0.1:1\"\n[traffic]\nrate = \"10/s\"\n\
             [[traffic.request]]\nname = \"read\"\nget = \"/\"\n[[phase]]\nname = \"steady\"\nlasts = \"1s\"\n"
        );
        for (index, proof) in proofs.iter().enumerate() {
            text += &format!("[[criterion]]\nsays = \"criterion {index}\"\nproved_by = {proof:?}\n");
        }
        write(self.path("scenario.toml"), text).unwrap();
        let loaded = load(&self.path("scenario.toml"), &[]).unwrap_or_else(|errors| panic!("{:?}", errors.problems()));
        let read = read_proofs(&loaded, files, self.directory.path()).map_err(|error| match error {
            ProofError::Scenario(errors) => {
                errors.problems().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
            }
            ProofError::File(error) => error.to_string(),
        })?;
        Ok(proofs.iter().map(|proof| read[*proof].clone()).collect())
    }

    fn one(&self, proof: &str, files: &[PathBuf]) -> Result<TestResult, String> {
        self.proofs(&[proof], "", files).map(|mut results| results.remove(0))
    }

    /// The state of each proof by a fixture, and what is said of it.
    fn states(&self, by: &str, proofs: &[(&str, TestState, &str)]) {
        for (proof, state, detail) in proofs {
            let result = self.one(proof, &[fixture(by)]).unwrap_or_else(|error| panic!("{proof}: {error}"));
            assert_eq!(result.state, *state, "{proof} by {by}: {result:?}");
            let said = result.detail.clone().unwrap_or_default();
            assert!(said.contains(detail) && (!detail.is_empty() || said.is_empty()), "{proof} by {by}: {said:?}");
        }
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(FIXTURES).join("junit").join(name)
}

/// The rows of the table in tests/fixtures/proved-by.
#[test]
fn a_proof_is_a_test_that_runs() {
    let table = std::fs::read_to_string(Path::new(FIXTURES).join("proved-by/proofs.tsv")).unwrap();
    let project = Project::new(&[]);
    for file in ["keys.rs", "keys.test.js", "notes.md", "test_keys.py"] {
        std::fs::copy(Path::new(FIXTURES).join("proved-by").join(file), project.path(file)).unwrap();
    }
    let mut rows = 0;
    for row in table.lines().skip(1) {
        let mut columns = row.split('\t');
        let (proof, right, why) = (columns.next().unwrap(), columns.next().unwrap(), columns.next().unwrap());
        let told = project.one(proof, &[]);
        assert_eq!(told.is_ok(), right == "accept", "{proof}: {why}: {told:?}");
        if why.contains("as skipped") || why == "it.skip" {
            assert!(told.unwrap_err().contains("it is skipped (it.skip)"));
        }
        rows += 1;
    }
    assert_eq!(rows, 13);
}

#[test]
fn a_name_that_is_no_test_is_refused_with_what_to_do() {
    let project =
        Project::new(&[("t.rs", "#[test]\nfn it_holds() {}\n"), ("notes.md", "it_holds"), ("odd.rs", "fn ) {")]);
    assert_eq!(project.one("t.rs::it_holds", &[]).unwrap(), TestResult::default(), "a claim, no more");
    let refused = |proof: &str| project.one(proof, &[]).unwrap_err();
    assert_eq!(refused("t.rs::it_hold"), "t.rs has no test \"it_hold\"");
    assert_eq!(refused("u.rs::it_holds"), "the file of this proof is not there: u.rs");
    assert_eq!(refused("notes.md::it_holds"), "cacheproof can't tell whether notes.md has a test \"it_holds\"");
    assert_eq!(refused("odd.rs::it_holds"), "the tests of odd.rs can't be told: its brackets do not match");
    let all = project.proofs(&["t.rs::a", "t.rs::b"], "", &[]).unwrap_err();
    assert_eq!(all.lines().count(), 2, "all at once: {all}");
}

const ONE: &str = "<testsuite name=\"app::t\"><testcase classname=\"app::t\" name=\"it\"/></testsuite>";

#[test]
fn a_result_that_is_older_than_the_tree_proves_nothing_and_fails_nothing() {
    let project = Project::new(&[
        ("Cargo.toml", "[package]\nname = \"app\"\n"),
        ("tests/t.rs", "#[test]\nfn it() {}\n"),
        ("src/lib.rs", ""),
    ]);
    let state = |text: &str| {
        write(project.path("junit.xml"), text).unwrap();
        project.one("tests/t.rs::it", &["junit.xml".into()]).unwrap()
    };
    assert_eq!(state(ONE).state, TestState::Passed);
    let old = ONE.replace("<testsuite", "<testsuite timestamp=\"2020-01-01T11:59:58Z\"");
    let outdated = state(&old);
    assert_eq!(outdated.state, TestState::Outdated, "a new copy of an old result");
    assert_eq!(outdated.detail.as_deref(), Some("tests/t.rs, changed 2020-01-01T12:00:00Z"));
    assert_eq!(outdated.at.as_deref(), Some("2020-01-01T11:59:58Z"));
    let failed = old.replace("/></testsuite>", "><failure/></testcase></testsuite>");
    assert_eq!(state(&failed).state, TestState::Outdated, "it may be mended since");
    // A second, or its part, may be cut off; a time without a zone may be of any zone.
    for (stamp, right) in [
        ("2020-01-01T11:59:59Z", TestState::Outdated),
        ("2020-01-01T12:00:00Z", TestState::Passed),
        ("2020-01-01T11:59:59.998Z", TestState::Outdated),
        ("2020-01-01T13:59:00+02:00", TestState::Outdated),
        ("2020-01-01T00:00:00", TestState::Passed),
        ("2019-12-31T23:59:58", TestState::Outdated),
        ("yesterday", TestState::Passed),
    ] {
        assert_eq!(
            state(&ONE.replace("<testsuite", &format!("<testsuite timestamp=\"{stamp}\""))).state,
            right,
            "{stamp}"
        );
    }
    write(project.path("junit.xml"), ONE).unwrap();
    project.touch("junit.xml", 1_577_879_999);
    assert_eq!(project.one("tests/t.rs::it", &["junit.xml".into()]).unwrap().state, TestState::Outdated);
    project.touch("junit.xml", 1_577_880_000);
    assert_eq!(project.one("tests/t.rs::it", &["junit.xml".into()]).unwrap().state, TestState::Passed);

    // In a repository, every source file counts, committed or not.
    let git =
        std::process::Command::new("git").arg("-C").arg(project.path("")).args(["init", "--quiet"]).status().unwrap();
    assert!(git.success());
    project.touch("src/lib.rs", 1_577_880_001);
    let outdated = project.one("tests/t.rs::it", &["junit.xml".into()]).unwrap();
    assert_eq!(
        (outdated.state, outdated.detail.as_deref()),
        (TestState::Outdated, Some("src/lib.rs, changed 2020-01-01T12:00:01Z"))
    );
    write(project.path(".gitignore"), "src/").unwrap();
    assert_eq!(
        project.one("tests/t.rs::it", &["junit.xml".into()]).unwrap().state,
        TestState::Passed,
        "not of the project"
    );
}

#[test]
fn of_several_files_a_failure_counts_unless_it_is_outdated() {
    let project =
        Project::new(&[("Cargo.toml", "[package]\nname = \"app\"\n"), ("tests/t.rs", "#[test]\nfn it() {}\n")]);
    let failed = ONE.replace("/></testsuite>", "><failure message=\"no\"/></testcase></testsuite>");
    let skipped = ONE.replace("/></testsuite>", "><skipped/></testcase></testsuite>");
    write(project.path("passed.xml"), ONE).unwrap();
    write(project.path("failed.xml"), failed).unwrap();
    write(project.path("skipped.xml"), skipped).unwrap();
    write(project.path("empty.xml"), "<testsuites/>").unwrap();
    let state = |files: &[&str]| {
        let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
        let result = project.one("tests/t.rs::it", &files).unwrap();
        (result.state, result.file.unwrap())
    };
    assert_eq!(state(&["passed.xml", "failed.xml"]), (TestState::Failed, "failed.xml".to_owned()));
    assert_eq!(state(&["skipped.xml", "passed.xml", "empty.xml"]), (TestState::Passed, "passed.xml".to_owned()));
    assert_eq!(state(&["empty.xml"]), (TestState::Empty, "empty.xml".to_owned()));
    project.touch("failed.xml", 1_577_000_000);
    assert_eq!(state(&["failed.xml", "passed.xml"]).0, TestState::Passed);
}

#[test]
fn the_same_test_in_two_binaries_is_ambiguous() {
    let project = Project::new(&[("keys.rs", "#[test]\nfn it() {}\n")]);
    let text = "<testsuites><testsuite name=\"a\"><testcase classname=\"one::keys\" name=\"it\"/></testsuite>\
                <testsuite name=\"b\"><testcase classname=\"two::keys\" name=\"it\"/></testsuite></testsuites>";
    write(project.path("junit.xml"), text).unwrap();
    let result = project.one("keys.rs::it", &["junit.xml".into()]).unwrap();
    assert_eq!((result.state, result.detail.as_deref()), (TestState::Ambiguous, Some("one::keys, two::keys")));
}

#[test]
fn a_scenario_names_its_junit_files_and_they_need_not_be_there_yet() {
    let project =
        Project::new(&[("Cargo.toml", "[package]\nname = \"app\"\n"), ("tests/t.rs", "#[test]\nfn it() {}\n")]);
    let extra = "proofs = [\"target/a.xml\", \"target/b.xml\"]";
    let result = || project.proofs(&["tests/t.rs::it"], extra, &[]).map(|mut results| results.remove(0));
    let absent = result().unwrap();
    assert_eq!(
        (absent.state, absent.detail.as_deref()),
        (TestState::NotRun, Some("target/a.xml, target/b.xml is not there"))
    );
    project.write("target/b.xml", ONE);
    assert_eq!(result().unwrap().state, TestState::Passed);
    write(project.path("target/b.xml"), "<html/>").unwrap();
    let error = result().unwrap_err();
    assert_eq!(
        error,
        "target/b.xml is no JUnit file that can be used: its root is <html>, not <testsuites> or <testsuite>"
    );
    // A file of the command line must be there.
    let error = project.one("tests/t.rs::it", &["none.xml".into()]).unwrap_err();
    assert!(error.starts_with("none.xml is no JUnit file that can be used: No such file"), "{error}");
    assert!(project.one("tests/t.rs::it", &["tests".into()]).unwrap_err().contains("it is no file"));
}
