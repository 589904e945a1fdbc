//! What skips a test in Python: marks of pytest, decorators of unittest, and calls in the test itself.

use std::collections::HashMap;

use super::python::Line;
use super::trees::{Tree, has_word, written};

/// Conditions that never hold where cacheproof runs.
const NEVER: [&str; 8] = [
    "False",
    "0",
    "sys.platform==\"win32\"",
    "sys.platform==\"darwin\"",
    "sys.platform.startswith(\"win\")",
    "os.name==\"nt\"",
    "platform.system()==\"Windows\"",
    "TYPE_CHECKING",
];

/// Knows the marks that a module gives a name: `needs_redis = pytest.mark.skipif(…)`.
#[derive(Default)]
pub(super) struct Skips {
    named: HashMap<String, Vec<Tree>>,
}

impl Skips {
    /// Whether a condition never holds.
    pub fn never(condition: &[Tree]) -> bool {
        NEVER.contains(&written(condition).as_str())
    }

    /// Takes note of what a name stands for.
    pub fn name(&mut self, name: &str, value: &[Tree]) {
        self.named.insert(name.to_owned(), value.to_vec());
    }

    /// Takes note of `from unittest import skip as later`.
    pub fn import(&mut self, statement: &[Tree]) {
        let names = statement.iter().flat_map(|tree| match tree {
            Tree::Group(_, inside) => inside.as_slice(),
            leaf => std::slice::from_ref(leaf),
        });
        let names: Vec<&Tree> = names.collect();
        for window in names.windows(3) {
            if let ([name, keyword, alias], Some(known)) = (window, window[2].word())
                && keyword.is_word("as")
                && alias.word().is_some()
            {
                self.named.insert(known.to_owned(), vec![(*name).clone()]);
            }
        }
    }

    /// Why what has this decorator or mark is no test that runs.
    pub fn reason(&self, mark: &[Tree]) -> Option<String> {
        let end = mark.iter().position(|tree| tree.word().is_none() && !tree.is_sign('.')).unwrap_or(mark.len());
        if let [Tree::Leaf(alone)] = &mark[..end]
            && let Some(value) = self.named.get(&alone.text)
        {
            return reason(value);
        }
        reason(mark)
    }
}

fn reason(mark: &[Tree]) -> Option<String> {
    let end = mark.iter().position(|tree| tree.word().is_none() && !tree.is_sign('.')).unwrap_or(mark.len());
    let last = mark[..end].last()?.word()?;
    let arguments = mark.get(end).and_then(|tree| tree.group('(')).unwrap_or_default();
    let condition = arguments.split(|tree| tree.is_sign(',')).next().unwrap_or_default();
    let shown = || {
        let text: String = written(mark).chars().take(60).collect();
        format!("(@{text})")
    };
    let may = || Some(format!("it may be skipped {}", shown()));
    match last {
        "skip" => Some(format!("it is skipped {}", shown())),
        "skipif" | "skipIf" => match written(condition).as_str() {
            "True" | "1" => Some(format!("it is skipped {}", shown())),
            _ if Skips::never(condition) => None,
            _ => may(),
        },
        "skipUnless" => match written(condition).as_str() {
            "True" | "1" => None,
            "False" | "0" => Some(format!("it is skipped {}", shown())),
            _ => may(),
        },
        "xfail" | "expectedFailure" => Some(format!("it is expected to fail {}", shown())),
        "fixture" => Some("it is a fixture, not a test".to_owned()),
        "parametrize" => {
            let values = arguments.split(|tree| tree.is_sign(',')).nth(1).unwrap_or_default();
            let is_empty = matches!(values, [Tree::Group(_, inside)] if inside.is_empty());
            if is_empty {
                Some("it has no cases, so it is skipped".to_owned())
            } else if has_word(arguments, "skip") || has_word(arguments, "skipif") || has_word(arguments, "xfail") {
                Some("one of its cases is skipped".to_owned())
            } else {
                None
            }
        }
        other if other.to_lowercase().contains("skip") => may(),
        _ => None,
    }
}

/// Whether a statement skips what it is in.
pub(super) fn is_skip(statement: &[Tree]) -> bool {
    let end = statement.iter().position(|tree| matches!(tree, Tree::Group(..))).unwrap_or(statement.len());
    let text = written(&statement[..end]);
    let text = text.strip_prefix("return ").unwrap_or(&text);
    matches!(text, "pytest.skip" | "pytest.xfail" | "self.skipTest" | "skip" | "skipTest")
        // Whether the module is there is not known here.
        || text.ends_with("importorskip")
        || (text.starts_with("raise ") && text.to_lowercase().contains("skip"))
}

/// Whether a function skips itself whatever happens: a statement of its own body does.
pub(super) fn skips_itself(line: &Line<'_>, body: &[Line<'_>]) -> bool {
    let colon = line.trees.iter().rposition(|tree| tree.is_sign(':'));
    let inline = colon.map(|at| &line.trees[at + 1..]).filter(|inline| !inline.is_empty());
    let column = body.first().map(|line| line.column);
    let own = body.iter().filter(|line| Some(line.column) == column).map(|line| line.trees);
    own.chain(inline).any(|statement| statement.split(|tree| tree.is_sign(';')).any(is_skip))
}

/// Whether anything in a function may skip it: `pytest.skip(…)` under a condition.
pub(super) fn may_skip_itself(body: &[Line<'_>]) -> bool {
    let calls = |statement: &[Tree]| {
        let text = written(statement);
        ["pytest.skip(", "pytest.xfail(", "self.skipTest(", "pytest.importorskip("]
            .iter()
            .any(|call| text.contains(call))
            || text.contains("raise unittest.SkipTest")
            || text.contains("raise SkipTest")
    };
    body.iter().any(|line| calls(line.trees))
}
