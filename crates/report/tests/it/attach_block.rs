//! Where `attach` puts its block, whatever the story is.

use cacheproof_report::attach::StoryError;
use cacheproof_verdict::Ruling;
use proptest::prelude::*;

use crate::attach_markdown::{attach, check};

const BEGIN: &str = "<!-- cacheproof:begin -->";
const END: &str = "<!-- cacheproof:end -->";

#[test]
fn a_block_that_nobody_would_see_is_not_written() {
    for (story, error) in [
        ("a\n```rust\nb\n", StoryError::OpenFence(2)),
        ("- a\n\n~~~~\nb\n~~~\n", StoryError::OpenFence(3)),
        ("a\n<!-- b\n\nc\n", StoryError::OpenComment(2)),
        ("a\n\n<pre>\n- [ ] Circuit breaker\n\nb\n", StoryError::OpenHtml(3)),
    ] {
        assert_eq!(attach(story, Ruling::Pass), Err(error), "{story:?}");
    }
    // These end with what is around them.
    for story in
        ["- a\n  ```\n  b\n", "> ```\n> b\n", "> <pre>\n> b\n", "1. ~~~\n", "a <!-- b\n", "    ```\n", "<div>\n"]
    {
        check(story, 0);
    }
}

#[test]
fn a_block_stays_where_it_is_and_what_is_in_it_hides_nothing() {
    let block = |text: &str| format!("{BEGIN}\n\n{text}\n\n{END}");
    for old in ["old", "```\nopen", "<!-- open", "<pre>", "- [ ] Circuit breaker", "> - [ ] Circuit breaker\n> ~~~"] {
        for (before, after) in [
            ("", "\n\n- [x] Circuit breaker\n"),
            ("- [x] Circuit breaker\n", "\n"),
            ("- [x] Circuit breaker\n  ", "\n"),
            ("text\n    ", "\nmore\n"),
            ("<details>\n", "\n</details>\n\n- [x] Circuit breaker\n"),
            ("---\na: b\n---\n", "\n- [x] Circuit breaker\n\n---\n"),
            ("> a quote\n\n```\n<!-- cacheproof:begin -->\n```\n", "\n"),
        ] {
            let attached = attach(&format!("{before}{}{after}", block(old)), Ruling::Fail).unwrap();
            let emptied = |text: &str| text.replace("[x]", "[ ]");
            assert_eq!(attached.text, format!("{}{}{}", emptied(before), block("B"), emptied(after)), "{old:?}");
        }
    }
    // A marker in a quote, in code or in other text is none.
    for story in [
        format!("> {BEGIN}\n> a\n> {END}\n"),
        format!("`{BEGIN}`\n"),
        format!("    {BEGIN}\n"),
        format!("a {BEGIN}\n{END}\n"),
    ] {
        let attached = attach(&story, Ruling::Pass).unwrap();
        assert_eq!(attached.text, format!("{story}\n{}\n", block("B")));
    }
}

/// Twice the text takes twice the time, not four times; eight times the text takes less than half of what a quadratic cost would take.
#[test]
fn time_grows_as_the_text_does() {
    let pieces = [
        "- [ ] No stale data returned to users\n",
        "- [ ] No stale data returned to our users, nr 1\n> - [x] ~~Circuit~~ <del>breaker</del> [a][b] <!-- c -->\n\n",
        "text [x] **a** `b` <b>c</b>\n",
        "<div>\n<!-- -->\n\n",
        "[x] Circuit breakers\n",
        "[^1]: - [ ] Circuit breaker\n",
    ];
    for piece in pieces {
        let time = |bytes: usize| {
            let story = piece.repeat(bytes / piece.len());
            let fastest = |_| {
                let start = std::time::Instant::now();
                let attached = attach(&story, Ruling::Pass).unwrap();
                assert!(attached.text.len() > story.len());
                start.elapsed()
            };
            (0..3).map(fastest).min().unwrap()
        };
        let (small, large) = (time(40_000), time(320_000));
        assert!(large < small * 30, "{piece:?}: {small:?} for 40 kB, {large:?} for 320 kB");
    }
}

/// A text of pieces of Markdown in any order.
fn any_markdown() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "- [ ] ",
        "* [x] ",
        "1. [X] ",
        "Circuit breaker",
        "Circuit",
        "breaker",
        "\n",
        "\n",
        "\n\n",
        "\r\n",
        "\r",
        "> ",
        "  ",
        "    ",
        "\t",
        "- ",
        "2) ",
        "```",
        "~~~",
        "~~",
        "`",
        "*",
        "**",
        "_",
        "[",
        "]",
        "(",
        ")",
        "[^1]",
        "[^1]: ",
        "[a]: b\n",
        "![",
        "<",
        ">",
        "<!--",
        "-->",
        "<!S",
        "<?",
        "<pre>",
        "</pre>",
        "<del>",
        "</del>",
        "<div>",
        "</div>",
        "<b",
        "<br>",
        "&gt;",
        "&",
        "\\",
        "|",
        "|-|\n",
        "---",
        "+++",
        "===",
        "#",
        "a: b",
        "é",
        "\u{a0}",
        "\u{feff}",
        "<!-- cacheproof:begin -->",
        "<!-- cacheproof:end -->",
        "\n<!-- cacheproof:begin -->\n",
        "\n<!-- cacheproof:end -->\n",
        "\0",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn only_marks_between_brackets_change_and_twice_is_once(story in any_markdown(), ruling in prop::sample::select(vec![Ruling::Pass, Ruling::Fail])) {
        if let Ok(once) = attach(&story, ruling) {
            // The old text around its block, if it had one.
            let at = once.text.find(&format!("{BEGIN}\n\nB\n\n{END}")).or_else(|| once.text.find(&format!("{BEGIN}\r\n\r\nB"))).or_else(|| once.text.find(&format!("{BEGIN}\r\rB")));
            let at = at.expect("a block");
            for (index, (old, new)) in story.bytes().zip(once.text.bytes()).enumerate().take(at).filter(|(_, (old, new))| old != new) {
                prop_assert!(b" x".contains(&new) && b" xX\t".contains(&old), "byte {} of {:?} in {:?}", index, story, once.text);
                prop_assert_eq!((&story[index - 1..index], &story[index + 1..index + 2]), ("[", "]"));
            }
            let twice = attach(&once.text, ruling).expect("it was read before");
            prop_assert_eq!(&twice.text, &once.text);
            prop_assert!(twice.ticked.is_empty() && twice.unticked.is_empty());
        }
    }
}
