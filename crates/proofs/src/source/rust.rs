//! Tests in Rust: functions with a test attribute, in modules that are built.

use super::cfg::{Condition, evaluate, never_built};
use super::trees::{Tree, has_word, written};
use super::{Cases, Found, TestStatus, below, not};

/// Attributes that make a function a test, by the last part of their path: `#[tokio::test]` is `test`.
const TEST: [&str; 9] =
    ["test", "rstest", "test_case", "test_matrix", "gtest", "parameterized", "quickcheck", "proptest", "property_test"];

/// Of these, those that run the function under several names.
const SEVERAL: [&str; 5] = ["rstest", "test_case", "test_matrix", "parameterized", "case"];

/// Macros that keep the tests that are written in their call.
const KEEPING: [&str; 2] = ["proptest", "rusty_fork_test"];

/// What looks like a test in a file.
pub(super) fn tests(trees: &[Tree]) -> Vec<Found> {
    let mut reader = Reader { found: Vec::new(), own_macros: own_macros(trees) };
    reader.items(trees, &[], None);
    reader.found
}

/// The macros that the file defines.
fn own_macros(trees: &[Tree]) -> Vec<String> {
    let own = trees.windows(3).filter_map(|window| match window {
        [keyword, sign, name] if keyword.is_word("macro_rules") && sign.is_sign('!') => name.word(),
        _ => None,
    });
    own.map(str::to_owned).collect()
}

struct Reader {
    found: Vec<Found>,
    own_macros: Vec<String>,
}

impl Reader {
    /// The items of a module. `why` is why none of them runs.
    fn items(&mut self, trees: &[Tree], path: &[String], why: Option<&str>) {
        let mut why = why.map(str::to_owned);
        let mut attributes: Vec<&[Tree]> = Vec::new();
        let mut at = 0;
        while let Some(tree) = trees.get(at) {
            let next = |offset: usize| trees.get(at + offset);
            if tree.is_sign('#') {
                let inner = next(1).is_some_and(|tree| tree.is_sign('!'));
                if let Some(inside) = next(1 + usize::from(inner)).and_then(|tree| tree.group('[')) {
                    if inner {
                        why = why.or_else(|| cfg_of(inside));
                    } else {
                        attributes.push(inside);
                    }
                    at += 2 + usize::from(inner);
                    continue;
                }
            }
            let name = next(1).and_then(Tree::word);
            let (end, taken) = match (tree.word(), name) {
                (Some("mod"), Some(name)) => {
                    if let Some(inside) = next(2).and_then(|tree| tree.group('{')) {
                        let why = why.clone().or_else(|| attributes.iter().find_map(|inside| cfg_of(inside)));
                        self.items(inside, &below(path, name), why.as_deref());
                    }
                    (at + 3, true)
                }
                (Some("fn"), Some(name)) => {
                    let status = function(&attributes, why.as_deref());
                    let several = names(&attributes).iter().any(|name| SEVERAL.contains(name));
                    let cases = if several { Cases::Unknown } else { Cases::One };
                    let body = trees[at..].iter().position(|tree| tree.group('{').is_some() || tree.is_sign(';'));
                    let body = body.map_or(trees.len(), |offset| at + offset);
                    self.found.push(Found { path: below(path, name), status, cases });
                    if let Some(inside) = trees.get(body).and_then(|tree| tree.group('{')) {
                        self.unreachable(inside, path, "it is inside another function, where no test runs");
                    }
                    (body + 1, true)
                }
                (Some("macro_rules"), _) => {
                    let body = (1..=3).filter_map(next).find_map(inside_any);
                    self.unreachable(body.unwrap_or_default(), path, "it is in a macro's definition");
                    (at + 4, true)
                }
                (Some(called), _) if next(1).is_some_and(|tree| tree.is_sign('!')) => {
                    match next(2).and_then(inside_any) {
                        Some(inside)
                            if KEEPING.contains(&called) && !self.own_macros.iter().any(|own| own == called) =>
                        {
                            let not_built = attributes.iter().find_map(|inside| cfg_of(inside));
                            self.items(inside, path, why.clone().or(not_built).as_deref());
                        }
                        Some(inside) => {
                            let why = format!("it is in a call of the macro `{called}!`, which may drop it");
                            self.unreachable(inside, path, &why);
                        }
                        None => {}
                    }
                    (at + 3, true)
                }
                _ if tree.is_sign(';') => (at + 1, true),
                _ => match tree.group('{') {
                    // What an impl or a trait has is no test; nor is what an item of another kind has.
                    Some(inside) => {
                        self.unreachable(inside, path, "it is not in a module, where tests are");
                        (at + 1, true)
                    }
                    None => (at + 1, false),
                },
            };
            if taken {
                attributes.clear();
            }
            at = end;
        }
    }

