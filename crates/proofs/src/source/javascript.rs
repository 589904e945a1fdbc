//! Tests in JavaScript and TypeScript: calls of `it`, `test` and `describe`, as jest, vitest, mocha, node:test and playwright have them.

use super::lexer::Kind;
use super::trees::{Tree, has_word};
use super::{Cases, Found, TestStatus, below, not};

const SUITES: [&str; 6] = ["describe", "context", "suite", "fdescribe", "xdescribe", "xcontext"];
const TESTS: [&str; 7] = ["it", "test", "specify", "fit", "xit", "xtest", "xspecify"];

/// What may stand behind a dot: `it.skip`, `describe.each`.
const MODIFIERS: [&str; 17] = [
    "only",
    "skip",
    "todo",
    "each",
    "for",
    "concurrent",
    "sequential",
    "serial",
    "parallel",
    "failing",
    "fails",
    "fail",
    "fixme",
    "skipIf",
    "runIf",
    "todoIf",
    "if",
];

/// What looks like a test in a file.
pub(super) fn tests(trees: &[Tree]) -> Vec<Found> {
    let mut reader = Reader { found: Vec::new(), own: own_functions(trees) };
    reader.scan(trees, &Around::default());
    let runs_alone = reader.found.iter().any(|(_, only)| *only);
    let alone = |(mut found, only): (Found, bool)| {
        if runs_alone && !only && found.runs() {
            found.status = not("another test of the file runs alone (.only)");
        }
        found
    };
    reader.found.into_iter().map(alone).collect()
}

/// Names of the runner that the file gives another meaning. A fixture of playwright, `const test = base.extend(…)`, is still a test.
fn own_functions(trees: &[Tree]) -> Vec<String> {
    let mut own = Vec::new();
    for (at, tree) in trees.iter().enumerate() {
        let Some(name) = trees.get(at + 1).and_then(Tree::word) else { continue };
        if !(SUITES.contains(&name) || TESTS.contains(&name)) {
            continue;
        }
        let end = trees[at + 1..].iter().skip(1).position(|tree| tree.is_sign(';') || is_first(tree));
        let value = &trees[at + 1..end.map_or(trees.len(), |end| at + 2 + end)];
        let harmless =
            ["extend", "require", "import"].iter().any(|word| has_word(value, word)) && !has_word(value, "skip");
        if tree.is_word("function") || (["const", "let", "var"].iter().any(|word| tree.is_word(word)) && !harmless) {
            own.push(name.to_owned());
        }
    }
    own
}

fn is_first(tree: &Tree) -> bool {
    matches!(tree, Tree::Leaf(token) if token.first)
}

/// What is around a call.
#[derive(Clone, Default)]
struct Around {
    /// The titles of the suites; `None` where one is not written out.
    titles: Option<Vec<String>>,
    is_inside: bool,
    why: Option<String>,
    only: bool,
    several: bool,
}

impl Around {
    fn titles(&self) -> Option<&[String]> {
        if self.is_inside { self.titles.as_deref() } else { Some(&[]) }
    }

    fn with_reason(&self, why: &str) -> Self {
        Self { why: Some(self.why.clone().unwrap_or_else(|| why.to_owned())), ..self.clone() }
    }
}

/// A call of `it`, `test` or `describe`.
struct Call<'a> {
    word: &'a str,
    modifiers: Vec<&'a str>,
    arguments: &'a [Tree],
    /// Where it ends.
    end: usize,
}

struct Reader {
    /// Each with whether it is marked to run alone.
    found: Vec<(Found, bool)>,
    own: Vec<String>,
}

impl Reader {
    fn scan(&mut self, trees: &[Tree], around: &Around) {
        let mut around = around.clone();
        // A suite may be skipped by a call in it, wherever that stands.
        if let Some(why) = skipping_call(trees) {
            around = around.with_reason(&why);
        }
        let mut at = 0;
        while at < trees.len() {
            let is_member = at > 0 && trees[at - 1].is_sign('.');
            if let Some(call) = call(trees, at).filter(|_| !is_member) {
                self.call(&call, &around);
                at = call.end;
                continue;
            }
            if trees[at].is_word("return") || trees[at].is_word("throw") {
                around = around.with_reason("it comes after a return");
            }
            if let Tree::Group(_, inside) = &trees[at] {
                self.scan(inside, &around.with_reason("it is inside a function or a condition, which may not run"));
            }
            at += 1;
        }
    }

