//! JavaScript, Go, Java and Kotlin.

use super::{refused, runs};

#[test]
fn javascript_tests_that_run() {
    runs(
        "keys.test.ts",
        "returns a fresh value",
        &[
            "it('returns a fresh value', () => {});",
            "test(\"returns a fresh value\", async () => { await x(); }, 5000)",
            "test(`returns a fresh value`, function (done) { done(); });",
            "describe('keys', () => {\n  beforeEach(() => {});\n  it('returns a fresh value', () => {});\n});",
            "describe('a', function () { describe('b', () => { it('returns a fresh value', () => {}) }) })",
            "describe.each([1, 2])('keys %i', (n) => { test('returns a fresh value', () => {}); });",
            "it.concurrent('returns a fresh value', async () => {});",
            "it.only('returns a fresh value', () => {});\nit('other', () => {});",
            "// it's a comment\nconst re = /it\\('/g; const n = a / b;\nit('returns a fresh value', () => { expect(x / 2).toBe(1); });",
            "const t = `${f(`x`)} }`;\nit('returns a fresh value', () => {});",
            "import { test } from 'vitest';\nexport const test = base.extend({ redis: async ({}, use) => {} });\ntest('returns a fresh value', async ({ redis }) => {});",
            "it('returns a fresh value', { timeout: 5, skip: false }, () => {});",
            "let a = x++ / 2; let b = '/'; it('returns a fresh value', () => { assert.fail('x'); });",
            "it('other', () => { render(<p>Don't</p>) })\nit('returns a fresh value', () => {});",
            "test.describe('keys', () => { test('returns a fresh value', async ({ page }) => {}); });",
        ],
    );
    runs("k.test.js", "keys returns it", &["describe('keys', () => { it('returns it', () => {}); });"]);
    runs("k.test.js", "keys > returns it", &["describe('keys', () => { it('returns it', () => {}); });"]);
    runs("k.test.js", "it's \"fresh\"", &["it('it\\'s \"fresh\"', () => {});"]);
    for name in ["adds %i", "adds 3"] {
        runs(
            "k.test.js",
            name,
            &[
                "it.each([[1, 2]])('adds %i', (n) => {});",
                "it.each`n\n${1}`('adds $n', () => {});".replace("$n", "%i").as_str(),
            ],
        );
    }
    runs("k.test.js", "adds 3 to redis", &["test.each(cases)('adds $n to ${name}', () => {});"]);
}

#[test]
fn javascript_tests_that_do_not_run() {
    refused(
        "k.test.js",
        "it holds",
        &[
            ("// it('it holds', () => {})", "missing"),
            ("/* it('it holds', () => {}) */", "missing"),
            ("const text = \"it('it holds', () => {})\";", "missing"),
            ("const text = `it('it holds', () => {})`;", "missing"),
            ("visit('it holds', () => {});", "missing"),
            ("runner.it('it holds', () => {});", "missing"),
            ("it('it ' + 'holds', () => {});", "missing"),
            ("it.skip('it holds', () => {});", "skipped"),
            ("test.skip('it holds', () => {});", "skipped"),
            ("xit('it holds', () => {});", "skipped"),
            ("xtest('it holds', () => {});", "skipped"),
            ("it.concurrent.skip('it holds', () => {});", "skipped"),
            ("test.fixme('it holds', () => {});", "skipped"),
            ("it.skip.each([1])('it holds', () => {});", "skipped"),
            ("it.todo('it holds');", "not written yet"),
            ("it('it holds');", "no function"),
            ("it.failing('it holds', () => {});", "expected to fail"),
            ("it.skipIf(!process.env.REDIS)('it holds', () => {});", "may be skipped"),
            ("test.runIf(x)('it holds', () => {});", "may be skipped"),
            ("describe.skip('a', () => { it('it holds', () => {}); });", "skipped"),
            ("xdescribe('a', () => { describe('b', () => { it('it holds', () => {}); }); });", "skipped"),
            ("describe.skip(name, () => { describe('b', () => { it('it holds', () => {}); }); });", "missing"),
            ("test('it holds', { skip: true }, () => {});", "options"),
            ("test('it holds', { todo: 'later' }, () => {});", "options"),
            ("it('it holds', function () { this.skip(); });", "skips itself"),
            ("test('it holds', (t) => { t.skip('x'); });", "skips itself"),
            ("test('it holds', (t) => { if (!redis) { t.skip('x'); } });", "skips itself"),
            ("test('it holds', { skip }, () => {});", "options"),
            ("describe('a', () => { return; it('it holds', () => {}); });", "after a return"),
            ("<!-- it('it holds', () => {}) -->", "missing"),
            (
                "test.describe('a', () => { test.skip(process.platform === 'x', 'no'); test('it holds', () => {}); });",
                "may be skipped",
            ),
            ("it.only('other', () => {}); it('it holds', () => {});", "runs alone"),
            ("describe.only('a', () => { it('x', () => {}) }); it('it holds', () => {});", "runs alone"),
            ("fit('other', () => {}); it('it holds', () => {});", "runs alone"),
            ("if (process.env.REDIS) { it('it holds', () => {}); }", "condition"),
            ("function never() { it('it holds', () => {}); }", "condition"),
            ("const never = () => { it('it holds', () => {}); };", "condition"),
            ("it('other', () => { it('it holds', () => {}); });", "another test"),
            ("function it() {}\nit('it holds', () => {});", "function of the file itself"),
            ("const it = test.skip;\nit('it holds', () => {});", "function of the file itself"),
            (
                "describe('a', () => { it('it holds', () => {}) }); describe('b', () => { it('it holds', () => {}) });",
                "several: a it holds, b it holds",
            ),
        ],
    );
    refused("k.test.js", "anything", &[("it.each(cases)('%s', () => {});", "missing")]);
    refused("k.test.js", "adds 1", &[("it('adds %i', () => {});", "missing")]);
}

