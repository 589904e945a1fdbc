//! Redis' pattern language, for the strategies that have no Redis: `*`, `?`, `[a-c]`, `[^x]`, `\` escapes.

/// Whether `text` matches `pattern`, the way `SCAN … MATCH` would see it.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    matches_bytes(pattern.as_bytes(), text.as_bytes())
}

fn matches_bytes(pattern: &[u8], text: &[u8]) -> bool {
    // Greedy with one point of return: linear in practice, at worst quadratic, never exponential.
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == b'*' {
            retry = Some((p + 1, t));
            p += 1;
            continue;
        }
        if t == text.len() {
            return pattern[p..].iter().all(|&b| b == b'*');
        }
        if let Some(next) = one(pattern, p, text[t]) {
            (p, t) = (next, t + 1);
        } else if let Some((after_star, from)) = retry {
            retry = Some((after_star, from + 1));
            (p, t) = (after_star, from + 1);
        } else {
            return false;
        }
    }
}

/// Where the pattern goes on when its element at `p` takes `byte`.
fn one(pattern: &[u8], p: usize, byte: u8) -> Option<usize> {
    match *pattern.get(p)? {
        b'?' => Some(p + 1),
        b'[' => class(pattern, p + 1, byte),
        b'\\' if p + 1 < pattern.len() => (pattern[p + 1] == byte).then_some(p + 2),
        literal => (literal == byte).then_some(p + 1),
    }
}

fn class(pattern: &[u8], mut p: usize, byte: u8) -> Option<usize> {
    let negated = pattern.get(p) == Some(&b'^');
    p += usize::from(negated);
    let mut found = false;
    while p < pattern.len() && pattern[p] != b']' {
        if pattern[p] == b'\\' && p + 1 < pattern.len() {
            p += 1;
            found |= pattern[p] == byte;
        } else if pattern.get(p + 1) == Some(&b'-') && p + 2 < pattern.len() {
            let (a, b) = (pattern[p], pattern[p + 2]);
            found |= (a.min(b)..=a.max(b)).contains(&byte);
            p += 2;
        } else {
            found |= pattern[p] == byte;
        }
        p += 1;
    }
    (found != negated).then_some((p + 1).min(pattern.len()))
}

/// `text` with every byte that has a meaning in a pattern escaped.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_mean_what_redis_means() {
        for (pattern, yes, no) in [
            ("posts:*", "posts:7", "profiles:7"),
            ("*:7", "posts:7", "posts:77x"),
            ("posts:?", "posts:7", "posts:77"),
            ("posts:[1-3]", "posts:2", "posts:4"),
            ("posts:[^1-3]", "posts:4", "posts:2"),
            ("a\\*b", "a*b", "axb"),
            ("*a*b*c", "xxaxbxc", "xxaxcxb"),
            ("*", "", "-"),
        ] {
            assert!(matches(pattern, yes), "{pattern} takes {yes}");
            assert!(no == "-" || !matches(pattern, no), "{pattern} refuses {no}");
        }
    }

    proptest! {
        #[test]
        fn an_escaped_text_matches_itself_only(text in "[a-z*?\\[\\]\\\\^:-]{0,12}", other in "[a-z:]{0,12}") {
            prop_assert!(matches(&escaped(&text), &text));
            prop_assert_eq!(matches(&escaped(&text), &other), text == other);
        }
    }
}
