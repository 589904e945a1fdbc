//! What is taken for a test that runs, and what is not, in each language.

use super::{Language, TestStatus, read};
use crate::resolve::{Resolved, resolve};

mod others;

/// `Ok` for a test that runs; else why not.
fn told(file: &str, text: &str, name: &str) -> Result<(), String> {
    let language = Language::of(file).expect("a language");
    let reading = read(language, file, text);
    assert_eq!(reading.unreadable, None, "{text}");
    match resolve(language, &reading, name) {
        Resolved::Runs(_) => Ok(()),
        Resolved::Not(_, why) => Err(why),
        Resolved::Several(names) => Err(format!("several: {}", names.join(", "))),
        Resolved::Missing => Err("missing".to_owned()),
    }
}

fn runs(file: &str, name: &str, texts: &[&str]) {
    for text in texts {
        assert_eq!(told(file, text, name), Ok(()), "{name} in {text}");
    }
}

/// Each text with a part of the reason.
fn refused(file: &str, name: &str, texts: &[(&str, &str)]) {
    for (text, reason) in texts {
        let why = told(file, text, name).expect_err(text);
        assert!(why.contains(reason), "{name} in {text}: {why}");
    }
}

#[test]
fn rust_tests_that_run() {
    runs(
        "t.rs",
        "it",
        &[
            "#[test]\nfn it() {}",
            "#[test] fn it() {}",
            "#[test]\n/// ignore this: }\n// fn it() {}\nfn it() {}",
            "#[tokio::test(flavor = \"multi_thread\")]\n// why\nasync fn it() {}",
            "#[tokio::test(\n    flavor = \"multi_thread\",\n)]\npub async fn it() -> Result<(), Box<dyn Error>> {}",
            "#[rstest]\n#[case(1)]\nfn it(#[case] n: u8) {}",
            "#[test_case(1)]\n#[test_case(2 ; \"two\")]\nfn it(n: u8) {}",
            "#[sqlx::test]\nasync fn it(pool: PgPool) {}",
            "fn it_too() {}\n#[test]\n#[cfg(unix)]\nfn it() {}",
            "#[cfg(feature = \"redis\")]\n#[test]\nfn it() {}",
            "#[cfg(all(test, target_os = \"linux\", not(miri)))]\nmod tests {\n    #[test]\n    fn it() {}\n}",
            "#[cfg_attr(miri, ignore)]\n#[test]\nfn it() {}",
            "#[test]\n#[should_panic(expected = \"ignore\")]\nfn it() {}",
            "proptest! {\n    #![proptest_config(ProptestConfig::with_cases(9))]\n    #[test]\n    fn it(n in 0..9u8) {}\n}",
            "proptest::proptest! { #[test] fn it(n in 0..9u8) {} }",
            "const A: [u8; 2] = [b'\"', b'\\''];\nstruct S<'a> { a: &'a str }\n#[test]\nfn it() {}",
            "const F: fn(u8) = g;\nstatic T: &str = r##\"\"# fn it\"##;\n#[test]\nfn it() {}",
            "#[cfg(windows)]\n#[test]\nfn it() {}\n#[cfg(not(windows))]\n#[test]\nfn it() {}",
            "#[test]\nfn other() { fn it() {} }\n#[test]\nfn it() {}",
            "#[test]\nfn r#it() {}",
        ],
    );
    runs("t.rs", "a::it", &["mod a { mod x {} #[test] fn it() {} } mod b { #[test] fn it() {} }"]);
}