    fn call(&mut self, call: &Call<'_>, around: &Around) {
        let is_suite = SUITES.contains(&call.word) || call.modifiers.contains(&"describe");
        let parts: Vec<&[Tree]> = call.arguments.split(|tree| tree.is_sign(',')).collect();
        let (title, is_template) = match parts[0] {
            [Tree::Leaf(token)] if token.kind == Kind::Text => (Some(token.text.as_str()), false),
            [Tree::Leaf(token)] if token.kind == Kind::Template => (Some(token.text.as_str()), true),
            _ => (None, false),
        };
        let several = around.several || is_template || call.modifiers.iter().any(|name| ["each", "for"].contains(name));
        let body = call.arguments.iter().rev().find_map(|tree| tree.group('{'));
        let has_function = parts.len() > 1;
        let own = match self.own.iter().any(|own| own == call.word) {
            true => Some(format!("`{}` is a function of the file itself", call.word)),
            false => not_run(call, has_function && !is_suite, is_suite, body),
        };
        let path = title.and_then(|title| Some(below(around.titles()?, title)));
        let only = around.only || call.modifiers.contains(&"only") || call.word.starts_with('f');
        let why = around.why.clone().or(own);
        if is_suite {
            let inside = Around { titles: path, is_inside: true, why, only, several };
            self.scan(body.unwrap_or_default(), &inside);
            return;
        }
        if let Some(path) = path {
            let status = why.map_or(TestStatus::Runs, TestStatus::Not);
            let cases = if several { Cases::Unknown } else { Cases::One };
            self.found.push((Found { path, status, cases }, only));
        }
        if let Some(body) = body {
            self.scan_test(body, around);
        }
    }

    /// Calls inside a test are no tests of the file.
    fn scan_test(&mut self, body: &[Tree], around: &Around) {
        let inside = Around { why: Some("it is inside another test".to_owned()), only: false, ..around.clone() };
        for (at, tree) in body.iter().enumerate() {
            match tree {
                Tree::Group(_, inside_group) => self.scan_test(inside_group, around),
                Tree::Leaf(_) => {
                    if let Some(call) = call(body, at).filter(|_| at == 0 || !body[at - 1].is_sign('.'))
                        && call.modifiers.is_empty()
                    {
                        self.call(&call, &inside);
                    }
                }
            }
        }
    }
}

/// The call that begins here.
fn call(trees: &[Tree], at: usize) -> Option<Call<'_>> {
    let word = trees[at].word()?;
    if !(SUITES.contains(&word) || TESTS.contains(&word)) {
        return None;
    }
    let mut modifiers = Vec::new();
    let mut next = at + 1;
    loop {
        let takes_values =
            modifiers.last().is_some_and(|name| ["each", "for", "skipIf", "runIf", "todoIf", "if"].contains(name));
        match trees.get(next)? {
            tree if tree.is_sign('.') => {
                let name = trees.get(next + 1)?.word()?;
                let is_suite = name == "describe" && word == "test" && modifiers.is_empty();
                if !(MODIFIERS.contains(&name) || is_suite) {
                    return None;
                }
                modifiers.push(name);
                next += 2;
            }
            tree if tree.is_sign('<') => {
                // Types of TypeScript.
                next += 1 + trees[next..].iter().position(|tree| tree.is_sign('>'))?;
            }
            Tree::Leaf(token) if takes_values && matches!(token.kind, Kind::Text | Kind::Template) => {
                next += 1;
                let Some(Tree::Group('(', arguments)) = trees.get(next) else { return None };
                return Some(Call { word, modifiers, arguments, end: next + 1 });
            }
            Tree::Group('(', _) if takes_values => {
                next += 1;
                let Some(Tree::Group('(', arguments)) = trees.get(next) else { return None };
                return Some(Call { word, modifiers, arguments, end: next + 1 });
            }
            Tree::Group('(', arguments) => return Some(Call { word, modifiers, arguments, end: next + 1 }),
            _ => return None,
        }
    }
}

