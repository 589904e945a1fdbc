//! Which boxes `attach` changes: those that a reader of the rendered page sees, with the text that he sees.

use std::fs;
use std::path::Path;

use cacheproof_report::attach::{AttachResult, LeftReason, Likeness, StoryError, attach_to};
use cacheproof_verdict::Ruling;

use crate::attach::verdict;

const BEGIN: &str = "<!-- cacheproof:begin -->";

/// The criteria of the tests, all with one ruling.
const CRITERIA: [&str; 4] = [
    "No stale data returned to users",
    "Hit rate > 60 % on read-heavy endpoints, shown by a load test",
    "Circuit breaker",
    "`GET /items/<id>` answers in < 5 ms & is *cached*",
];

pub fn attach(story: &str, ruling: Ruling) -> Result<AttachResult, StoryError> {
    attach_to(story, &verdict(&CRITERIA.map(|says| (says, ruling))), "B")
}

/// A new text without the block that was put at its end.
fn without_block(text: &str) -> &str {
    let at = text.rfind(BEGIN).unwrap_or_else(|| panic!("no block in {text:?}"));
    text[..at].trim_end_matches(['\r', '\n'])
}

#[test]
fn stories_get_ticks_where_a_reader_sees_boxes_and_lose_them_again() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories");
    let mut seen = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let Some(name) = path.to_str().and_then(|path| path.strip_suffix(".expected.md")) else { continue };
        let (plain, ticked) = (fs::read_to_string(format!("{name}.md")).unwrap(), fs::read_to_string(&path).unwrap());
        for (before, after, ruling) in [(&plain, &ticked, Ruling::Pass), (&ticked, &plain, Ruling::Fail)] {
            let attached = attach(before, ruling).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(without_block(&attached.text), after.trim_end_matches(['\r', '\n']), "{name}, {ruling:?}");
        }
        seen += 1;
    }
    assert_eq!(seen, 14);
}

/// Checks a story in which `[?]` is the box of a criterion and `[!]` is none: the first is set by the ruling, the second stays, ticked
/// or not, and `reported` of them are reported.
pub fn check(story: &str, reported: usize) {
    for state in [" ", "x"] {
        let plain = |ours: &str| story.replace("[?]", &format!("[{ours}]")).replace("[!]", &format!("[{state}]"));
        for (ruling, mark) in [(Ruling::Pass, "x"), (Ruling::Fail, " "), (Ruling::Inconclusive, " ")] {
            let attached = attach(&plain(state), ruling).unwrap_or_else(|error| panic!("{story:?}: {error}"));
            assert_eq!(
                without_block(&attached.text),
                plain(mark).trim_end_matches(['\r', '\n']),
                "{story:?}, {ruling:?}"
            );
            assert_eq!(attached.left.len(), reported, "{story:?}: {:?}", attached.left);
            let again = attach(&attached.text, ruling).map(|again| again.text);
            assert_eq!(again, Ok(attached.text), "{story:?}: twice is once");
        }
    }
}

