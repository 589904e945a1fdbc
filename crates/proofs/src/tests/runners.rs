//! Tests as each runner names them: the right one proves, one of a similar name does not.

use cacheproof_core::journal::TestState;

use super::{Project, fixture};

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
    let labels = |proof| project.one(proof, &[fixture("nextest.xml")]).unwrap().test.unwrap();
    assert_eq!(labels("app/src/keys.rs::keeps_keys"), "app keys::tests::keeps_keys");
    assert_eq!(labels("app/tests/other.rs::keeps_keys"), "app::other keeps_keys");
    // Neither its source nor a result shows that it runs.
    let why = project.one("app/tests/it/caching.rs::slow", &[fixture("nextest.xml")]).unwrap_err();
    assert!(why.contains("it is ignored"), "{why}");
    assert!(project.one("app/tests/it/caching.rs::made", &[fixture("nextest.xml")]).is_err());
}

#[test]
fn a_test_in_a_module_with_its_own_file_is_not_its_parents() {
    let project = Project::new(&[
        ("Cargo.toml", "[package]\nname = \"app\"\n"),
        ("src/keys.rs", "mod tests;\nmade!();\n"),
        ("src/keys/tests.rs", "#[test]\nfn keeps_keys() {}\n"),
    ]);
    assert!(project.one("src/keys.rs::keeps_keys", &[fixture("nextest.xml")]).is_err());
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
    let several = project.one("keys.test.js::returns a fresh value after a write", &[fixture("jest.xml")]).unwrap_err();
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
    assert!(project.one("tests/other_test.cc::Keeps", &[fixture("googletest.xml")]).is_err());
    assert!(project.one("tests/keys_test.cc::Keep", &[fixture("googletest.xml")]).is_err());
}
