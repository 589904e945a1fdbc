//! Tests in Java and Kotlin: methods with a test annotation, in classes that JUnit or TestNG runs.

use super::trees::{Tree, has_word, written};
use super::{Cases, Found, Language, Reading, TestStatus, below, not};

/// Annotations of a test; all but the first run it several times, or under names of their own.
const TEST: [&str; 6] = ["Test", "ParameterizedTest", "RepeatedTest", "TestFactory", "TestTemplate", "Property"];

/// Words that begin a type.
const TYPES: [&str; 5] = ["class", "interface", "enum", "record", "object"];

/// What looks like a test in a file.
pub(super) fn read(trees: &[Tree], language: Language) -> Reading {
    let mut reading = Reading { package: package(trees), ..Reading::default() };
    let reader = Reader { is_kotlin: language == Language::Kotlin };
    reader.block(trees, &Around::default(), &mut reading.tests);
    reading
}

fn package(trees: &[Tree]) -> String {
    let Some(at) = trees.iter().position(|tree| tree.is_word("package")) else { return String::new() };
    let is_first = |tree: &Tree| matches!(tree, Tree::Leaf(token) if token.first);
    let name = trees[at + 1..].iter().take_while(|tree| !tree.is_sign(';') && !is_first(tree));
    written(&name.cloned().collect::<Vec<_>>())
}

/// What is around a declaration.
#[derive(Clone, Default)]
struct Around {
    path: Vec<String>,
    why: Option<String>,
    /// A class of JUnit 3: its methods named test… are tests.
    is_test_case: bool,
}

/// The annotations and words before a declaration.
#[derive(Default)]
struct Before<'a> {
    annotations: Vec<(&'a str, &'a [Tree])>,
    words: Vec<&'a str>,
}

struct Reader {
    is_kotlin: bool,
}

impl Reader {
    fn block(&self, trees: &[Tree], around: &Around, found: &mut Vec<Found>) {
        let mut before = Before::default();
        let mut at = 0;
        while let Some(tree) = trees.get(at) {
            let next = |offset: usize| trees.get(at + offset);
            let after_dot = at > 0 && (trees[at - 1].is_sign('.') || trees[at - 1].is_sign(':'));
            if tree.is_sign('@') && !next(1).is_some_and(|tree| tree.is_word("interface")) {
                at = annotation(trees, at + 1, &mut before);
                continue;
            }
            match tree.word() {
                Some(word) if TYPES.contains(&word) && !after_dot && next(1).and_then(Tree::word).is_some() => {
                    at = self.class(trees, at, &before, around, found);
                    before = Before::default();
                }
                Some("fun") if self.is_kotlin => {
                    let parameters = (at + 1..trees.len()).find(|at| trees[*at].group('(').is_some());
                    let end = parameters.unwrap_or(trees.len());
                    let rest = trees.get(end + 1..).unwrap_or_default();
                    let next =
                        rest.iter().position(|tree| tree.is_sign('@') || tree.is_word("fun") || tree.is_word("class"));
                    if let Some(name) = trees.get(end.saturating_sub(1)).and_then(Tree::word) {
                        found.push(self.method(name, &before, around, &rest[..next.unwrap_or(rest.len())]));
                    }
                    before = Before::default();
                    at = end + 1;
                }
                Some("val" | "var" | "init" | "constructor" | "typealias" | "import" | "package") if self.is_kotlin => {
                    before = Before::default();
                    at += 1;
                }
                Some(word) => {
                    let is_method = !self.is_kotlin && next(1).is_some_and(|tree| tree.group('(').is_some());
                    if is_method {
                        let end =
                            (at + 2..trees.len()).find(|at| trees[*at].group('{').is_some() || trees[*at].is_sign(';'));
                        let body = &trees[at..end.map_or(trees.len(), |end| end + 1)];
                        found.push(self.method(word, &before, around, body));
                        at += body.len();
                        before = Before::default();
                    } else {
                        before.words.push(word);
                        at += 1;
                    }
                }
                None if tree.is_sign('=') && !self.is_kotlin => {
                    let end = (at..trees.len()).find(|at| trees[*at].is_sign(';'));
                    at = end.map_or(trees.len(), |end| end + 1);
                    before = Before::default();
                }
                None => {
                    if tree.is_sign(';') || tree.group('{').is_some() {
                        before = Before::default();
                    }
                    at += 1;
                }
            }
        }
    }

