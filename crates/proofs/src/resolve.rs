//! Which test of a file a proof names.

use super::source::{Cases, Found, Language, Reading, TestStatus};

/// What stands between the titles of a suite and its test: jest writes a space, vitest `>`, playwright `›`.
pub(crate) const SEPARATORS: [&str; 3] = [" ", " > ", " › "];

/// What a proof's name is in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resolved<'a> {
    /// This test, and it runs.
    Runs(&'a Found),
    /// This, and it does not run, or is no test.
    Not(&'a Found, String),
    /// One of several; their names.
    Several(Vec<String>),
    /// Nothing.
    Missing,
}

/// Finds the test that `name` names: by its whole path, or by the end of it where that is one test's alone.
pub(crate) fn resolve<'a>(language: Language, reading: &'a Reading, name: &str) -> Resolved<'a> {
    let fits = |found: &&Found| grade(language, found, name) > 0;
    let best = reading.tests.iter().map(|found| grade(language, found, name)).max().unwrap_or(0);
    if best == 0 {
        return Resolved::Missing;
    }
    let best: Vec<&Found> =
        reading.tests.iter().filter(fits).filter(|found| grade(language, found, name) == best).collect();
    let first = best[0];
    if best.iter().any(|found| found.path != first.path) {
        let running: Vec<&&Found> = best.iter().filter(|found| found.runs()).collect();
        if running.is_empty() {
            return refused(first);
        }
        return Resolved::Several(best.iter().map(|found| shown(language, found)).collect());
    }
    if language == Language::JavaScript && best.iter().filter(|found| found.runs()).count() > 1 {
        return Resolved::Several(best.iter().map(|found| shown(language, found)).collect());
    }
    // The same name twice: in Rust only one of them can be built, in Python the last one counts, elsewhere all of them.
    let chosen = match language {
        Language::Rust => best.iter().find(|found| found.runs()).copied().unwrap_or(first),
        Language::Python => best[best.len() - 1],
        _ => best.iter().find(|found| !found.runs()).copied().unwrap_or(first),
    };
    match case_problem(language, chosen, name) {
        Some(why) if chosen.runs() => Resolved::Not(chosen, why),
        _ => refused(chosen),
    }
}

fn refused(found: &Found) -> Resolved<'_> {
    match &found.status {
        TestStatus::Runs => Resolved::Runs(found),
        TestStatus::Not(why) => Resolved::Not(found, why.clone()),
    }
}

/// How a test is named in its file.
pub(crate) fn shown(language: Language, found: &Found) -> String {
    let separator = match language {
        Language::JavaScript => " ",
        Language::Go => "/",
        _ => "::",
    };
    found.path.join(separator)
}

/// How well a name fits: 2 if it is the whole path, 1 if it is the end of it.
fn grade(language: Language, found: &Found, name: &str) -> u8 {
    let ends = |parts: &[&str]| {
        let path: Vec<&str> = found.path.iter().map(String::as_str).collect();
        match path.ends_with(parts) {
            true if path.len() == parts.len() => 2,
            true if !parts.is_empty() => 1,
            _ => 0,
        }
    };
    match language {
        Language::Rust => ends(&name.split("::").collect::<Vec<_>>()),
        // pytest and go name a test by its whole path.
        Language::Python => {
            let name = case_of(name).map_or(name, |(test, _)| test);
            if found.path.iter().map(String::as_str).eq(name.split("::")) { 2 } else { 0 }
        }
        Language::Go => u8::from(found.path.iter().map(String::as_str).eq(name.split('/'))) * 2,
        Language::Java | Language::Kotlin => {
            let name = name.strip_suffix("()").unwrap_or(name);
            let whole = ends(&name.split("::").collect::<Vec<_>>());
            let dotted = name.replace(['#', '.', '$'], "::");
            whole.max(ends(&dotted.split("::").collect::<Vec<_>>()))
        }
        Language::JavaScript => {
            let of = |from: usize| {
                SEPARATORS.iter().any(|separator| title_fits(found, &found.path[from..].join(separator), name))
            };
            match (0..found.path.len()).find(|from| of(*from)) {
                Some(0) => 2,
                Some(_) => 1,
                None => 0,
            }
        }
    }
}