    /// Functions where no test can be.
    fn unreachable(&mut self, trees: &[Tree], path: &[String], why: &str) {
        for (at, tree) in trees.iter().enumerate() {
            match (tree, trees.get(at + 1).and_then(Tree::word)) {
                (Tree::Group(_, inside), _) => self.unreachable(inside, path, why),
                (tree, Some(name)) if tree.is_word("fn") => {
                    self.found.push(Found::new(below(path, name), not(why)));
                }
                _ => {}
            }
        }
    }
}

fn inside_any(tree: &Tree) -> Option<&[Tree]> {
    match tree {
        Tree::Group(_, inside) => Some(inside),
        Tree::Leaf(_) => None,
    }
}

/// Why an item with this attribute is not built.
fn cfg_of(attribute: &[Tree]) -> Option<String> {
    match attribute {
        [name, Tree::Group('(', inside)] if name.is_word("cfg") => never_built(inside),
        _ => None,
    }
}

/// The last part of an attribute's path, and its arguments: of `tokio::test(…)` it is `test`.
fn name_of(attribute: &[Tree]) -> Option<(&str, &[Tree])> {
    let end = attribute.iter().position(|tree| tree.word().is_none() && !tree.is_sign(':')).unwrap_or(attribute.len());
    let name = attribute[..end].last()?.word()?;
    Some((name, attribute.get(end).and_then(inside_any).unwrap_or_default()))
}

fn names<'a>(attributes: &[&'a [Tree]]) -> Vec<&'a str> {
    attributes.iter().filter_map(|attribute| name_of(attribute)).map(|(name, _)| name).collect()
}

/// Whether a function with these attributes is a test that runs.
fn function(attributes: &[&[Tree]], why: Option<&str>) -> TestStatus {
    let mut is_test = false;
    let mut reason: Option<String> = None;
    for attribute in attributes {
        let Some((name, arguments)) = name_of(attribute) else { continue };
        let is_ignored =
            || has_word(arguments, "ignore") || has_word(arguments, "ignored") || has_word(arguments, "inconclusive");
        match name {
            "cfg" => reason = reason.or_else(|| cfg_of(attribute)),
            "ignore" => reason = Some("it is ignored (#[ignore])".to_owned()),
            "cfg_attr" => {
                let mut parts = arguments.split(|tree| tree.is_sign(','));
                let condition = parts.next().map_or(Condition::Unknown, evaluate);
                let added: Vec<&str> = parts.filter_map(name_of).map(|(name, _)| name).collect();
                if condition != Condition::False && added.contains(&"ignore") {
                    reason = Some(format!("it may be ignored (#[{}])", written(attribute)));
                }
                is_test |= condition == Condition::True && added.iter().any(|name| TEST.contains(name));
            }
            "test_case" | "case" | "test_matrix" if is_ignored() => {
                reason = Some("one of its cases is ignored".to_owned());
                is_test = true;
            }
            name => is_test |= TEST.contains(&name),
        }
    }
    match (why, reason) {
        _ if !is_test => not("it is a function without a test attribute"),
        (Some(why), _) => not(why),
        (None, Some(reason)) => not(reason),
        (None, None) => TestStatus::Runs,
    }
}

/// How a file declares a module that has a file of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Declared {
    No,
    Built,
    /// It is not built, and why.
    Never(String),
}

/// Looks for `mod NAME;`, or for the file's name in a `#[path]`. One that is built is enough.
pub(super) fn declares(trees: &[Tree], module: &str, file: &str) -> Declared {
    let mut declared = Declared::No;
    for (at, tree) in trees.iter().enumerate() {
        let here = match tree {
            Tree::Group(_, inside) => declares(inside, module, file),
            _ if tree.text().is_some_and(|text| text.rsplit('/').next() == Some(file)) => Declared::Built,
            _ => match trees.get(at..at + 3) {
                Some([keyword, name, end]) if keyword.is_word("mod") && name.is_word(module) && end.is_sign(';') => {
                    match attributes_before(&trees[..at]).into_iter().find_map(cfg_of) {
                        Some(why) => Declared::Never(why),
                        None => Declared::Built,
                    }
                }
                _ => Declared::No,
            },
        };
        match here {
            Declared::Built => return Declared::Built,
            Declared::Never(_) => declared = here,
            Declared::No => {}
        }
    }
    declared
}

/// The attributes right before an item.
fn attributes_before(trees: &[Tree]) -> Vec<&[Tree]> {
    let mut rest = trees;
    while let [before @ .., last] = rest
        && (last.is_word("pub") || last.group('(').is_some())
    {
        rest = before;
    }
    let mut attributes = Vec::new();
    while let [before @ .., sign, Tree::Group('[', inside)] = rest
        && sign.is_sign('#')
    {
        attributes.push(inside.as_slice());
        rest = before;
    }
    attributes
}
