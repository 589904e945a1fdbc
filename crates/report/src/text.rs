//! Text from outside, made safe to show: names from scenario files, bodies and errors from apps and servers. HTML is escaped by the
//! template engine; what it does not know of, control characters and endless lines, is removed here.

/// One line of at most `most` characters: control characters become spaces, those that turn the direction of
/// reading are dropped, what is cut off ends in `…`.
pub fn one_line(text: &str, most: usize) -> String {
    let mut line = String::new();
    let mut letters = 0;
    for letter in text.chars() {
        if is_bidi_control(letter) {
            continue;
        }
        let letter = match letter {
            letter if letter.is_control() => ' ',
            letter if is_noncharacter(letter) => '\u{fffd}',
            letter => letter,
        };
        if letter == ' ' && (line.is_empty() || line.ends_with(' ')) {
            continue;
        }
        if letters + 1 > most {
            let cut = line.trim_end().len();
            line.truncate(cut);
            line.pop();
            line.push('…');
            return line;
        }
        line.push(letter);
        letters += 1;
    }
    line.truncate(line.trim_end().len());
    line
}

/// Several lines: as [`one_line`], but line ends and tabs stay.
pub(crate) fn lines(text: &str) -> String {
    text.replace("\r\n", "\n")
        .chars()
        .filter(|letter| !is_bidi_control(*letter))
        .map(|letter| match letter {
            '\n' | '\t' => letter,
            letter if letter.is_control() || is_noncharacter(letter) => '\u{fffd}',
            letter => letter,
        })
        .collect()
}

/// XML forbids these two; a figure that holds one would not be shown.
fn is_noncharacter(letter: char) -> bool {
    matches!(letter, '\u{fffe}' | '\u{ffff}')
}

