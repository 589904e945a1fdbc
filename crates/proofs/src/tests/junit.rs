//! What is read in a JUnit file, and what is refused.

use std::fs::write;

use super::Project;
use crate::junit::{Outcome, Started, cases};

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