    /// A class: where it ends, after its tests were taken.
    fn class(&self, trees: &[Tree], at: usize, before: &Before<'_>, around: &Around, found: &mut Vec<Found>) -> usize {
        let name = trees[at + 1].word().unwrap_or_default();
        let ends_head = |tree: &Tree| {
            tree.group('{').is_some()
                || tree.is_sign(';')
                || tree.is_sign('@')
                || ["class", "fun", "object"].iter().any(|word| tree.is_word(word))
        };
        let end = (at + 2..trees.len()).find(|at| ends_head(&trees[*at])).unwrap_or(trees.len());
        let Some(body) = trees.get(end).and_then(|tree| tree.group('{')) else { return end };
        let head = &trees[at + 2..end];
        let has = |name: &str| before.annotations.iter().any(|(other, _)| *other == name);
        let why = if trees[at].is_word("interface") || trees[at].is_word("object") {
            Some(format!("it is in {} {name}, which is no test class", trees[at].word().unwrap_or_default()))
        } else if before.words.contains(&"abstract") || before.words.contains(&"sealed") {
            Some(format!("its class {name} is abstract"))
        } else if !around.path.is_empty() && !has("Nested") {
            Some(format!("its class {name} is inside another and not @Nested"))
        } else {
            disabled(before)
        };
        let around = Around {
            path: below(&around.path, name),
            why: around.why.clone().or(why),
            is_test_case: head.iter().any(|tree| tree.is_word("TestCase")),
        };
        self.block(body, &around, found);
        end + 1
    }

    fn method(&self, name: &str, before: &Before<'_>, around: &Around, body: &[Tree]) -> Found {
        let test = before.annotations.iter().find(|(name, _)| TEST.contains(name));
        let has = |word| before.words.contains(&word);
        let is_junit3 = around.is_test_case && name.starts_with("test") && (self.is_kotlin || has("public"));
        let status = match (test, &around.why) {
            (None, _) if !is_junit3 => not("it is a method without @Test"),
            _ if around.path.is_empty() => not("it is not in a class"),
            (_, Some(why)) => not(why),
            (Some((_, arguments)), _) if has_word(arguments, "enabled") && has_word(arguments, "false") => {
                not("it is skipped (enabled = false)")
            }
            _ if ["assumeTrue", "assumeFalse", "assumeThat"].iter().any(|word| has_word(body, word)) => {
                not("it may be skipped (by an assumption)")
            }
            _ if has("private") || has("static") || has("abstract") => not("it is private, static or abstract"),
            _ => disabled(before).map_or(TestStatus::Runs, TestStatus::Not),
        };
        let cases = if test.is_some_and(|(name, _)| *name != "Test") { Cases::Unknown } else { Cases::One };
        Found { path: below(&around.path, name), status, cases }
    }
}

/// Takes an annotation whose name begins at `at`; where it ends.
fn annotation<'a>(trees: &'a [Tree], mut at: usize, before: &mut Before<'a>) -> usize {
    let mut name = "";
    while let Some(word) = trees.get(at).and_then(Tree::word) {
        name = word;
        at += 1;
        match trees.get(at) {
            Some(tree) if tree.is_sign('.') || tree.is_sign(':') => at += 1,
            _ => break,
        }
    }
    let arguments = trees.get(at).and_then(|tree| tree.group('('));
    before.annotations.push((name, arguments.unwrap_or_default()));
    at + usize::from(arguments.is_some())
}

fn disabled(before: &Before<'_>) -> Option<String> {
    before.annotations.iter().find_map(|(name, _)| match *name {
        "Disabled" | "Ignore" | "Ignored" => Some(format!("it is skipped (@{name})")),
        name if name.starts_with("Disabled") || name.starts_with("Enabled") => {
            Some(format!("it may be skipped (@{name})"))
        }
        _ => None,
    })
}
