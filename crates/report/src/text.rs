//! Text from outside, made safe: names from scenario files, bodies and errors from apps and servers.

/// One line of at most `most` characters: control characters become spaces, those that turn the direction of
/// reading are dropped, what is cut off ends in `…`.
pub fn one_line(text: &str, most: usize) -> String {
    let mut line = String::new();
    let mut letters = 0;
    for letter in text.chars() {
        if is_bidi_control(letter) {
            continue;
        }
        let letter = if letter.is_control() { ' ' } else { letter };
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
            letter if letter.is_control() => '\u{fffd}',
            letter => letter,
        })
        .collect()
}

/// Marks that turn the direction of reading can make a text show another than it is.
fn is_bidi_control(letter: char) -> bool {
    matches!(letter, '\u{061c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// For HTML and XML, in text and in double-quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in lines(text).chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            letter => safe.push(letter),
        }
    }
    safe
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

/// With a space that is no line end between a number and its unit, and between thousands.
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

/// A line that holds pieces of code between backticks: those are shown as code, the rest as text. Where one backtick has no other, or
/// two have nothing between them, all stand for themselves: nothing may come together that was apart, such as the halves of a link.
pub(crate) fn render_code_spans(line: &str, show: impl Fn(&str) -> String, code: impl Fn(&str) -> String) -> String {
    let pieces: Vec<_> = line.split('`').collect();
    let empty = |(i, piece): (usize, &&str)| match i % 2 {
        1 => piece.trim().is_empty(),
        _ => piece.is_empty() && i > 0 && i + 1 < pieces.len(),
    };
    if pieces.len().is_multiple_of(2) || pieces.iter().enumerate().any(empty) {
        return show(line);
    }
    // Spaces beside the code are the line's own, which `show` would trim.
    let text = |piece: &str| {
        let gap = |there: bool| if there { " " } else { "" };
        let trimmed = piece.trim();
        if trimmed.is_empty() {
            return gap(!piece.is_empty()).to_owned();
        }
        format!("{}{}{}", gap(piece.starts_with(' ')), show(trimmed), gap(piece.ends_with(' ')))
    };
    let show = |(i, piece): (usize, &&str)| if i % 2 == 1 { code(piece) } else { text(piece) };
    pieces.iter().enumerate().map(show).collect()
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
        assert_eq!(escape("<a href='x'>&\u{1}"), "&lt;a href=&#39;x&#39;&gt;&amp;\u{fffd}");
        assert_eq!(markdown(hostile, 100), "&lt;script&gt;\\]\\]&gt;evil \\[31m &#124; \\`x\\` &#64;team");
        assert_eq!(code("a`b|c", 10), "``a`b\\|c``");
        assert_eq!(code("p95 <= 3ms", 20), "`p95 <= 3ms`");
        assert_eq!(code("<b>|`", 10), "<code>&lt;b&gt;&#124;\\`</code>");
        assert_eq!(one_line(&"x".repeat(10_000), 5), "xxxx…");
        assert_eq!(one_line("  two\n lines ", 20), "two lines");
    }

    #[test]
    fn what_is_between_backticks_is_code() {
        let shown = |line: &str| render_code_spans(line, |text| text.trim().to_uppercase(), |code| format!("<{code}>"));
        assert_eq!(shown("keys: `a:{id}`, `b` `c` and so on"), "KEYS: <a:{id}>, <b> <c> AND SO ON");
        assert_eq!(shown("proved by the test `t`"), "PROVED BY THE TEST <t>");
        for line in ["one ` alone, `two`", "http:``//x", "a` `b", "`a``b`"] {
            assert_eq!(shown(line), line.to_uppercase(), "as it stands");
        }
        assert_eq!(shown("none"), "NONE");
    }

    #[test]
    fn no_number_is_parted_from_its_unit() {
        assert_eq!(
            with_nonbreaking_spaces("100 % of 1 234 in 5 ms, 3 times"),
            "100\u{a0}% of 1\u{a0}234 in 5\u{a0}ms, 3 times"
        );
    }
}