/// Whether a title is the one that is written: the same, or one that its pattern gives.
pub(crate) fn title_fits(found: &Found, title: &str, name: &str) -> bool {
    title == name || (found.cases == Cases::Unknown && pattern_fits(title, name))
}

/// Splits `test_x[1]` into test and case.
pub(crate) fn case_of(name: &str) -> Option<(&str, &str)> {
    name.strip_suffix(']')?.split_once('[')
}

/// Why the case that a name asks for can't be told to be there.
fn case_problem(language: Language, found: &Found, name: &str) -> Option<String> {
    let (Language::Python, Some((_, case))) = (language, case_of(name)) else { return None };
    match &found.cases {
        Cases::One => Some("it has no parameters".to_owned()),
        Cases::Named(cases) if cases.iter().any(|known| known == case) => None,
        Cases::Named(cases) => Some(format!("its cases are {}", cases.join(", "))),
        Cases::Unknown => Some("the names of its cases can't be told".to_owned()),
    }
}

/// Whether a title with `%s`, `$name` or `${…}` in it can become this name. One that is nothing else fits nothing.
fn pattern_fits(pattern: &str, name: &str) -> bool {
    let pieces = literal_pieces(pattern);
    if pieces.len() < 2 || pieces.iter().all(|piece| piece.trim().is_empty()) {
        return false;
    }
    let (first, last) = (&pieces[0], &pieces[pieces.len() - 1]);
    let Some(rest) = name.strip_prefix(first.as_str()).and_then(|rest| rest.strip_suffix(last.as_str())) else {
        return false;
    };
    let mut rest = rest;
    for piece in &pieces[1..pieces.len() - 1] {
        let Some(at) = rest.find(piece.as_str()) else { return false };
        rest = &rest[at + piece.len()..];
    }
    true
}

/// What stands between the places where a value is filled in.
fn literal_pieces(pattern: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut rest = pattern;
    while let Some(next) = rest.chars().next() {
        let filled = match next {
            '%' => match rest[1..].chars().next() {
                Some('%') => 0,
                Some(kind) if kind.is_ascii_alphabetic() || kind == '#' || kind == '$' => 2,
                _ => 0,
            },
            '$' if rest[1..].starts_with('{') => rest.find('}').map_or(rest.len(), |end| end + 1),
            '$' => {
                let name = rest[1..].find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.' || c == '#'));
                let end = name.map_or(rest.len(), |end| end + 1);
                if end > 1 { end } else { 0 }
            }
            _ => 0,
        };
        if filled > 0 {
            pieces.push(String::new());
            rest = &rest[filled..];
        } else {
            if let Some(piece) = pieces.last_mut() {
                piece.push(next);
            }
            let skip = if rest.starts_with("%%") { 2 } else { next.len_utf8() };
            rest = &rest[skip..];
        }
    }
    pieces
}

/// The test that may have been meant: one that begins so, or nearly is it.
pub(crate) fn nearest(language: Language, reading: &Reading, name: &str) -> Option<String> {
    let written = name.to_lowercase();
    let last = |name: &str| name.rsplit("::").next().unwrap_or(name).to_lowercase();
    let running: Vec<String> =
        reading.tests.iter().filter(|found| found.runs()).map(|found| shown(language, found)).collect();
    let begins =
        running.iter().find(|known| known.to_lowercase().starts_with(&written) || last(known).starts_with(&last(name)));
    let distance = |known: &String| {
        let known = known.to_lowercase();
        let whole = strsim::damerau_levenshtein(&written, &known);
        whole.min(strsim::damerau_levenshtein(&last(name), &last(&known)))
    };
    let near = || {
        let most = |known: &String| (name.chars().count().max(known.chars().count()) / 3).max(1);
        running.iter().filter(|known| distance(known) <= most(known)).min_by_key(|known| distance(known))
    };
    begins.or_else(near).cloned()
}
