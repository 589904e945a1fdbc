//! Task-list boxes of Markdown, found by byte.

/// A task-list box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checkbox<'a> {
    /// Offset of the character between the brackets.
    pub mark_at: usize,
    /// Whether it is ticked.
    pub ticked: bool,
    /// What follows on its line.
    pub text: &'a str,
}

/// The box of a line, if it is an item of a task list: `- [ ] text`, `* [x] text`, `1. [X] text`, indented or
/// not.
pub(super) fn parse_checkbox(line: &str) -> Option<Checkbox<'_>> {
    let item = item_text(line)?;
    let mut letters = item.chars();
    let (open, mark, close, space) = (letters.next()?, letters.next()?, letters.next()?, letters.next()?);
    if open != '[' || close != ']' || !matches!(mark, ' ' | 'x' | 'X') || !matches!(space, ' ' | '\t') {
        return None;
    }
    let mark_at = line.len() - item.len() + 1;
    Some(Checkbox { mark_at, ticked: mark != ' ', text: letters.as_str() })
}

/// What follows a list marker and its spaces; `None` where the line is no list item.
pub(super) fn item_text(line: &str) -> Option<&str> {
    let line = line.trim_start_matches([' ', '\t']);
    let rest = match line.as_bytes().first()? {
        b'-' | b'*' | b'+' => &line[1..],
        b'0'..=b'9' => {
            let digits = line.bytes().take_while(u8::is_ascii_digit).count();
            // Markdown's own limit: a number of more digits is no list marker.
            let marker = line.as_bytes().get(digits).filter(|_| digits <= 9)?;
            if !b".)".contains(marker) {
                return None;
            }
            &line[digits + 1..]
        }
        _ => return None,
    };
    let text = rest.trim_start_matches([' ', '\t']);
    (text.len() < rest.len()).then_some(text)
}

/// A text as criteria and boxes are compared: without emphasis and backticks, spaces collapsed, no full stop at
/// the end.
pub(super) fn normalized(text: &str) -> String {
    let bare: String = text.chars().filter(|letter| !matches!(letter, '*' | '_' | '`' | '~')).collect();
    let words: Vec<&str> = bare.split_whitespace().collect();
    words.join(" ").trim_end_matches('.').trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_items_of_task_lists_are_boxes() {
        for line in ["- [ ] a", "* [x] a", "+ [X] a", "1. [ ] a", "12) [x] a", "\t  -   [ ]  a"] {
            let found = parse_checkbox(line).unwrap_or_else(|| panic!("{line:?}"));
            assert_eq!(found.text.trim(), "a");
            assert_eq!(&line[found.mark_at - 1..found.mark_at], "[");
        }
        for line in
            ["-[ ] a", "- [] a", "- [ ]a", "- [y] a", "[ ] a", "- [ ]", "1234567890. [ ] a", "-- [ ] a", "# - [ ] a"]
        {
            assert_eq!(parse_checkbox(line), None, "{line:?}");
        }
    }

    #[test]
    fn markup_and_spaces_do_not_make_another_text() {
        assert_eq!(
            normalized("  **Graceful**  fallback\tif `Redis` is _down_. "),
            "Graceful fallback if Redis is down"
        );
        assert_ne!(normalized("Hit rate > 60 %"), normalized("Hit rate > 70 %"));
    }
}
