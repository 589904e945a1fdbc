//! Tests in Python, as pytest and unittest collect them.

use std::collections::HashMap;
use std::path::Path;

use super::python_ids::case_ids;
use super::python_skips::{Skips, may_skip_itself, skips_itself};
use super::trees::{Tree, has_word, written};
use super::{Cases, Found, TestStatus, below, not};

/// Methods that run before each test of a class, or before all.
const SETUP: [&str; 9] = [
    "setUp",
    "setUpClass",
    "asyncSetUp",
    "setup",
    "setup_method",
    "setup_class",
    "setup_function",
    "setup_module",
    "setUpModule",
];

/// Statements whose body may run or not.
const CONDITIONAL: [&str; 12] =
    ["if", "elif", "else", "try", "except", "finally", "for", "while", "with", "match", "case", "async"];

/// A line, with those that its brackets or backslashes join to it.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub column: usize,
    pub trees: &'a [Tree],
}

/// What looks like a test in a file.
pub(super) fn tests(trees: &[Tree], file: &str) -> Vec<Found> {
    let lines = lines(trees);
    let mut reader = Reader { skips: Skips::default(), classes: HashMap::new() };
    let mut module = Scope::default();
    reader.block(&lines, &mut module, None);
    let stem = Path::new(file).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let collected = stem.starts_with("test") || stem.ends_with("_test");
    let why = (!collected).then(|| "pytest collects files named test_….py and …_test.py".to_owned());
    let mut found = Vec::new();
    reader.emit(&module, &[], why.or_else(|| module.why.clone()).as_deref(), &mut found);
    found
}

fn lines(trees: &[Tree]) -> Vec<Line<'_>> {
    let starts: Vec<(usize, usize)> = trees
        .iter()
        .enumerate()
        .filter_map(|(at, tree)| match tree {
            Tree::Leaf(token) if token.first => Some((at, token.column)),
            _ => None,
        })
        .collect();
    let ends = starts.iter().skip(1).map(|(at, _)| *at).chain([trees.len()]);
    starts.iter().zip(ends).map(|((at, column), end)| Line { column: *column, trees: &trees[*at..end] }).collect()
}

/// What a module or a class has.
#[derive(Clone, Default)]
struct Scope {
    /// Why none of it runs.
    why: Option<String>,
    functions: Vec<Function>,
    classes: Vec<Class>,
    has_init: bool,
}

#[derive(Clone)]
struct Function {
    name: String,
    status: TestStatus,
    cases: Cases,
}

#[derive(Clone)]
struct Class {
    name: String,
    bases: Vec<String>,
    scope: Scope,
}

struct Reader {
    skips: Skips,
    /// The classes of the module by name, for those that inherit from them.
    classes: HashMap<String, Class>,
}

