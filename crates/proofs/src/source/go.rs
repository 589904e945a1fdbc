//! Tests in Go: `func TestX(t *testing.T)` in a file that is built, and the subtests whose names are written out.

use std::path::Path;

use super::trees::{Tree, written};
use super::{Found, TestStatus, below, not};

/// Systems that a file's name may ask for, other than the one cacheproof runs on.
const OTHER_SYSTEMS: [&str; 15] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "wasip1",
    "windows",
];
const ARCHITECTURES: [&str; 13] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64",
    "s390x",
];

/// What looks like a test in a file.
pub(super) fn tests(trees: &[Tree], file: &str, text: &str) -> Vec<Found> {
    let why = not_built(file, text);
    let mut found = Vec::new();
    for (at, tree) in trees.iter().enumerate() {
        if !tree.is_word("func") {
            continue;
        }
        if let (Some(Tree::Group('(', _)), Some(name)) = (trees.get(at + 1), trees.get(at + 2).and_then(Tree::word)) {
            found.push(Found::new(vec![name.to_owned()], not("it is a method, which go test does not run by itself")));
        }
        let (Some(name), Some(Tree::Group('(', parameters))) =
            (trees.get(at + 1).and_then(Tree::word), trees.get(at + 2))
        else {
            continue;
        };
        let body = trees[at + 3..].iter().find_map(|tree| tree.group('{')).unwrap_or_default();
        let status = status(name, parameters, body, why.as_deref());
        let path = vec![name.to_owned()];
        found.push(Found::new(path.clone(), status.clone()));
        // A subtest may run where another one is skipped.
        let why = if skips(body) { Some("it skips itself (t.Skip)") } else { why.as_deref() };
        if name.starts_with("Test") {
            subtests(body, &path, why, &mut found);
        }
    }
    found
}

fn status(name: &str, parameters: &[Tree], body: &[Tree], why: Option<&str>) -> TestStatus {
    let kind = ["Test", "Fuzz"]
        .into_iter()
        .find(|kind| name.strip_prefix(kind).is_some_and(|rest| !rest.starts_with(|first: char| first.is_lowercase())));
    let wanted = match kind {
        Some("Test") => "*testing.T",
        Some(_) => "*testing.F",
        None => return not("go test runs functions named Test…"),
    };
    // `t *testing.T`: the parameter's name first.
    let typed = if parameters.first().is_some_and(|tree| tree.is_sign('*')) {
        parameters
    } else {
        parameters.get(1..).unwrap_or_default()
    };
    if written(typed).trim_end_matches(',') != wanted {
        return not(format!("go test runs it only with the one parameter {wanted}"));
    }
    match why {
        Some(why) => not(why),
        None if skips(body) => not("it skips itself (t.Skip)"),
        None if may_skip(body) => not("it or one of its subtests may skip itself (t.Skip)"),
        None => TestStatus::Runs,
    }
}

/// Whether anything in a function may skip it or a subtest; what is under `testing.Short()` does not, unless it is asked for.
fn may_skip(body: &[Tree]) -> bool {
    let is_short = |at: usize| written(&body[at.saturating_sub(5)..at]).ends_with("if testing.Short()");
    skips(body)
        || body.iter().enumerate().any(|(at, tree)| match tree {
            Tree::Group('{', _) if is_short(at) => false,
            Tree::Group(_, inside) => may_skip(inside),
            Tree::Leaf(_) => false,
        })
}

/// Whether a statement of the function's own skips it.
fn skips(body: &[Tree]) -> bool {
    body.windows(4).any(|window| match window {
        [_, dot, name, Tree::Group('(', _)] => {
            dot.is_sign('.') && ["Skip", "Skipf", "SkipNow"].iter().any(|word| name.is_word(word))
        }
        _ => false,
    })
}

/// The calls of `t.Run("name", func(t *testing.T) { … })`.
fn subtests(trees: &[Tree], path: &[String], why: Option<&str>, found: &mut Vec<Found>) {
    let mut at = 0;
    while at < trees.len() {
        if let [dot, run, Tree::Group('(', arguments), ..] = &trees[at..]
            && dot.is_sign('.')
            && run.is_word("Run")
            && let Some(name) = arguments.first().and_then(Tree::text)
        {
            let body = arguments.iter().rev().find_map(|tree| tree.group('{')).unwrap_or_default();
            let path = below(path, &name.replace(char::is_whitespace, "_"));
            let status = match why {
                Some(why) => not(why),
                None if may_skip(body) => not("it skips itself, or may (t.Skip)"),
                None => TestStatus::Runs,
            };
            found.push(Found::new(path.clone(), status));
            subtests(body, &path, why, found);
            at += 3;
            continue;
        }
        if let Tree::Group(_, inside) = &trees[at] {
            subtests(inside, path, Some(why.unwrap_or("it is under a condition, or in a loop")), found);
        }
        at += 1;
    }
}

/// Why a file is not built by `go test` here.
fn not_built(file: &str, text: &str) -> Option<String> {
    let path = Path::new(file);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some(stem) = name.strip_suffix("_test.go") else {
        return Some("go test reads only files named …_test.go".to_owned());
    };
    let parts = path.components().filter_map(|part| part.as_os_str().to_str());
    if let Some(part) =
        parts.clone().find(|part| *part == "testdata" || (part.starts_with(['_', '.']) && part.len() > 1))
    {
        return Some(format!("go test does not read {part}"));
    }
    let asked: Vec<&str> = stem.split('_').skip(1).collect();
    let own = architecture();
    let other = |part: &&&str| OTHER_SYSTEMS.contains(part) || (ARCHITECTURES.contains(part) && **part != own);
    if let Some(part) = asked.iter().rev().take(2).find(other) {
        return Some(format!("it is built only for {part}"));
    }
    for line in text.lines().map(str::trim).take_while(|line| !line.starts_with("package ")) {
        let built = if let Some(expression) = line.strip_prefix("//go:build ") {
            Expression { rest: expression.trim() }.any()
        } else if let Some(options) = line.strip_prefix("//").and_then(|line| line.trim_start().strip_prefix("+build "))
        {
            options.split_whitespace().any(|option| option.split(',').all(term))
        } else {
            true
        };
        if !built {
            return Some(format!("it is not built here ({line})"));
        }
    }
    None
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A tag that may have a `!` before it.
fn term(tag: &str) -> bool {
    match tag.strip_prefix('!') {
        Some(tag) => !term(tag),
        None => ["linux", "unix", "gc", "cgo"].contains(&tag) || tag == architecture() || tag.starts_with("go1"),
    }
}

/// A `//go:build` expression; what can't be read does not hold.
struct Expression<'a> {
    rest: &'a str,
}

impl Expression<'_> {
    fn any(&mut self) -> bool {
        let mut holds = self.all();
        while self.take("||") {
            holds |= self.all();
        }
        holds
    }

    fn all(&mut self) -> bool {
        let mut holds = self.one();
        while self.take("&&") {
            holds &= self.one();
        }
        holds
    }

    fn one(&mut self) -> bool {
        if self.take("!") {
            return !self.one();
        }
        if self.take("(") {
            let holds = self.any();
            return self.take(")") && holds;
        }
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).unwrap_or(self.rest.len());
        let (tag, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        !tag.is_empty() && term(tag)
    }

    fn take(&mut self, sign: &str) -> bool {
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }
}
