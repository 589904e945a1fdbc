//! Paths with placeholders, and texts made from what they stood for.

use super::RuleError;
use crate::key::sanitised;
use std::borrow::Cow;

/// `/posts/{id}`, `/posts/{id:int}`, `/files/{*rest}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    One { name: String, int: bool },
    Rest { name: String },
}

/// What the placeholders of a pattern stood for, percent-decoded.
pub(super) type Captures<'a> = Vec<(&'a str, String)>;

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, RuleError> {
        let bad = |why: &'static str| RuleError::Path { path: text.to_owned(), why };
        let path = text.strip_prefix('/').ok_or_else(|| bad("a path begins with `/`"))?;
        let mut segments: Vec<Segment> = Vec::new();
        for part in path.split('/') {
            if matches!(segments.last(), Some(Segment::Rest { .. })) {
                return Err(bad("nothing may follow `{*…}`"));
            }
            let segment = match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                None if part.contains(['{', '}']) => return Err(bad("a placeholder is a whole segment, `{id}`")),
                None => Segment::Literal(part.to_owned()),
                Some(inside) => placeholder(inside).ok_or_else(|| bad("write `{name}`, `{name:int}` or `{*name}`"))?,
            };
            if segment.name().is_some_and(|name| segments.iter().any(|other| other.name() == Some(name))) {
                return Err(bad("a placeholder occurs twice"));
            }
            segments.push(segment);
        }
        Ok(Self(segments))
    }

    /// What the placeholders stand for, if the path matches.
    pub(super) fn captures(&self, path: &str) -> Option<Captures<'_>> {
        let mut rest = path.strip_prefix('/');
        let mut captures = Vec::new();
        for segment in &self.0 {
            let left = rest?;
            if let Segment::Rest { name } = segment {
                captures.push((name.as_str(), decoded(left)?));
                return Some(captures);
            }
            let (part, after) = left.split_once('/').map_or((left, None), |(part, after)| (part, Some(after)));
            match segment {
                Segment::Literal(wanted) if wanted == part => {}
                Segment::One { name, int } if !part.is_empty() && (!int || is_canonical(part)) => {
                    captures.push((name.as_str(), decoded(part)?));
                }
                Segment::Literal(_) | Segment::One { .. } | Segment::Rest { .. } => return None,
            }
            rest = after;
        }
        rest.is_none().then_some(captures)
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|segment| segment.name() == Some(name))
    }
}

impl Segment {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::One { name, .. } | Self::Rest { name } => Some(name),
        }
    }
}

fn placeholder(inside: &str) -> Option<Segment> {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if let Some(name) = inside.strip_prefix('*') {
        return is_name(name).then(|| Segment::Rest { name: name.to_owned() });
    }
    let (name, int) = inside.strip_suffix(":int").map_or((inside, false), |name| (name, true));
    is_name(name).then(|| Segment::One { name: name.to_owned(), int })
}

/// A whole number in the one way it is written: `7`, not `07`, `+7` or `%37`, which many parsers take for 7 as well.
fn is_canonical(part: &str) -> bool {
    let digits = part.strip_prefix('-').unwrap_or(part);
    let leads_well =
        digits == "0" && digits.len() == part.len() || digits.starts_with(|c: char| matches!(c, '1'..='9'));
    leads_well && digits.len() <= 20 && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Percent-decoded, if that is text.
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        out.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
    }
    String::from_utf8(out).ok()
}

/// A text with placeholders of a pattern, `posts:{id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Capture(String),
}

impl Template {
    pub(super) fn parse(text: &str, of: &Pattern) -> Result<Self, RuleError> {
        let bad = |why: &'static str| RuleError::Tag { tag: text.to_owned(), why };
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or_else(|| bad("a `{` is not closed"))?;
            if !of.has(name) {
                return Err(bad("the path has no such placeholder"));
            }
            pieces.extend([Piece::Text(before.to_owned()), Piece::Capture(name.to_owned())]);
            rest = after;
        }
        if rest.contains('}') {
            return Err(bad("a `}` has no `{`"));
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self(pieces))
    }

    pub(super) fn render(&self, captures: &Captures<'_>) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => Cow::Owned(text.clone()),
            Piece::Capture(wanted) => {
                let found = captures.iter().find(|(name, _)| name == wanted);
                Cow::Owned(found.map_or_else(String::new, |(_, value)| sanitised(value).into_owned()))
            }
        };
        self.0.iter().map(piece).collect::<Vec<Cow<'_, str>>>().concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn captures(pattern: &str, path: &str) -> Option<Vec<(String, String)>> {
        let pattern = Pattern::parse(pattern).expect("a pattern");
        pattern.captures(path).map(|found| found.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    #[test]
    fn paths_match_segment_by_segment() {
        let id = |value: &str| Some(vec![("id".to_owned(), value.to_owned())]);
        assert_eq!(captures("/posts/{id}", "/posts/7"), id("7"));
        assert_eq!(captures("/posts/{id}", "/posts/a%2Fb"), id("a/b"));
        assert_eq!(captures("/posts/{id}/comments", "/posts/7/comments"), id("7"));
        assert_eq!(captures("/files/{*id}", "/files/a/b/c"), id("a/b/c"));
        assert_eq!(captures("/", "/"), Some(vec![]));
        for (pattern, path) in [
            ("/posts/{id}", "/posts/"),
            ("/posts/{id}", "/posts"),
            ("/posts/{id}", "/posts/7/"),
            ("/posts/{id}", "/posts/7/comments"),
            ("/posts/{id}", "/Posts/7"),
            ("/posts/{id}", "*"),
            ("/posts/{id}", "/posts/%ff"),
            ("/posts/{id}", "/posts/%4"),
        ] {
            assert_eq!(captures(pattern, path), None, "{pattern} {path}");
        }
    }

    #[test]
    fn an_int_is_taken_in_its_one_spelling_only() {
        for good in ["0", "7", "-7", "100"] {
            assert!(captures("/posts/{id:int}", &format!("/posts/{good}")).is_some(), "{good}");
        }
        for other in ["07", "+7", "-0", "%37", "7.0", "", "-", "٧", "123456789012345678901"] {
            assert!(captures("/posts/{id:int}", &format!("/posts/{other}")).is_none(), "{other}");
        }
    }

    #[test]
    fn mistakes_are_refused_when_the_rules_are_made() {
        for path in ["posts", "/a{b}", "/{a}/{a}", "/{*a}/b", "/{}", "/{a:float}", "/{a b}"] {
            assert!(Pattern::parse(path).is_err(), "{path}");
        }
        let path = Pattern::parse("/posts/{id}").expect("a pattern");
        for tag in ["posts:{ID}", "posts:{id", "posts:id}"] {
            assert!(Template::parse(tag, &path).is_err(), "{tag}");
        }
    }

    #[test]
    fn a_tag_from_outside_cannot_forge_another() {
        let path = Pattern::parse("/posts/{id}").expect("a pattern");
        let tag = Template::parse("posts:{id}", &path).expect("a template");
        assert_eq!(tag.render(&path.captures("/posts/7").expect("a match")), "posts:7");
        assert_eq!(tag.render(&path.captures("/posts/%37").expect("a match")), "posts:7", "one thing, one tag");
        assert_eq!(tag.render(&path.captures("/posts/a:b*").expect("a match")), "posts:a%3Ab%2A");
    }

    proptest! {
        #[test]
        fn no_path_makes_it_panic(path in ".{0,40}", pattern in "/[a-z{}*:/]{0,20}") {
            if let Ok(pattern) = Pattern::parse(&pattern) {
                pattern.captures(&path);
            }
        }
    }
}