#[test]
fn rust_tests_that_do_not_run() {
    refused(
        "t.rs",
        "it",
        &[
            ("fn it() {}", "without a test attribute"),
            ("#[test]\nfn other() {}\n\nfn it() {}", "without a test attribute"),
            ("#[cfg(test)]\nfn it() {}", "without a test attribute"),
            ("#[test_helper]\nfn it() {}", "without a test attribute"),
            ("#[bench]\nfn it(b: &mut Bencher) {}", "without a test attribute"),
            ("#[doc = \"#[test]\"]\nfn it() {}", "without a test attribute"),
            ("#[test]\n#[ignore]\nfn it() {}", "ignored"),
            ("#[ignore = \"slow\"]\n#[test]\nfn it() {}", "ignored"),
            ("#[test]\n#[cfg_attr(unix, ignore)]\nfn it() {}", "may be ignored"),
            ("#[test]\n#[cfg_attr(feature = \"x\", ignore = \"y\")]\nfn it() {}", "may be ignored"),
            ("#[cfg_attr(feature = \"x\", test)]\nfn it() {}", "without a test attribute"),
            ("#[test_case(1 => ignore 2)]\nfn it(n: u8) {}", "ignored"),
            ("#[test]\n#[cfg(windows)]\nfn it() {}", "not built"),
            ("#[test]\n#[cfg(not(test))]\nfn it() {}", "not built"),
            ("#[test]\n#[cfg(loom)]\nfn it() {}", "not built"),
            ("#[test]\n#[cfg(all(feature = \"x\", any()))]\nfn it() {}", "not built"),
            ("#![cfg(any())]\n#[test]\nfn it() {}", "not built"),
            ("mod a {\n    #![cfg(target_os = \"macos\")]\n    #[test]\n    fn it() {}\n}", "not built"),
            ("#[cfg(any())]\nmod a { mod b { #[test] fn it() {} } }", "not built"),
            ("macro_rules! m { () => { #[test] fn it() {} }; }", "definition"),
            ("macro_rules! m { () => { #[test] fn it() {} }; }\nm!();", "definition"),
            ("drop_it! { #[test] fn it() {} }", "macro `drop_it!`"),
            ("macro_rules! proptest { ($($t:tt)*) => {} }\nproptest! { #[test] fn it() {} }", "macro `proptest!`"),
            ("#[cfg(any())]\nproptest! { #[test] fn it() {} }", "not built"),
            ("const T: &str = stringify! { #[test] fn it() {} };", "macro"),
            ("struct S;\nimpl S {\n    #[test]\n    fn it() {}\n}", "not in a module"),
            ("#[test]\nfn other() {\n    #[test]\n    fn it() {}\n}", "another function"),
            ("// #[test]\nfn it() {}", "without a test attribute"),
            ("#[test]\n// fn it() {}\nfn other() {}", "missing"),
            ("/* /* */ #[test] fn it() {} */", "missing"),
            ("const T: &str = \"\\\"#[test] fn it() {}\";", "missing"),
            ("const T: &str = r##\"\"#[test] fn it() {}\"##;", "missing"),
            ("const T: &[u8] = br\"#[test] fn it() {}\";", "missing"),
            ("#[test]\nfn other() { it(); }", "missing"),
            ("#[test]\nfn it_too() {}", "missing"),
            ("mod it;", "missing"),
            ("mod a { #[test] fn it() {} } mod b { #[test] fn it() {} }", "several: a::it, b::it"),
        ],
    );
}

#[test]
fn python_tests_that_run() {
    runs(
        "tests/test_t.py",
        "test_it",
        &[
            "def test_it():\n    pass\n",
            "async def test_it(): pass",
            "@pytest.mark.slow\n@pytest.mark.asyncio\ndef test_it(redis):\n    text = '''\ndef test_it(): skip\n'''\n",
            "@pytest.mark.skipif(sys.platform == 'win32', reason='no')\ndef test_it():\n    pass",
            "@pytest.mark.skipif(False, reason='no')\ndef test_it():\n    pass",
            "if sys.platform == 'win32':\n    pytest.skip('no', allow_module_level=True)\n\ndef test_it():\n    pass",
            "def test_it():\n    if not ready():\n        raise RuntimeError\n    with pytest.raises(KeyError):\n        skip()",
            "def test_it():\n    assert \"don't\" != 'it\\'s' and f'{x}'\n# def test_it\n",
            "pytestmark = [pytest.mark.asyncio, pytest.mark.redis]\ndef test_it():\n    pass",
            "import os\ndef test_it(\n    redis,\n    url,\n):\n    pass",
            "x = 1 + \\\n    2\ndef test_it(): pass",
            "@pytest.mark.parametrize('n', [1, 2])\ndef test_it(n):\n    pass",
        ],
    );
    runs(
        "test_t.py",
        "TestKeys::test_it",
        &[
            "class TestKeys:\n    def test_it(self):\n        pass",
            "class TestKeys(Base):\n    '''Keys.'''\n\n    def helper(self):\n        pass\n\n    async def test_it(self):\n        pass",
            "class Base:\n    def test_it(self):\n        pass\n\nclass TestKeys(Base):\n    pass",
        ],
    );
    runs(
        "test_t.py",
        "Keys::test_it",
        &[
            "class Keys(unittest.TestCase):\n    def test_it(self):\n        pass",
            "class B(IsolatedAsyncioTestCase):\n  pass\nclass Keys(B):\n  def test_it(self): pass",
        ],
    );
    runs(
        "test_t.py",
        "TestA::TestB::test_it",
        &["class TestA:\n    class TestB:\n        def test_it(self):\n            pass"],
    );
    let cases = "@pytest.mark.parametrize('n, m', [(1, 'a'), pytest.param(2, 'b', id='two')])\n@pytest.mark.parametrize('x', [True, None, -1.5])\ndef test_it(n, m, x):\n    pass";
    for case in ["test_it", "test_it[True-1-a]", "test_it[-1.5-two]"] {
        runs("test_t.py", case, &[cases]);
    }
    refused("test_t.py", "test_it[1-a-True]", &[(cases, "its cases are True-1-a, True-two,")]);
}

