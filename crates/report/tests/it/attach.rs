//! Attaching a verdict changes nothing of a story but its block and its boxes.

use cacheproof_core::journal::TestResult;
use cacheproof_report::attach::{StoryError, attach_to};
use cacheproof_verdict::{CriterionResult, Finding, NamedTest, Ruling, Verdict};
use proptest::prelude::*;

const BEGIN: &str = "<!-- cacheproof:begin -->";
const END: &str = "<!-- cacheproof:end -->";

pub fn verdict(criteria: &[(&str, Ruling)]) -> Verdict {
    let criterion = |(says, ruling): &(&str, Ruling)| CriterionResult {
        says: (*says).to_owned(),
        ruling: *ruling,
        rules: Vec::new(),
        tests: Vec::new(),
    };
    Verdict {
        ruling: Ruling::Pass,
        summary: "It is so.".to_owned(),
        criteria: criteria.iter().map(criterion).collect(),
        validity: Vec::new(),
        faults: Vec::new(),
    }
}

fn block(text: &str) -> String {
    format!("{BEGIN}\n\n{text}\n\n{END}")
}

#[test]
fn exactly_the_boxes_of_criteria_change() {
    let story = "# Story\n\
        - [ ] Hit rate > 60 %\n\
        * [X] **No stale data** returned\tto `users`.\n\
        \x20   1. [x] Graceful fallback\n\
        - [ ] Graceful fallback, and more\n\
        - [ ] Wrapped over\n  two lines\n\
        - [x] Not ours\n\
        text - [ ] Hit rate > 60 %\n\
        ```md\n- [ ] Hit rate > 60 %\n```\n\
        <!--\n- [ ] Hit rate > 60 %\n-->\n";
    let verdict = verdict(&[
        ("Hit rate > 60 %", Ruling::Pass),
        ("No stale data returned to users", Ruling::Pass),
        ("Graceful fallback", Ruling::Inconclusive),
        ("Wrapped over two lines.", Ruling::Pass),
        ("Nowhere", Ruling::Fail),
    ]);
    let attached = attach_to(story, &verdict, "B").unwrap();
    let wanted = story
        .replacen("- [ ] Hit rate", "- [x] Hit rate", 1)
        .replace("1. [x] Graceful", "1. [ ] Graceful")
        .replace("- [ ] Wrapped", "- [x] Wrapped");
    assert_eq!(attached.text, format!("{wanted}\n{}\n", block("B")));
    assert_eq!(attached.ticked, ["Hit rate > 60 %", "Wrapped over two lines."]);
    assert_eq!(attached.unticked, ["Graceful fallback"]);
    assert_eq!(attached.unchanged, ["No stale data returned to users"]);
    assert_eq!(attached.without_box, ["Nowhere"]);
}

#[test]
fn two_criteria_of_the_same_words_need_both_to_pass() {
    let verdict = verdict(&[("It works", Ruling::Pass), ("It works.", Ruling::Fail)]);
    let attached = attach_to("- [x] It works\n", &verdict, "B").unwrap();
    assert!(attached.text.starts_with("- [ ] It works\n"), "{}", attached.text);
}

#[test]
fn a_doubtful_run_ticks_nothing_and_unticks_what_an_earlier_one_ticked() {
    let mut verdict = verdict(&[("It works", Ruling::Pass), ("A test proves it", Ruling::Pass)]);
    verdict.criteria[1].tests = vec![NamedTest { name: "t.rs::it_holds".to_owned(), result: TestResult::default() }];
    let finding = |blocking| Finding { blocking, text: "The generator was saturated.".to_owned() };
    let story = "- [x] It works\n- [ ] A test proves it\n";
    verdict.validity = vec![finding(false), finding(true)];
    let attached = attach_to(story, &verdict, "B").unwrap();
    assert!(attached.text.starts_with("- [ ] It works\n- [ ] A test proves it\n"), "{}", attached.text);
    assert_eq!(attached.unticked, ["It works"]);
    verdict.validity = vec![finding(false)];
    let attached = attach_to(story, &verdict, "B").unwrap();
    assert!(attached.text.starts_with("- [x] It works\n- [x] A test proves it\n"), "{}", attached.text);
}

#[test]
fn a_block_is_replaced_in_place_and_boxes_inside_it_are_not_the_storys() {
    let story = format!("before\n  {}  \nafter\n", block("- [ ] It works\n```\nan open fence"));
    let attached = attach_to(&story, &verdict(&[("It works", Ruling::Pass)]), "new").unwrap();
    assert_eq!(attached.text, format!("before\n  {}  \nafter\n", block("new")));
    assert_eq!(attached.without_box, ["It works"]);
}

#[test]
fn line_ends_and_a_missing_last_one_stay_as_they_are() {
    let verdict = verdict(&[("It works", Ruling::Pass)]);
    let attach = |story: &str| attach_to(story, &verdict, "B\nC").unwrap().text;
    let crlf = format!("{BEGIN}\r\n\r\nB\r\nC\r\n\r\n{END}");
    assert_eq!(attach("a  \r\n- [ ] It works\r\n"), format!("a  \r\n- [x] It works\r\n\r\n{crlf}\r\n"));
    assert_eq!(attach("a"), format!("a\n\n{}", block("B\nC")));
    assert_eq!(attach("a\n\n\n"), format!("a\n\n\n{}\n", block("B\nC")));
    assert_eq!(attach(""), format!("{}\n", block("B\nC")));
}

