//! Proofs in the shapes of each runner: what proves, what does not, and why.

use std::fs::{File, create_dir_all, write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cacheproof_core::journal::{TestResult, TestState};
use cacheproof_core::scenario::load;

use super::junit::{Outcome, Started, cases};
use super::{ProofError, read_proofs};

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
    fn states(&self, fixture: &str, proofs: &[(&str, TestState, &str)]) {
        for (proof, state, detail) in proofs {
            let result = self.one(proof, &[junit(fixture)]).unwrap_or_else(|error| panic!("{proof}: {error}"));
            assert_eq!(result.state, *state, "{proof} by {fixture}: {result:?}");
            let said = result.detail.clone().unwrap_or_default();
            assert!(said.contains(detail) && (!detail.is_empty() || said.is_empty()), "{proof} by {fixture}: {said:?}");
        }
    }
}

fn junit(name: &str) -> PathBuf {
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

const RUST_PACKAGE: &[(&str, &str)] = &[
    ("app/Cargo.toml", "[package]\nname = \"app\"\n"),
    ("app/src/lib.rs", "pub mod keys;\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn keeps_keys() {}\n}\n"),
    (
        "app/src/keys.rs",
        "#[cfg(test)]\nmod tests {\n    #[test]\n    fn keeps_keys() {}\n    #[test]\n    fn breaks() {}\n}\n",
    ),
    ("app/tests/it/main.rs", "mod caching;\nmod outage;\n"),
    (
        "app/tests/it/caching.rs",
        "#[test]\nfn keeps_keys() {}\n#[test]\nfn passes_on_retry() {}\n#[test]\n#[ignore]\nfn slow() {}\n#[test]\nfn new() {}\nmade!(made_by_a_macro);\n",
    ),
    ("app/tests/it/outage.rs", "#[test]\nfn keeps_keys() {}\n"),
    ("app/tests/other.rs", "#[test]\nfn keeps_keys() {}\n"),
    ("app/tests/absent.rs", "#[test]\nfn keeps_keys() {}\n"),
    ("lib/Cargo.toml", "[package]\nname = \"app-lib\"\n"),
    ("lib/tests/it/main.rs", "mod caching;\n"),
    ("lib/tests/it/caching.rs", "#[test]\nfn keeps_keys() {}\n"),
];

#[test]
fn nextest_tells_tests_apart_by_binary_and_module() {
    use TestState::{Failed, Missing, Passed};
    let project = Project::new(RUST_PACKAGE);
    project.states(
        "nextest.xml",
        &[
            ("app/src/lib.rs::keeps_keys", Passed, ""),
            ("app/src/keys.rs::keeps_keys", Passed, ""),
            ("app/src/keys.rs::tests::breaks", Failed, "panicked at src/keys.rs:7:9"),
            ("app/tests/it/caching.rs::keeps_keys", Passed, ""),
            ("app/tests/it/caching.rs::passes_on_retry", Passed, "it failed at first"),
            ("app/tests/it/caching.rs::made_by_a_macro", Passed, ""),
            ("app/tests/it/outage.rs::keeps_keys", Failed, "panicked at tests/it/outage.rs:3:5"),
            ("app/tests/other.rs::keeps_keys", Passed, ""),
            // Tests of the same name elsewhere prove nothing.
            ("app/tests/absent.rs::keeps_keys", Missing, "is another test"),
            ("lib/tests/it/caching.rs::keeps_keys", Missing, "is another test"),
            ("app/tests/it/caching.rs::new", Missing, ""),
        ],
    );
    let labels = |proof| project.one(proof, &[junit("nextest.xml")]).unwrap().test.unwrap();
    assert_eq!(labels("app/src/keys.rs::keeps_keys"), "app keys::tests::keeps_keys");
    assert_eq!(labels("app/tests/other.rs::keeps_keys"), "app::other keeps_keys");
    // Neither its source nor a result shows that it runs.
    let why = project.one("app/tests/it/caching.rs::slow", &[junit("nextest.xml")]).unwrap_err();
    assert!(why.contains("it is ignored"), "{why}");
    assert!(project.one("app/tests/it/caching.rs::made", &[junit("nextest.xml")]).is_err());
}

#[test]
fn a_test_in_a_module_with_its_own_file_is_not_its_parents() {
    let project = Project::new(&[
        ("Cargo.toml", "[package]\nname = \"app\"\n"),
        ("src/keys.rs", "mod tests;\nmade!();\n"),
        ("src/keys/tests.rs", "#[test]\nfn keeps_keys() {}\n"),
    ]);
    assert!(project.one("src/keys.rs::keeps_keys", &[junit("nextest.xml")]).is_err());
    project.states("nextest.xml", &[("src/keys/tests.rs::keeps_keys", TestState::Passed, "")]);
}

#[test]
fn a_rust_file_that_no_module_takes_in_is_never_built() {
    let test = "#[test]\nfn it() {}\n";
    let project = Project::new(&[
        ("Cargo.toml", "[package]\nname = \"app\"\n"),
        (
            "src/lib.rs",
            "mod keys;\n#[cfg(any())]\nmod never;\n#[cfg(test)]\npub(crate) mod some;\n#[path = \"odd.rs\"]\nmod strange;\n// mod orphan;\n",
        ),
        ("src/keys.rs", &format!("mod deep;\n{test}")),
        ("src/keys/deep.rs", test),
        ("src/never.rs", "mod deep;"),
        ("src/never/deep.rs", test),
        ("src/some/mod.rs", test),
        ("src/odd.rs", test),
        ("src/orphan.rs", test),
        ("tests/alone.rs", test),
        ("tests/it/main.rs", "mod caching;"),
        ("tests/it/caching.rs", test),
        ("tests/it/orphan.rs", test),
    ]);
    for file in
        ["src/keys.rs", "src/keys/deep.rs", "src/some/mod.rs", "src/odd.rs", "tests/alone.rs", "./tests/it/caching.rs"]
    {
        assert!(project.one(&format!("{file}::it"), &[]).is_ok(), "{file}");
    }
    for (file, why) in [
        ("src/never/deep.rs", "#[cfg(any())]"),
        ("src/orphan.rs", "mod orphan;"),
        ("tests/it/orphan.rs", "mod orphan;"),
    ] {
        let error = project.one(&format!("{file}::it"), &[]).expect_err(file);
        assert!(error.contains(why), "{error}");
    }
}

const PYTHON: &str = "class TestKeys:\n    def test_prefix(self): pass\n    def test_ttl(self): pass\n\
    @pytest.mark.parametrize('key', ['posts', 'users'])\ndef test_each(key): pass\n\
    @pytest.mark.parametrize('n', [1, 2])\ndef test_half(n): pass\n\
    def test_error(broken): pass\ndef test_new(): pass\nclass Old(unittest.TestCase):\n    def test_old(self): pass\n";

#[test]
fn pytest_names_a_test_by_file_class_and_case() {
    use TestState::{Empty, Failed, Missing, Passed, Skipped};
    let project = Project::new(&[("tests/test_keys.py", PYTHON)]);
    for fixture in ["pytest.xml", "pytest-xunit1.xml"] {
        project.states(
            fixture,
            &[
                ("tests/test_keys.py::TestKeys::test_prefix", Passed, ""),
                ("tests/test_keys.py::TestKeys::test_ttl", Failed, "the TTL is wrong"),
                ("tests/test_keys.py::test_each", Passed, ""),
                ("tests/test_keys.py::test_each[users]", Passed, ""),
                ("tests/test_keys.py::test_half", Skipped, "1 of 2 cases: no Redis"),
                ("tests/test_keys.py::test_half[1]", Passed, ""),
                ("tests/test_keys.py::test_half[2]", Skipped, "no Redis"),
                ("tests/test_keys.py::Old::test_old", Passed, ""),
                ("tests/test_keys.py::test_error", Failed, "no server"),
                ("tests/test_keys.py::test_new", Missing, ""),
            ],
        );
    }
    project.states("pytest-empty.xml", &[("tests/test_keys.py::TestKeys::test_prefix", Empty, "")]);
    // Where pytest was run in a directory of the project.
    let below = Project::new(&[("backend/tests/test_keys.py", PYTHON)]);
    below.states("pytest.xml", &[("backend/tests/test_keys.py::TestKeys::test_prefix", Passed, "")]);
    // Two files could be the one.
    below.write("frontend/tests/test_keys.py", PYTHON);
    below.states("pytest.xml", &[("backend/tests/test_keys.py::TestKeys::test_prefix", Missing, "is another test")]);
}

const JAVASCRIPT: &str = "describe('keys', () => {\n  it('returns a fresh value after a write', () => {});\n  it('survives a dead cache', () => {});\n\
    it('has a prefix', () => {});\n  describe('of posts', () => { it('returns a fresh value after a write', () => {}); });\n});\n\
    it('stands alone', () => {});\nit.each([1, 2])('adds %i', () => {});\n";

#[test]
fn javascript_tests_are_named_by_their_titles() {
    use TestState::{Failed, Missing, Passed, Skipped};
    let project = Project::new(&[("keys.test.js", JAVASCRIPT)]);
    let both = [
        ("keys.test.js::keys returns a fresh value after a write", Passed, ""),
        ("keys.test.js::keys > of posts > returns a fresh value after a write", Passed, ""),
        ("keys.test.js::survives a dead cache", Skipped, ""),
        ("keys.test.js::has a prefix", Failed, "no prefix"),
    ];
    project.states("jest.xml", &both[..2]);
    project.states("jest.xml", &both[3..]);
    project.states("jest.xml", &[("keys.test.js::adds %i", Passed, ""), ("keys.test.js::adds 2", Passed, "")]);
    project.states("jest.xml", &[("keys.test.js::stands alone", Missing, "")]);
    project.states("node.xml", &both[3..]);
    project.states("node.xml", &[("keys.test.js::stands alone", Passed, "")]);
    // node:test tells a title alone: in a suite it is another test.
    let other = Project::new(&[("keys.test.js", "it('has a prefix', () => {});")]);
    other.states("node.xml", &[("keys.test.js::has a prefix", Missing, "is another test")]);
    let inner = Project::new(&[(
        "keys.test.js",
        "describe('of posts', () => { it('returns a fresh value after a write', () => {}); });",
    )]);
    inner.states("node.xml", &[("keys.test.js::returns a fresh value after a write", Missing, "is another test")]);
    let several = project.one("keys.test.js::returns a fresh value after a write", &[junit("jest.xml")]).unwrap_err();
    assert_eq!(several, "keys.test.js has several tests \"returns a fresh value after a write\"");

    let typed = Project::new(&[("web/src/keys.test.ts", JAVASCRIPT), ("web/src/other.test.ts", JAVASCRIPT)]);
    typed.states("vitest.xml", &[("web/src/keys.test.ts::keys returns a fresh value after a write", Passed, "")]);
    typed.states("vitest.xml", &[("web/src/other.test.ts::keys returns a fresh value after a write", Missing, "")]);
    // jest-junit tells no file: a test of the same titles in another file could be the one.
    typed.states(
        "jest.xml",
        &[("web/src/keys.test.ts::keys has a prefix", TestState::Ambiguous, "web/src/other.test.ts has a test")],
    );
}

const GO: &str = "package cache\nfunc TestKeys(t *testing.T) {\n\tt.Run(\"an old key\", func(t *testing.T) {})\n}\nfunc TestTtl(t *testing.T) {}\n\
    func TestRedis(t *testing.T) {}\nfunc TestCases(t *testing.T) {}\nfunc TestKeysToo(t *testing.T) {}\n";

#[test]
fn go_tests_are_named_by_their_package() {
    use TestState::{Failed, Missing, Passed, Skipped};
    let project = Project::new(&[
        ("go.mod", "module example.com/app\n\ngo 1.25\n"),
        ("cache/keys_test.go", GO),
        ("cache/memory/keys_test.go", GO),
    ]);
    project.states(
        "gotestsum.xml",
        &[
            ("cache/keys_test.go::TestKeys", Passed, ""),
            ("cache/keys_test.go::TestKeys/an_old_key", Passed, ""),
            ("cache/keys_test.go::TestTtl", Failed, "Failed"),
            ("cache/keys_test.go::TestRedis", Skipped, "no Redis"),
            ("cache/keys_test.go::TestCases", Passed, ""),
            ("cache/keys_test.go::TestCases/two", Passed, ""),
            ("cache/keys_test.go::TestKeysToo", Missing, ""),
            ("cache/memory/keys_test.go::TestKeys", Missing, "is another test"),
        ],
    );
    project.states(
        "go-junit-report.xml",
        &[("cache/keys_test.go::TestKeys", Passed, ""), ("cache/keys_test.go::TestRedis", Skipped, "no Redis")],
    );
}

#[test]
fn java_tests_are_named_by_their_class() {
    use TestState::{Failed, Missing, Passed, Skipped};
    let class = "package com.example;\nclass KeysTest {\n@Test void keeps() {}\n@ParameterizedTest void each(int n) {}\n@Test void expires() {}\n@Test void gone() {}\n@Test void flaky() {}\n}";
    let project = Project::new(&[
        ("src/test/java/com/example/KeysTest.java", class),
        ("src/test/java/com/other/KeysTest.java", &class.replace("com.example", "com.other")),
    ]);
    let proof = |name: &str| format!("src/test/java/com/example/KeysTest.java::{name}");
    project.states(
        "surefire.xml",
        &[
            (&proof("keeps"), Passed, ""),
            (&proof("KeysTest::each"), Passed, ""),
            (&proof("expires"), Failed, "no Redis"),
            (&proof("gone"), Skipped, "flaky"),
            (&proof("flaky"), Passed, "it failed at first"),
            ("src/test/java/com/other/KeysTest.java::keeps", Missing, "is another test"),
        ],
    );
}

#[test]
fn a_language_that_is_not_read_goes_by_its_results_alone() {
    use TestState::{Passed, Skipped};
    let project = Project::new(&[("tests/keys_test.cc", "TEST(Keys, Keeps) {}"), ("tests/other_test.cc", "")]);
    project.states(
        "googletest.xml",
        &[
            ("tests/keys_test.cc::Keeps", Passed, ""),
            ("tests/keys_test.cc::DISABLED_Gone", Skipped, "status \"notrun\""),
            ("tests/keys_test.cc::Skips", Skipped, "no Redis"),
        ],
    );
    assert!(project.one("tests/other_test.cc::Keeps", &[junit("googletest.xml")]).is_err());
    assert!(project.one("tests/keys_test.cc::Keep", &[junit("googletest.xml")]).is_err());
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

#[test]
fn what_became_of_a_case_is_read_from_its_children_and_its_status() {
    use Outcome::{Failed, Passed, PassedOnRetry, Skipped};
    let outcome = |case: &str| {
        cases(&format!("<testsuites><testsuite name=\"s\">{case}</testsuite></testsuites>")).unwrap().remove(0).outcome
    };
    let some = |text: &str| text.to_owned();
    assert_eq!(outcome("<testcase name=\"a\"/>"), Passed);
    assert_eq!(
        outcome(
            "<testcase name=\"a\"><system-out><![CDATA[<failure/>]]></system-out><properties><property name=\"skipped\"/></properties></testcase>"
        ),
        Passed
    );
    assert_eq!(outcome("<testcase name=\"a\"><failure message=\"x\"/><skipped/></testcase>"), Failed(some("x")));
    assert_eq!(outcome("<testcase name=\"a\"><error>one\ntwo</error></testcase>"), Failed(some("one")));
    assert_eq!(outcome("<testcase name=\"a\"><skipped message=\"why\"/></testcase>"), Skipped(some("why")));
    assert_eq!(outcome("<testcase name=\"a\"><flakyFailure message=\"x\"/></testcase>"), PassedOnRetry);
    assert_eq!(outcome("<testcase name=\"a\"><flakyError/><rerunFailure/></testcase>"), PassedOnRetry);
    assert!(matches!(outcome("<testcase name=\"a\"><rerunFailure/></testcase>"), Failed(_)));
    assert_eq!(outcome("<testcase name=\"a\"><failure message=\"x\"/><flakyFailure/></testcase>"), Failed(some("x")));
    for word in ["notrun", "disabled", "Skipped", "ignored", "suppressed", "what"] {
        assert!(matches!(outcome(&format!("<testcase name=\"a\" status=\"{word}\"/>")), Skipped(_)), "{word}");
        assert!(
            matches!(outcome(&format!("<testcase name=\"a\" status=\"run\" result=\"{word}\"/>")), Skipped(_)),
            "{word}"
        );
    }
    assert!(matches!(outcome("<testcase name=\"a\" status=\"failed\"><skipped/></testcase>"), Failed(_)));
    assert_eq!(outcome("<testcase name=\"a\" status=\"run\" result=\"completed\"/>"), Passed);
    let nested = cases(
        "<testsuite name=\"a\" file=\"f.js\"><testsuite name=\"b\"><testcase name=\"c\"/></testsuite></testsuite>",
    )
    .unwrap()
    .remove(0);
    assert_eq!((nested.suites, nested.file.as_deref()), (vec![some("a"), some("b")], Some("f.js")));
    let escaped = cases("<testsuite><testcase name=\"a &lt;b&gt; &quot;&#99;&quot;\"/></testsuite>").unwrap().remove(0);
    assert_eq!(escaped.name, "a <b> \"c\"");
}

#[test]
fn hostile_files_give_one_message() {
    let deep = format!("{}{}", "<testsuite>".repeat(100_000), "</testsuite>".repeat(100_000));
    let bomb =
        "<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><testsuites><testsuite name=\"&b;\"/></testsuites>";
    for (text, why) in [
        ("", "it is empty"),
        ("   ", "it is empty"),
        ("no XML", "text outside"),
        ("<testsuites>", "cut off"),
        ("<testsuites><testsuite></testsuites>", "not XML"),
        ("<testsuites/><testsuites/>", "second root"),
        ("<testsuites/>rest", "text outside"),
        ("<testrun/>", "its root is <testrun>"),
        ("<testsuites><testsuite a=\"1\" a=\"2\"/></testsuites>", "not XML"),
        ("<testsuites><testsuite name=\"&nope;\"/></testsuites>", "not XML"),
        ("<testsuites>&nope;</testsuites>", "not XML"),
        ("{\"tests\": []}", "text outside"),
        (bomb, "DOCTYPE"),
        (&deep, "too deeply"),
    ] {
        let error = cases(text).expect_err(text);
        assert!(error.contains(why) && error.lines().count() == 1, "{why}: {error}");
    }
    let project = Project::new(&[("t.rs", "#[test]\nfn it() {}\n")]);
    write(project.path("latin.xml"), b"<testsuite name=\"\xe9\"/>").unwrap();
    let error = project.one("t.rs::it", &["latin.xml".into()]).unwrap_err();
    assert!(error.ends_with("it is not UTF-8 text"), "{error}");
    assert!(project.one("t.rs::it", &["/dev/zero".into()]).unwrap_err().ends_with("it is no file"));
}

#[test]
fn a_time_stamp_is_a_moment_at_the_latest() {
    let latest = |text: &str| Started::parse(text).map(|started| started.at_the_latest.to_string());
    assert_eq!(latest("2026-11-30T09:36:43.5+01:00").as_deref(), Some("2026-11-30T08:36:43.599999999Z"));
    assert_eq!(latest("2026-11-30T09:36:43").as_deref(), Some("2026-11-30T21:36:43.999999999Z"));
    assert_eq!(latest(""), None);
    assert_eq!(latest("9999-12-31T23:59:59Z"), None, "out of range");
}

proptest::proptest! {
    /// Whatever a file holds, reading it ends in cases or in one line.
    #[test]
    fn no_xml_is_too_odd(text in "(<|>|/|testsuites?|testcase| name=|\"|&|;|<!\\[CDATA\\[|\\]\\]>|failure|\\PC){0,60}") {
        if let Err(why) = cases(&text) {
            proptest::prop_assert!(why.lines().count() <= 2, "{}", why);
        }
    }
}