#[test]
fn a_box_is_where_a_reader_sees_one() {
    for story in [
        // Markers of lists.
        "- [?] Circuit breaker\n",
        "* [?] Circuit breaker\n",
        "+ [?] Circuit breaker\n",
        "1. [?] Circuit breaker\n",
        "7) [?] Circuit breaker\n",
        "123456789. [?] Circuit breaker\n",
        "-   [?]   Circuit breaker  \n",
        "-\t[?]\tCircuit breaker\n",
        "   - [?] Circuit breaker\n",
        "- [?] Circuit breaker",
        "- [?] Circuit breaker\r\n- [?] Circuit breaker\r\n",
        "- [?] Circuit breaker\r- [?] Circuit breaker\r",
        "\u{feff}- [?] Circuit breaker\n",
        "text\n- [?] Circuit breaker\n",
        "- [?] Circuit breaker\n- [?] Circuit breaker\n",
        "- [?] Circuit breaker\n\n- [?] Circuit breaker\n",
        // In other things.
        "> - [?] Circuit breaker\n",
        ">- [?] Circuit breaker\n",
        "> > - [?] Circuit breaker\n",
        "> text\n>\n> 1. [?] Circuit breaker\n>    - [?] No stale data returned to users\n",
        "> [!NOTE]\n> - [?] Circuit breaker\n",
        "- - [?] Circuit breaker\n",
        "- > - [?] Circuit breaker\n",
        "- a\n    - b\n        - [?] Circuit breaker\n            - [?] No stale data returned to users\n",
        "1. a\n\n   - [?] Circuit breaker\n",
        "- [ ] all of these\n  - [?] Circuit breaker\n  - [?] No stale data returned to users\n",
        "- [?] Circuit breaker\n  - [?] No stale data returned to users\n",
        "<details>\n<summary>Criteria</summary>\n\n- [?] Circuit breaker\n\n</details>\n",
        "<div>\n\n- [?] Circuit breaker\n</div>\n",
        "text[^1]\n\n[^1]: - [?] Circuit breaker\n",
        "text[^a]\n\n[^A]: see[^b]\n[^b]:\n    - [?] Circuit breaker\n",
        // After things that end.
        "# Title\n- [?] Circuit breaker\n---\n- [?] Circuit breaker\n",
        "```\n[ ]\n```\n- [?] Circuit breaker\n",
        "- ~~~\n  code\n\n- [?] Circuit breaker\n",
        "> ```\n> code\n\n- [?] Circuit breaker\n",
        "1. ```sh\n   code\n2. [?] Circuit breaker\n",
        "<!-- a\n\n-->\n- [?] Circuit breaker\n",
        "<pre>\n\n</pre>\n- [?] Circuit breaker\n",
        "text <!-- no comment\n\n- [?] Circuit breaker\n",
        "`<!--`\n\n- [?] Circuit breaker\n",
        "| a |\n|---|\n| b |\n\n- [?] Circuit breaker\n",
        "---\n\n- [?] Circuit breaker\n\n---\n\n- [?] Circuit breaker\n",
        "---\na: b\n---\n- [?] Circuit breaker\n\n---\n\n- [?] Circuit breaker\n\n---\n",
        "+++\na = 1\n+++\n- [?] Circuit breaker\n",
        "[a]: https://a.example 'title'\n- [?] Circuit breaker\n",
        "[x]: https://a.example\n\n- [?] Circuit breaker\n",
    ] {
        check(story, 0);
    }
}

#[test]
fn the_text_of_a_box_is_what_a_reader_sees() {
    for story in [
        // Marks that are not shown.
        "- [?] **Circuit breaker**\n",
        "- [?] *Circuit* __breaker__\n",
        "- [?] ***Circuit* breaker**\n",
        "- [?] `Circuit breaker`\n",
        "- [?] ``Circuit breaker``.\n",
        "- [?] [Circuit breaker](https://a.example \"title\")\n",
        "- [?] [Circuit breaker][ref]\n\n[ref]: https://a.example\n",
        "- [?] [Circuit breaker][]\n\n[circuit breaker]: <https://a.example>\n",
        "- [?] [Circuit breaker]\n\n[circuit breaker]: https://a.example\n",
        "- [?] **[Circuit](a) `breaker`**\n",
        "- [?] <b>Circuit</b> <span class=\"a\">breaker</span>\n",
        "- [?] <a href=\"https://a.example\">Circuit breaker</a>\n",
        "- [?] <!-- id --> Circuit breaker <!-- done -->\n",
        "- [?] Circuit breaker<!--\n  over lines -->\n",
        "- [?] Circuit breaker\n  <!-- a block -->\n",
        "- [?] Circuit breaker[^1]\n\n[^1]: A note.\n",
        "- [?] ![](icon.png) Circuit breaker\n",
        "- [?] Circuit breaker [![AB-12](badge.svg)](https://a.example)\n",
        "- [?] Circuit breaker <img src=\"a.png\" alt=\"a\">\n",
        // Escapes and entities.
        "- [?] Circuit\\\n  breaker\n",
        "- [?] Hit rate &gt; 60&nbsp;&#37; on read&#x2D;heavy endpoints&comma; shown by a load test\n",
        "- [?] Hit rate \\> 60 \\% on read\\-heavy endpoints\\, shown by a load test\\.\n",
        "- [?] `GET /items/<id>` answers in &lt; 5 ms &amp; is *cached*\n",
        "- [?] `GET /items/<id>` answers in < 5 ms & is _cached_\n",
        "- [?] \\`GET /items/\\<id\\>\\` answers in \\< 5 ms \\& is \\*cached\\*\n",
        // Lines and spaces.
        "- [?] Circuit\nbreaker\n",
        "- [?] Circuit\n  breaker\n",
        "- [?] Circuit\n              breaker\n",
        "- [?] Circuit  \n  breaker\n",
        "- [?] Circuit<br>breaker\n",
        "- [?] Circuit <br/> breaker\n",
        "- [?] Circuit\tbreaker\n",
        "- [?] Circuit\u{a0}breaker\n",
        "- [?] Cir\u{ad}cuit \u{200b}breaker\u{a0}\n",
        "- [?] Circuit\r\nbreaker\r\n",
        "- [?] Hit rate > 60 % on read-heavy endpoints,\n  shown by\n  a load test\n",
        "> - [?] Hit rate > 60 %\n>   on read-heavy endpoints,\n> shown by\na load test\n",
        "> - [?] Hit rate \\> 60 % on read-heavy endpoints,\\\n>   shown by a load test\n",
        "- [?] Circuit breaker\n\n      code\n",
        "- [?] Circuit breaker\n  ```\n  code\n  ```\n",
        "- [?] Circuit breaker\n  > a quote\n",
        "- [?] Circuit breaker\n  - measured by hand\n",
        "- [?] Circuit breaker\n# Title\n",
        "- [?]\n  Circuit breaker\n",
        "- [?] \n  Circuit breaker\n\n- another\n",
    ] {
        check(story, 0);
    }
}