#[test]
fn go_tests_that_run_and_that_do_not() {
    let file = "package cache\n\nimport \"testing\"\n\nfunc TestKeys(t *testing.T) {\n\tt.Helper()\n\tif testing.Short() {\n\t\tt.Skip()\n\t}\n\tt.Run(\"an old key\", func(t *testing.T) {\n\t\tt.Run(\"deep\", func(t *testing.T) {})\n\t})\n\tfor _, c := range cases {\n\t\tt.Run(c.name, func(t *testing.T) {})\n\t\tt.Run(\"looped\", func(t *testing.T) {})\n\t}\n}\n\nfunc TestHalf(t *testing.T) {\n\tt.Run(\"gone\", func(t *testing.T) {\n\t\tt.Skip(\"x\")\n\t})\n\tt.Run(\"here\", func(t *testing.T) {})\n}\n";
    runs("cache/keys_test.go", "TestHalf/here", &[file]);
    refused("cache/keys_test.go", "TestHalf", &[(file, "one of its subtests")]);
    refused("cache/keys_test.go", "TestHalf/gone", &[(file, "skips itself")]);
    for name in ["TestKeys", "TestKeys/an_old_key", "TestKeys/an_old_key/deep"] {
        runs("cache/keys_test.go", name, &[file]);
    }
    for (name, why) in [("TestKeys/looped", "loop"), ("TestKeys/other", "missing"), ("TestKey", "missing")] {
        refused("cache/keys_test.go", name, &[(file, why)]);
    }
    runs(
        "keys_test.go",
        "TestIt",
        &[
            "//go:build linux && (amd64 || arm64) && !windows\n\npackage a\nfunc TestIt(t *testing.T) {}",
            "package a\nfunc TestIt(\n\tt *testing.T,\n) {}\n",
        ],
    );
    runs(
        "keys_linux_test.go",
        "TestIt",
        &["package a\nfunc TestIt(t *testing.T) { x := `\nfunc TestNo(t *testing.T) {}` }"],
    );
    refused(
        "keys_test.go",
        "TestIt",
        &[
            ("package a\n// func TestIt(t *testing.T) {}", "missing"),
            ("package a\nconst s = `func TestIt(t *testing.T) {}`", "missing"),
            ("package a\nfunc TestIt(t *testing.T) {\n\tt.Skip(\"flaky\")\n}", "skips itself"),
            ("package a\nfunc TestIt(t *testing.T) { t.SkipNow(); x() }", "skips itself"),
            ("package a\nfunc TestIt(t *testing.T) {\n\tif !redis {\n\t\tt.Skip()\n\t}\n}", "may skip itself"),
            ("package a\nfunc TestIt() {}", "one parameter"),
            ("package a\nfunc TestIt(m *testing.M) {}", "one parameter"),
            ("package a\nfunc (s *Suite) TestIt() {}", "method"),
            ("//go:build ignore\n\npackage a\nfunc TestIt(t *testing.T) {}", "not built"),
            ("//go:build integration\n\npackage a\nfunc TestIt(t *testing.T) {}", "not built"),
            ("// +build ignore\n\npackage a\nfunc TestIt(t *testing.T) {}", "not built"),
        ],
    );
    refused("keys_test.go", "Testit", &[("package a\nfunc Testit(t *testing.T) {}", "named Test")]);
    refused("keys_test.go", "BenchmarkIt", &[("package a\nfunc BenchmarkIt(b *testing.B) {}", "named Test")]);
    let test = "package a\nfunc TestIt(t *testing.T) {}";
    refused("keys.go", "TestIt", &[(test, "_test.go")]);
    refused("keys_windows_test.go", "TestIt", &[(test, "only for windows")]);
    refused("testdata/keys_test.go", "TestIt", &[(test, "testdata")]);
}