/// Why a call makes no test that runs.
fn not_run(call: &Call<'_>, has_function: bool, is_suite: bool, body: Option<&[Tree]>) -> Option<String> {
    let has = |names: &[&str]| call.modifiers.iter().any(|name| names.contains(name));
    let shown = [&[call.word], call.modifiers.as_slice()].concat().join(".");
    let options = call.arguments.iter().filter_map(|tree| tree.group('{'));
    let options: Vec<&[Tree]> = options.filter(|group| body.is_none_or(|body| !std::ptr::eq(*group, body))).collect();
    if call.word.starts_with('x') || has(&["skip", "fixme"]) {
        return Some(format!("it is skipped ({shown})"));
    }
    if has(&["todo"]) {
        return Some(format!("it is not written yet ({shown})"));
    }
    if has(&["failing", "fails", "fail"]) {
        return Some(format!("it is expected to fail ({shown})"));
    }
    if has(&["skipIf", "runIf", "todoIf", "if"]) {
        return Some(format!("it may be skipped ({shown})"));
    }
    for option in options {
        for part in option.split(|tree| tree.is_sign(',')) {
            if let [name, value @ ..] = part
                && ["skip", "todo"].iter().any(|word| name.is_word(word) || name.text() == Some(word))
                && !matches!(value, [_, value] if value.is_word("false"))
            {
                return Some("it is skipped or may be (by its options)".to_owned());
            }
        }
    }
    if !is_suite && !has_function {
        return Some("it has no function".to_owned());
    }
    match body {
        Some(body) if !is_suite => skips_itself(body),
        _ => None,
    }
}

/// Whether a test skips itself, or may: `this.skip()`, `t.skip()`, `test.skip(…)`.
fn skips_itself(body: &[Tree]) -> Option<String> {
    const CONTEXTS: [&str; 7] = ["this", "t", "ctx", "context", "test", "it", "testInfo"];
    let own = body.windows(4).find_map(|window| match window {
        [object, dot, name, Tree::Group('(', _)]
            if dot.is_sign('.') && object.word().is_some_and(|object| CONTEXTS.contains(&object)) =>
        {
            match name.word() {
                Some(word @ ("skip" | "fixme" | "todo")) => Some(format!("it skips itself, or may (.{word})")),
                Some("fail") if object.is_word("test") => Some("it is expected to fail (test.fail)".to_owned()),
                _ => None,
            }
        }
        _ => None,
    });
    own.or_else(|| {
        body.iter().find_map(|tree| match tree {
            Tree::Group(_, inside) => skips_itself(inside),
            Tree::Leaf(_) => None,
        })
    })
}

/// A call in a suite or a file that skips all of it: `test.skip()`, `test.skip(condition, "why")`, `test.describe.skip` not meant.
fn skipping_call(trees: &[Tree]) -> Option<String> {
    trees.windows(4).enumerate().find_map(|(at, window)| match window {
        [object, dot, name, Tree::Group('(', arguments)]
            if (object.is_word("test") || object.is_word("it"))
                && dot.is_sign('.')
                && (name.is_word("skip") || name.is_word("fixme"))
                && !(at > 0 && trees[at - 1].is_sign('.')) =>
        {
            let parts: Vec<&[Tree]> = arguments.split(|tree| tree.is_sign(',')).collect();
            let is_title = matches!(parts[0], [Tree::Leaf(token)] if matches!(token.kind, Kind::Text | Kind::Template));
            let has_function = parts.len() > 1 && arguments.iter().any(|tree| tree.group('{').is_some());
            (!is_title && !has_function).then(|| "all tests around it may be skipped (test.skip)".to_owned())
        }
        _ => None,
    })
}