impl Reader {
    /// The statements of a block. `why` is why no test in it can be told to run.
    fn block(&mut self, lines: &[Line<'_>], scope: &mut Scope, why: Option<&str>) {
        let mut decorators: Vec<&[Tree]> = Vec::new();
        let mut at = 0;
        while let Some(line) = lines.get(at) {
            let nested = lines[at + 1..].iter().take_while(|below| below.column > line.column).count();
            let body = &lines[at + 1..at + 1 + nested];
            at += 1 + nested;
            let skip = usize::from(line.trees.first().is_some_and(|tree| tree.is_word("async")));
            let (first, second) = (line.trees.get(skip).and_then(Tree::word), line.trees.get(skip + 1));
            match (first, second.and_then(Tree::word)) {
                _ if line.trees[0].is_sign('@') => {
                    decorators.push(&line.trees[1..]);
                    continue;
                }
                (Some("def"), Some(name)) => self.function(name, &decorators, line, body, scope, why),
                (Some("class"), Some(name)) => self.class(name, &decorators, line, body, scope, why),
                (Some("from" | "import"), _) => self.skips.import(line.trees),
                (Some("del"), _) => {
                    for name in line.trees[1..].iter().filter_map(Tree::word) {
                        scope.hide(name, "its name is deleted");
                    }
                }
                (Some(word), _) if CONDITIONAL.contains(&word) => self.conditional(line, body, scope, why),
                _ => self.plain(line, scope),
            }
            decorators.clear();
        }
    }

    fn function(
        &mut self,
        name: &str,
        decorators: &[&[Tree]],
        line: &Line<'_>,
        body: &[Line<'_>],
        scope: &mut Scope,
        why: Option<&str>,
    ) {
        let skips = skips_itself(line, body);
        scope.has_init |= name == "__init__";
        if SETUP.contains(&name) && skips {
            scope.why.get_or_insert_with(|| format!("it is skipped (by {name})"));
        }
        let is_autouse =
            decorators.iter().any(|decorator| has_word(decorator, "fixture") && has_word(decorator, "autouse"));
        if is_autouse && body.iter().any(|line| has_word(line.trees, "skip")) {
            scope.why.get_or_insert_with(|| format!("it may be skipped (by the fixture {name})"));
        }
        let has_word_in_body = |word| body.iter().chain([line]).any(|line| has_word(line.trees, word));
        let status = if !name.starts_with("test") {
            not("pytest collects functions named test…")
        } else if let Some(reason) = decorators.iter().find_map(|decorator| self.skips.reason(decorator)) {
            not(reason)
        } else if let Some(why) = why {
            not(why)
        } else if skips {
            not("it skips itself")
        } else if may_skip_itself(body) {
            not("it may skip itself")
        } else if has_word_in_body("yield") && !body.iter().any(|line| has_word(line.trees, "def")) {
            not("it is a generator, which pytest does not run")
        } else {
            TestStatus::Runs
        };
        scope.hide(name, "another of this name comes after it");
        scope.functions.push(Function { name: name.to_owned(), status, cases: case_ids(decorators) });
    }

    fn class(
        &mut self,
        name: &str,
        decorators: &[&[Tree]],
        line: &Line<'_>,
        body: &[Line<'_>],
        scope: &mut Scope,
        why: Option<&str>,
    ) {
        let bases = line.trees.iter().find_map(|tree| tree.group('(')).unwrap_or_default();
        let bases = bases.split(|tree| tree.is_sign(',')).filter_map(|base| base.last()?.word().map(str::to_owned));
        let skipped = decorators.iter().find_map(|decorator| self.skips.reason(decorator)).or(why.map(str::to_owned));
        let mut inside = Scope { why: skipped, ..Scope::default() };
        self.block(body, &mut inside, None);
        if decorators
            .iter()
            .any(|decorator| has_word(decorator, "parametrize") || has_word(decorator, "parameterized_class"))
        {
            inside.functions.iter_mut().for_each(|function| function.cases = Cases::Unknown);
        }
        let class = Class { name: name.to_owned(), bases: bases.collect(), scope: inside };
        self.classes.insert(name.to_owned(), class.clone());
        scope.classes.retain(|other| other.name != name);
        scope.classes.push(class);
    }

    /// `if`, `try` and the like: what they define may not be there.
    fn conditional(&mut self, line: &Line<'_>, body: &[Line<'_>], scope: &mut Scope, why: Option<&str>) {
        let end = line.trees.iter().position(|tree| tree.is_sign(':')).unwrap_or(line.trees.len());
        let (head, rest) = line.trees.split_at(end);
        let never = head.first().is_some_and(|tree| tree.is_word("if")) && Skips::never(&head[1..]);
        let mut inline = Vec::new();
        if rest.len() > 1 {
            inline.push(Line { column: line.column + 1, trees: &rest[1..] });
        }
        inline.extend_from_slice(body);
        let mut inside = Scope::default();
        let reason = format!("it is defined under a condition ({})", written(head));
        self.block(&inline, &mut inside, Some(why.unwrap_or(&reason)));
        if let (Some(_), false) = (&inside.why, never) {
            scope.why.get_or_insert_with(|| format!("it may be skipped ({})", written(head)));
        }
        for function in inside.functions {
            scope.hide(&function.name, "another of this name comes after it");
            scope.functions.push(function);
        }
        scope.classes.extend(inside.classes);
    }

    /// Any other statement: an assignment, or a call that skips the module.
    fn plain(&mut self, line: &Line<'_>, scope: &mut Scope) {
        let equals = line.trees.iter().position(|tree| tree.is_sign('='));
        if let (Some(name), Some(equals)) = (line.trees[0].word(), equals) {
            let value = &line.trees[equals + 1..];
            match name {
                "pytestmark" => {
                    let marks: Vec<&[Tree]> = match value {
                        [Tree::Group(_, marks)] => marks.split(|tree| tree.is_sign(',')).collect(),
                        mark => vec![mark],
                    };
                    let reason = marks.iter().find_map(|mark| self.skips.reason(mark));
                    scope.why = scope.why.take().or(reason);
                }
                "__test__" if written(value) != "True" => {
                    scope.why = Some("pytest does not collect it (__test__)".to_owned());
                }
                name if equals == 1 => {
                    scope.hide(name, "its name is given to something else");
                    self.skips.name(name, value);
                }
                _ => {}
            }
        } else if skips_itself(line, &[]) || super::python_skips::is_skip(line.trees) {
            scope.why = Some("the whole file is skipped".to_owned());
        }
    }

    fn emit(&self, scope: &Scope, path: &[String], why: Option<&str>, found: &mut Vec<Found>) {
        for function in &scope.functions {
            found.push(function.found(path, why));
        }
        for class in &scope.classes {
            let of_class = why.map(str::to_owned).or_else(|| self.why_not(class, path.len()));
            let path = below(path, &class.name);
            self.emit(&class.scope, &path, of_class.as_deref(), found);
            for function in self.inherited(class, 0) {
                if !class.scope.functions.iter().any(|own| own.name == function.name) {
                    found.push(function.found(&path, of_class.as_deref()));
                }
            }
        }
    }

    /// Why a class has no tests.
    fn why_not(&self, class: &Class, depth: usize) -> Option<String> {
        let is_unittest = self.is_unittest(class, 0);
        if let Some(why) = self.own_and_inherited(class, 0, &|class| class.scope.why.clone()) {
            Some(why)
        } else if is_unittest {
            (depth > 0).then(|| "unittest does not collect classes inside others".to_owned())
        } else if !class.name.starts_with("Test") {
            Some("pytest collects classes named Test… and those of unittest.TestCase".to_owned())
        } else {
            let init =
                |class: &Class| class.scope.has_init.then(|| "pytest collects no class with __init__".to_owned());
            self.own_and_inherited(class, 0, &init)
        }
    }

    fn base(&self, name: &str) -> Option<&Class> {
        self.classes.get(name)
    }

    fn own_and_inherited(
        &self,
        class: &Class,
        depth: usize,
        what: &dyn Fn(&Class) -> Option<String>,
    ) -> Option<String> {
        let bases =
            || class.bases.iter().filter(|base| **base != class.name && depth < 8).filter_map(|base| self.base(base));
        what(class).or_else(|| bases().find_map(|base| self.own_and_inherited(base, depth + 1, what)))
    }

    fn is_unittest(&self, class: &Class, depth: usize) -> bool {
        class.bases.iter().any(|base| {
            base.ends_with("TestCase")
                || (depth < 8 && self.base(base).is_some_and(|base| self.is_unittest(base, depth + 1)))
        })
    }

    fn inherited(&self, class: &Class, depth: usize) -> Vec<&Function> {
        let mut functions: Vec<&Function> = Vec::new();
        for base in class.bases.iter().filter(|base| **base != class.name && depth < 8) {
            let Some(base) = self.base(base) else { continue };
            for function in base.scope.functions.iter().chain(self.inherited(base, depth + 1)) {
                if !functions.iter().any(|known| known.name == function.name) {
                    functions.push(function);
                }
            }
        }
        functions
    }
}

impl Scope {
    /// An earlier definition of a name is no test any more.
    fn hide(&mut self, name: &str, why: &str) {
        for function in self.functions.iter_mut().filter(|function| function.name == name) {
            function.status = not(why);
        }
    }
}

impl Function {
    fn found(&self, path: &[String], why: Option<&str>) -> Found {
        let status = match (&self.status, why) {
            (TestStatus::Runs, Some(why)) => not(why),
            (status, _) => status.clone(),
        };
        Found { path: below(path, &self.name), status, cases: self.cases.clone() }
    }
}