#[test]
fn python_tests_that_do_not_run() {
    refused(
        "tests/test_t.py",
        "test_it",
        &[
            ("# def test_it():\n", "missing"),
            ("'''\ndef test_it():\n    pass\n'''", "missing"),
            ("TEXT = \"def test_it(): pass\"", "missing"),
            ("test_it()", "missing"),
            ("class TestKeys:\n    def test_it(self):\n        pass", "missing"),
            ("def other():\n    def test_it():\n        pass", "missing"),
            ("@pytest.mark.skip\ndef test_it():\n    pass", "skipped"),
            ("@pytest.mark.skip(reason='flaky')\ndef test_it():\n    pass", "skipped"),
            ("@skip('flaky')\ndef test_it():\n    pass", "skipped"),
            ("@unittest.skip('flaky')\ndef test_it():\n    pass", "skipped"),
            ("@pytest.mark.skipif(True, reason='x')\ndef test_it():\n    pass", "skipped"),
            (
                "@pytest.mark.skipif(not os.environ.get('REDIS'), reason='x')\ndef test_it():\n    pass",
                "may be skipped",
            ),
            ("@unittest.skipUnless(False, 'x')\ndef test_it():\n    pass", "skipped"),
            ("@pytest.mark.xfail\ndef test_it():\n    pass", "expected to fail"),
            ("needs = pytest.mark.skipif(True, reason='x')\n@needs\ndef test_it():\n    pass", "skipped"),
            ("@skip_on_ci\ndef test_it():\n    pass", "may be skipped"),
            ("pytestmark = pytest.mark.skip\ndef test_it():\n    pass", "skipped"),
            ("pytestmark = [pytest.mark.a, pytest.mark.skip(reason='x')]\ndef test_it():\n    pass", "skipped"),
            ("pytest.skip('x', allow_module_level=True)\ndef test_it():\n    pass", "whole file"),
            (
                "if not redis():\n    pytest.skip('x', allow_module_level=True)\ndef test_it():\n    pass",
                "may be skipped",
            ),
            ("raise unittest.SkipTest('x')\ndef test_it():\n    pass", "whole file"),
            ("def test_it():\n    '''Doc.'''\n    pytest.skip('x')\n    assert x", "skips itself"),
            ("def test_it(): pytest.skip('x')", "skips itself"),
            ("def test_it():\n    return pytest.skip('x')", "skips itself"),
            ("def test_it():\n    if not redis():\n        pytest.skip('x')", "may skip itself"),
            ("from unittest import (\n    skip as later,\n)\n@later('x')\ndef test_it():\n    pass", "skipped"),
            ("def setup_module():\n    pytest.skip('x')\ndef test_it():\n    pass", "setup_module"),
            (
                "@pytest.fixture(autouse=True)\ndef redis():\n    if not x:\n        pytest.skip('x')\ndef test_it():\n    pass",
                "fixture redis",
            ),
            ("@pytest.fixture\ndef test_it():\n    pass", "fixture"),
            ("if sys.version_info > (3, 99):\n    def test_it():\n        pass", "under a condition"),
            ("if __name__ == '__main__':\n    def test_it(): pass", "under a condition"),
            ("def test_it():\n    pass\ntest_it = None", "something else"),
            ("def test_it():\n    pass\ndel test_it", "deleted"),
            ("def test_it():\n    pass\n@pytest.mark.skip\ndef test_it():\n    pass", "skipped"),
            ("@pytest.mark.parametrize('n', [])\ndef test_it(n):\n    pass", "no cases"),
            (
                "@pytest.mark.parametrize('n', [1, pytest.param(2, marks=pytest.mark.skip)])\ndef test_it(n):\n    pass",
                "one of its cases",
            ),
            ("def test_it():\n    yield check, 1", "generator"),
        ],
    );
    refused("keys.py", "test_it", &[("def test_it():\n    pass", "pytest collects files")]);
    refused("test_t.py", "checks", &[("def checks():\n    pass", "named test")]);
    refused("test_t.py", "test_it[1]", &[("def test_it():\n    pass", "no parameters")]);
    refused(
        "test_t.py",
        "test_it[1]",
        &[("@pytest.mark.parametrize('n', NUMBERS)\ndef test_it(n):\n    pass", "can't be told")],
    );
    refused(
        "test_t.py",
        "test_it[3]",
        &[("@pytest.mark.parametrize('n', [1, 2])\ndef test_it(n):\n    pass", "its cases are 1, 2")],
    );
    refused(
        "test_t.py",
        "TestKeys::test_it",
        &[
            ("@pytest.mark.skip\nclass TestKeys:\n    def test_it(self):\n        pass", "skipped"),
            ("@unittest.skipIf(True, 'x')\nclass TestKeys(TestCase):\n    def test_it(self):\n        pass", "skipped"),
            ("class TestKeys:\n    pytestmark = pytest.mark.skip\n    def test_it(self):\n        pass", "skipped"),
            ("class TestKeys:\n    __test__ = False\n    def test_it(self):\n        pass", "__test__"),
            (
                "class TestKeys:\n    def __init__(self):\n        pass\n    def test_it(self):\n        pass",
                "__init__",
            ),
            (
                "class TestKeys(TestCase):\n    def setUp(self):\n        self.skipTest('x')\n    def test_it(self):\n        pass",
                "setUp",
            ),
            ("class TestKeys:\n    pass\ndef test_it(self):\n    pass", "missing"),
            (
                "@pytest.mark.skip\nclass Base:\n    def test_it(self):\n        pass\nclass TestKeys(Base):\n    pass",
                "skipped",
            ),
        ],
    );
    refused(
        "test_t.py",
        "Keys::test_it",
        &[("class Keys:\n    def test_it(self):\n        pass", "classes named Test")],
    );
}

#[test]
fn a_file_whose_brackets_do_not_match_tells_nothing() {
    for (file, text) in [("t.rs", "#[test] fn it() {"), ("t.py", "def test_it(:\n"), ("t.js", "it('x', () => {)}")] {
        let reading = read(Language::of(file).unwrap(), file, text);
        assert!(reading.unreadable.is_some() && reading.tests.is_empty(), "{text}");
    }
    let deep = format!("{}{}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(read(Language::Python, "t.py", &deep).unreadable.is_some());
}

proptest::proptest! {
    /// Whatever a file holds, reading it ends, and never in a panic.
    #[test]
    fn no_text_is_too_odd(text in "(\\PC|[\\n\\t#'\"`$\\\\/*{}()\\[\\]]){0,200}", language in 0..6_usize) {
        let file = ["t.rs", "test_t.py", "t.test.ts", "t_test.go", "T.java", "T.kt"][language];
        let reading = read(Language::of(file).unwrap(), file, &text);
        for found in &reading.tests {
            proptest::prop_assert!(!found.path.is_empty());
            proptest::prop_assert!(found.status != TestStatus::Not(String::new()));
        }
    }
}