#[test]
fn java_and_kotlin_tests_that_run_and_that_do_not() {
    let class = |body: &str| {
        format!(
            "package com.example;\n\nimport org.junit.jupiter.api.Test;\n\n/** @Test */\nclass KeysTest {{\n    private final Cache cache = new Cache();\n    private static final String[] A = {{\"a\"}};\n\n{body}\n}}\n"
        )
    };
    for body in [
        "@Test\nvoid keeps() {}",
        "@Test\n@DisplayName(\"keeps keys\")\npublic void keeps() throws IOException { other(); }",
        "@org.junit.Test(expected = X.class)\npublic void keeps() {}",
        "@ParameterizedTest\n@ValueSource(ints = {1, 2})\nvoid keeps(int n) {}",
        "void helper() { keeps(); }\n@Test\nvoid keeps() {}",
    ] {
        runs("src/test/java/com/example/KeysTest.java", "keeps", &[&class(body)]);
        runs("src/test/java/com/example/KeysTest.java", "KeysTest::keeps", &[&class(body)]);
    }
    for (body, why) in [
        ("void keeps() {}", "without @Test"),
        ("// @Test\nvoid keeps() {}", "without @Test"),
        ("String s = \"@Test void keeps() {}\";", "missing"),
        ("@Disabled(\"flaky\")\n@Test\nvoid keeps() {}", "skipped"),
        ("@Test\n@Ignore\npublic void keeps() {}", "skipped"),
        ("@Test(enabled = false)\npublic void keeps() {}", "enabled = false"),
        ("@Test\n@EnabledIfEnvironmentVariable(named = \"CI\", matches = \"x\")\nvoid keeps() {}", "may be skipped"),
        ("@Test\nprivate void keeps() {}", "private"),
        ("class Inner { @Test void keeps() {} }", "@Nested"),
        ("@Test\nvoid keeps() { assumeTrue(redis); }", "assumption"),
    ] {
        refused("src/test/java/com/example/KeysTest.java", "keeps", &[(&class(body), why)]);
    }
    runs("KeysTest.java", "KeysTest::Inner::keeps", &[&class("@Nested\nclass Inner { @Test void keeps() {} }")]);
    refused(
        "KeysTest.java",
        "keeps",
        &[
            ("@Disabled\nclass KeysTest { @Test void keeps() {} }", "skipped"),
            ("abstract class KeysTest { @Test void keeps() {} }", "abstract"),
            ("interface KeysTest { @Test default void keeps() {} }", "interface"),
        ],
    );
    runs("KeysTest.java", "testKeeps", &["public class KeysTest extends TestCase { public void testKeeps() {} }"]);
    let kotlin = "package com.example\n\ndata class Key(val id: Int)\n\nclass KeysTest {\n    private val a = listOf(\"x\").map { it }\n\n    @Test\n    fun `keeps a key, always`() = runTest {\n        \"${if (a) \"}\" else \"{\"}\"\n    }\n\n    @Test fun plain() { fun local() {} }\n\n    @Ignore @Test fun gone() {}\n    fun helper() {}\n}\n";
    runs("KeysTest.kt", "keeps a key, always", &[kotlin]);
    runs("KeysTest.kt", "KeysTest::plain", &[kotlin]);
    refused("KeysTest.kt", "gone", &[(kotlin, "skipped")]);
    refused("KeysTest.kt", "helper", &[(kotlin, "without @Test")]);
}