#[test]
fn what_a_reader_does_not_see_as_a_box_keeps_every_byte() {
    for story in [
        // Code.
        "```\n- [!] Circuit breaker\n```\n",
        "````md\n```\n- [!] Circuit breaker\n```\n- [!] Circuit breaker\n````\n",
        "~~~\n- [!] Circuit breaker\n```\n~~~\n",
        "> ```\n> - [!] Circuit breaker\n> ```\n",
        "- ```\n  - [!] Circuit breaker\n  ```\n",
        "text\n\n    - [!] Circuit breaker\n",
        "\t- [!] Circuit breaker\n",
        "-     - [!] Circuit breaker\n",
        "1. text\n\n       - [!] Circuit breaker\n",
        ">     - [!] Circuit breaker\n",
        "-     [!] Circuit breaker\n",
        // HTML.
        "<!-- - [!] Circuit breaker -->\n",
        "<!--\n\n- [!] Circuit breaker\n\n-->\n",
        "<pre>\n- [!] Circuit breaker\n\n- [!] Circuit breaker\n</pre>\n",
        "<PRE class=\"a\">\n\n- [!] Circuit breaker\n</pre>\n",
        "<div>\n- [!] Circuit breaker\n</div>\n",
        "<table><tr><td>\n- [!] Circuit breaker\n</td></tr></table>\n",
        "<script>\n\n- [!] Circuit breaker\n</script>\n",
        "<textarea>\n\n- [!] Circuit breaker\n</textarea>\n",
        "<?php\n\n- [!] Circuit breaker\n?>\n",
        "<![CDATA[\n\n- [!] Circuit breaker\n]]>\n",
        "<custom-element>\n- [!] Circuit breaker\n",
        // Front matter.
        "---\na: b\nlist:\n  - [!] Circuit breaker\n---\n",
        "---\nlist:\n- [!] Circuit breaker\n...\n",
        "\u{feff}---\r\nlist:\r\n  - [!] Circuit breaker\r\n---\r\n",
        "+++\nlist = \"\"\"\n- [!] Circuit breaker\n\"\"\"\n+++\n",
        // Addresses.
        "[a]: https://a.example \"- [!] Circuit breaker\"\n",
        "[a](https://a.example \"- [!] Circuit breaker\")\n",
        "![- [!] Circuit breaker](a.png)\n",
        // Other texts.
        "- [!] Not ours\n",
        "- [!]\n\n  Circuit breaker\n",
        "- [!]\n  - Circuit breaker\n",
        "- [!] \n",
        "- [!] Graceful fallback if Redis is down\n",
    ] {
        check(story, 0);
    }
}