/// Marks that turn the direction of reading can make a text show another than it is.
fn is_bidi_control(letter: char) -> bool {
    matches!(letter, '\u{061c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// For a line of Markdown or a cell of its tables: nothing in it is markup, a link or a mention.
pub(crate) fn markdown(text: &str, most: usize) -> String {
    let mut safe = String::new();
    for letter in one_line(text, most).chars() {
        match letter {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            // A mention would write to people; a hash would link an issue.
            '@' => safe.push_str("&#64;"),
            '#' => safe.push_str("&#35;"),
            '|' => safe.push_str("&#124;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '~' | '$' | '!' => {
                safe.push('\\');
                safe.push(letter);
            }
            letter => safe.push(letter),
        }
    }
    // Bare addresses would become links.
    safe.replace("://", ":&#47;&#47;")
}

/// For a code span of Markdown, with enough backticks around it. A pipe is written as a table needs it; what
/// could be a tag is spelled out, for renderers that look for tags first.
pub(crate) fn code(text: &str, most: usize) -> String {
    let text = one_line(text, most);
    let opens = |(at, _)| text[at + 1..].starts_with(|next: char| next.is_alphabetic() || "/!?".contains(next));
    if text.match_indices('<').any(opens) {
        return format!("<code>{}</code>", markdown(&text, most));
    }
    let text = text.replace('|', "\\|");
    let longest = text.split(|letter| letter != '`').map(str::len).max().unwrap_or(0);
    let ticks = "`".repeat(longest + 1);
    let space = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    if text.is_empty() { String::new() } else { format!("{ticks}{space}{text}{space}{ticks}") }
}

/// With no-break spaces between a number and its unit, and between thousands.
pub fn with_nonbreaking_spaces(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let joins = |at: usize| {
        let before = at.checked_sub(1).and_then(|before| letters.get(before));
        letters[at] == ' '
            && before.is_some_and(char::is_ascii_digit)
            && letters
                .get(at + 1)
                .is_some_and(|next| next.is_ascii_digit() || *next == '%' || is_unit(&letters[at + 1..]))
    };
    (0..letters.len()).map(|at| if joins(at) { '\u{a0}' } else { letters[at] }).collect()
}

fn is_unit(rest: &[char]) -> bool {
    let word: String = rest.iter().take_while(|letter| letter.is_alphabetic()).take(4).collect();
    ["ns", "µs", "ms", "s", "B", "KiB", "MiB", "GiB", "TiB"].contains(&word.as_str())
}

/// A piece of a line that holds code between backticks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Span<'a> {
    /// Plain text, without spaces at its ends.
    Text(&'a str),
    /// What was between two backticks.
    Code(&'a str),
    /// One space.
    Space,
}

/// Splits a line at its backticks into text and code. Where a backtick has no partner, or two have nothing between them, the whole
/// line is text: removing them could join what was apart, such as the halves of a link.
pub(crate) fn spans(line: &str) -> Vec<Span<'_>> {
    let pieces: Vec<_> = line.split('`').collect();
    let empty = |(i, piece): (usize, &&str)| match i % 2 {
        1 => piece.trim().is_empty(),
        _ => piece.is_empty() && i > 0 && i + 1 < pieces.len(),
    };
    if pieces.len().is_multiple_of(2) || pieces.iter().enumerate().any(empty) {
        return vec![Span::Text(line)];
    }
    let mut spans = Vec::new();
    for (i, piece) in pieces.into_iter().enumerate() {
        let trimmed = piece.trim();
        if i % 2 == 1 {
            spans.push(Span::Code(piece));
        } else if trimmed.is_empty() {
            spans.extend((!piece.is_empty()).then_some(Span::Space));
        } else {
            spans.extend(piece.starts_with(' ').then_some(Span::Space));
            spans.push(Span::Text(trimmed));
            spans.extend(piece.ends_with(' ').then_some(Span::Space));
        }
    }
    spans
}

/// A fence longer than any run of backticks inside.
pub(crate) fn fence(text: &str) -> String {
    let longest = text.split(|letter| letter != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(longest.max(2) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_stays_text() {
        let hostile = "<script>]]>\u{202e}evil\u{1}\u{1b}[31m | `x` @team";
        assert_eq!(one_line(hostile, 100), "<script>]]>evil [31m | `x` @team");
        assert_eq!(lines("a\r\n\tb\u{1}\u{202e}\u{ffff}"), "a\n\tb\u{fffd}\u{fffd}");
        assert_eq!(markdown(hostile, 100), "&lt;script&gt;\\]\\]&gt;evil \\[31m &#124; \\`x\\` &#64;team");
        assert_eq!(code("a`b|c", 10), "``a`b\\|c``");
        assert_eq!(code("p95 <= 3ms", 20), "`p95 <= 3ms`");
        assert_eq!(code("<b>|`", 10), "<code>&lt;b&gt;&#124;\\`</code>");
        assert_eq!(one_line(&"x".repeat(10_000), 5), "xxxx…");
        assert_eq!(one_line("  two\n lines ", 20), "two lines");
    }

    #[test]
    fn text_between_backticks_is_code() {
        let show = |span: &Span<'_>| match span {
            Span::Text(text) => text.to_uppercase(),
            Span::Code(code) => format!("<{code}>"),
            Span::Space => " ".to_owned(),
        };
        let shown = |line: &str| spans(line).iter().map(show).collect::<String>();
        assert_eq!(shown("keys: `a:{id}`, `b` `c` and so on"), "KEYS: <a:{id}>, <b> <c> AND SO ON");
        assert_eq!(shown("proved by the test `t`"), "PROVED BY THE TEST <t>");
        for line in ["one ` alone, `two`", "http:``//x", "a` `b", "`a``b`"] {
            assert_eq!(shown(line), line.to_uppercase(), "one piece of text");
        }
        assert_eq!(shown("none"), "NONE");
    }

    #[test]
    fn a_number_stays_on_one_line_with_its_unit() {
        assert_eq!(
            with_nonbreaking_spaces("100 % of 1 234 in 5 ms, 3 times"),
            "100\u{a0}% of 1\u{a0}234 in 5\u{a0}ms, 3 times"
        );
    }
}