#[test]
fn a_story_whose_end_is_code_or_a_comment_is_left_alone_with_a_reason() {
    let refused = |story: &str| attach_to(story, &verdict(&[]), "B").unwrap_err();
    assert_eq!(refused("a\n```rust\nb\n"), StoryError::OpenFence(2));
    assert_eq!(refused("a\n<!-- b\n"), StoryError::OpenComment(2));
    assert_eq!(refused(&format!("{BEGIN}\na\n")), StoryError::NoEnd(1));
    let twice = format!("{0}\n{0}\n", block("B"));
    assert_eq!(refused(&twice), StoryError::SecondBlock(6));
}

#[test]
fn text_behind_a_block_without_end_is_never_taken_for_the_block() {
    let refused = |story: &str| attach_to(story, &verdict(&[]), "B").unwrap_err();
    // The end that follows is that of the second block.
    assert_eq!(refused(&format!("a\n\n{BEGIN}\n\nmy text\n\n{}\n", block("B"))), StoryError::NoEnd(3));
    assert_eq!(refused(&format!("{BEGIN}\r\n\r\nmy text\r\n\r\n{BEGIN}\r\n{END}\r\n")), StoryError::NoEnd(1));
    // It is shown as code.
    for code in [format!("```\n{BEGIN}\n{END}\n```"), format!("~~~md\n{END}\n~~~"), format!("    {END}")] {
        assert_eq!(refused(&format!("{BEGIN}\n\nmy text\n\n{code}\n")), StoryError::NoEnd(1), "{code}");
        // With its own end the block ends there.
        let story = format!("{BEGIN}\n\nold\n\n{END}\n\nmy text\n\n{code}\n");
        let expected = format!("{}\n\nmy text\n\n{code}\n", block("B"));
        assert_eq!(attach_to(&story, &verdict(&[]), "B").unwrap().text, expected);
        // Code in the block does not end it.
        let story = format!("{BEGIN}\n\n{code}\n\n{END}\n\nmy text\n");
        assert_eq!(attach_to(&story, &verdict(&[]), "B").unwrap().text, format!("{}\n\nmy text\n", block("B")));
    }
}

#[test]
fn markers_shown_as_code_are_no_block() {
    let story = format!("Put this:\n```\n{BEGIN}\n{END}\n```\n");
    let once = attach_to(&story, &verdict(&[]), "B").unwrap().text;
    assert_eq!(once, format!("{story}\n{}\n", block("B")));
    assert_eq!(attach_to(&once, &verdict(&[]), "B").unwrap().text, once);
}

/// Lines of stories: all that may confuse, in any order.
fn line() -> impl Strategy<Value = String> {
    let says = prop::sample::select(vec!["It works", "**It** works.", "Two  words", "other", "It works, mostly"]);
    let bullet =
        prop::sample::select(vec!["- [ ] ", "* [x] ", "1. [X] ", "   - [ ] ", "- [y] ", "-[ ] ", "> - [ ] ", ""]);
    prop_oneof![
        6 => (bullet, says).prop_map(|(bullet, says)| format!("{bullet}{says}")),
        1 => prop::sample::select(vec!["```", "~~~", "````md", "<!--", "-->", "<!-- x -->", "", "  ", "# Title"])
            .prop_map(str::to_owned),
        1 => "\\PC{0,20}",
    ]
}

fn story() -> impl Strategy<Value = String> {
    let ends = prop::sample::select(vec!["\n", "\r\n"]);
    (prop::collection::vec(line(), 0..14), ends, any::<bool>(), prop::option::of(0usize..14)).prop_map(
        |(mut lines, end, last, block_at)| {
            if let Some(at) = block_at {
                let at = at.min(lines.len());
                lines.splice(at..at, [BEGIN, "old", "- [ ] It works", END].map(str::to_owned));
            }
            let mut text = lines.join(end);
            if last {
                text.push_str(end);
            }
            text
        },
    )
}

/// A text with every box emptied.
fn emptied(text: &str) -> String {
    text.replace("[x]", "[ ]").replace("[X]", "[ ]")
}

/// Whether `story` is the text around the new block, but for boxes: with an earlier block between the two
/// parts, or with nothing but line ends added before the block at its end.
fn is_around(story: &str, before: &str, after: &str) -> bool {
    let (story, before, after) = (emptied(story), emptied(before), emptied(after));
    let replaced = story
        .strip_prefix(&before)
        .and_then(|rest| rest.strip_suffix(&after))
        .is_some_and(|old| old.starts_with(BEGIN) && old.ends_with(END));
    let only_ends = |text: &str| text.chars().all(|letter| matches!(letter, '\r' | '\n'));
    replaced || (only_ends(&after) && before.strip_prefix(&story).is_some_and(only_ends))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_other_byte_stays_and_twice_is_once(story in story(), works: bool) {
        let ruling = if works { Ruling::Pass } else { Ruling::Fail };
        let verdict = verdict(&[("It works", ruling), ("Two words", Ruling::Pass)]);
        if let Ok(once) = attach_to(&story, &verdict, "A\n\nB") {
            let line_end = if story.contains("\r\n") { "\r\n" } else { "\n" };
            let parts: Vec<&str> = once.text.split(&*block("A\n\nB").replace('\n', line_end)).collect();
            prop_assert_eq!(parts.len(), 2, "one block: {:?}", once.text);
            prop_assert!(is_around(&story, parts[0], parts[1]), "{:?} became {:?}", story, once.text);
            for (old, new) in story.lines().zip(parts[0].lines()).filter(|(old, new)| old != new && !new.is_empty()) {
                prop_assert!(new.contains("works") || new.contains("Two"), "{:?} became {:?}", old, new);
                prop_assert!(!new.contains("mostly"), "{:?} became {:?}", old, new);
            }
            let twice = attach_to(&once.text, &verdict, "A\n\nB").unwrap();
            prop_assert_eq!(&twice.text, &once.text);
            prop_assert!(twice.ticked.is_empty() && twice.unticked.is_empty());
        }
    }
}