#[test]
fn what_is_nearly_the_box_of_a_criterion_is_left_and_reported() {
    for story in [
        "- [!] No stale data returned to users within a minute\n",
        "- [!] No stale data returned to users\n  within a minute of any write\n",
        "- [!] No stale data returned to users\nwithin a minute of any write\n",
        "- [!] No stale data returned to users<br>within a minute\n",
        "- [!] No stale data\n",
        "- [!] no stale data returned to users\n",
        "- [!] No stale data returned to users!\n",
        "- [!] “No stale data returned to users”\n",
        "- [!] No stale data retuned to users\n",
        "- [!] No stale data is returned to users\n",
        "- [!] Hit rate > 70 % on read-heavy endpoints, shown by a load test\n",
        "- [!] Hit rate < 60 % on read-heavy endpoints, shown by a load test\n",
        "- [!] Hit rate ≥ 60 % on read‑heavy endpoints, shown by a load test\n",
        "> - [!] Circuit breaker for Redis\n",
        "- [!] Circuit breaker\n  :rocket:\n",
        // Struck out.
        "- [!] ~~Circuit breaker~~\n",
        "- [!] ~Circuit breaker~\n",
        "- [!] **~~Circuit~~ breaker**\n",
        "- [!] <del>Circuit breaker</del>\n",
        "- [!] <S>Circuit breaker</S>\n",
        "- [!] ~~Fast~~ Circuit breaker\n",
        "- [!] Circuit breaker ~~for Redis~~\n",
        "<del>\n\n- [!] Circuit breaker\n\n</del>\n",
        // No boxes of a task list.
        "[!] Circuit breaker\n",
        "text\n[!] Circuit breaker\n",
        "-[!] Circuit breaker\n",
        "-\n  [!] Circuit breaker\n",
        "- \\[!] Circuit breaker\n",
        "- [!]Circuit breaker\n",
        "- [!]\u{a0}Circuit breaker\n",
        "- text [!]\n\n  [!] Circuit breaker\n",
        "`- [!] Circuit breaker`\n",
        "1234567890. [!] Circuit breaker\n",
        "text\n2. [!] Circuit breaker\n",
        "# [!] Circuit breaker\n",
        "| [!] Circuit breaker |\n|---|\n",
        "- [!] Circuit breaker\n  ===\n",
        // Not shown.
        "[^1]: - [!] Circuit breaker\n",
        "a[^1]\n\n[^1]: b\n[^1]: - [!] Circuit breaker\n",
        "<details>\n<!--\n\n- [!] Circuit breaker\n\n<p>--></p>\n</details>\n",
    ] {
        check(story, 1);
    }
}

#[test]
fn other_marks_are_no_boxes_and_are_reported() {
    for story in [
        "- [y] Circuit breaker\n",
        "- [] Circuit breaker\n",
        "- [\u{a0}] Circuit breaker\n",
        "☑ Circuit breaker\n",
        "- <input type=\"checkbox\" checked> Circuit breaker\n",
    ] {
        check(story, 1);
    }
    // A tab or a capital between the brackets is a box.
    for (story, after) in [("- [\t] Circuit breaker\n", Ruling::Pass), ("- [X] Circuit breaker\n", Ruling::Fail)] {
        let mark = if after == Ruling::Pass { "x" } else { " " };
        let attached = attach(story, after).unwrap();
        assert_eq!(without_block(&attached.text), format!("- [{mark}] Circuit breaker"));
    }
    let attached = attach("- [X] Circuit breaker\n", Ruling::Pass).unwrap();
    assert_eq!(without_block(&attached.text), "- [X] Circuit breaker", "it is ticked already");
}

#[test]
fn a_report_names_the_line_the_text_and_the_reason() {
    let story = "---\na: b\n---\n\n- [x] ~~Circuit\n  breaker~~\r\n- [ ] Circuit\n  breakers\n\n[x] Circuit breaker\n\n\
        - [ ] Circuit breaker:\n- [ ] No stale data returned to users, ever\n- [ ] No stale data\n\n[^1]: - [ ] Circuit breaker\n";
    let attached = attach(story, Ruling::Pass).unwrap();
    let left: Vec<_> =
        attached.left.iter().map(|left| (left.line, left.ticked, left.text.as_str(), left.reason)).collect();
    assert_eq!(
        left,
        [
            (5, true, "Circuit breaker", LeftReason::StruckOut),
            (7, false, "Circuit breakers", LeftReason::Text(Likeness::OtherWords)),
            (10, true, "Circuit breaker", LeftReason::NoBox),
            (12, false, "Circuit breaker:", LeftReason::Text(Likeness::Punctuation)),
            (13, false, "No stale data returned to users, ever", LeftReason::Text(Likeness::SaysMore)),
            (14, false, "No stale data", LeftReason::Text(Likeness::SaysLess)),
            (16, false, "Circuit breaker", LeftReason::Hidden),
        ]
    );
    assert_eq!(attached.left[4].criterion, CRITERIA[0]);
    assert_eq!(attached.without_box, CRITERIA);
}

#[test]
fn more_paragraphs_below_a_ticked_box_are_told() {
    let story =
        "- [ ] Circuit breaker\n\n  It opens after 5 errors.\n- [ ] No stale data returned to users\n  - a list\n";
    assert_eq!(attach(story, Ruling::Pass).unwrap().goes_on, [1]);
    assert!(attach(story, Ruling::Fail).unwrap().goes_on.is_empty());
}

#[test]
fn every_box_of_a_criterion_is_set() {
    let story = "- [ ] Circuit breaker\n- [x] Circuit breaker\n\n> 1. [ ] **Circuit** breaker\n";
    let attached = attach(story, Ruling::Pass).unwrap();
    assert_eq!(without_block(&attached.text), story.replace("[ ]", "[x]").trim_end());
    assert_eq!(attached.ticked, ["Circuit breaker"]);
}
