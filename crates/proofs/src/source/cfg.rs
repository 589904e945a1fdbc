//! Whether code is built for a test: the conditions of `#[cfg(…)]`, as far as they can be told.

use super::trees::{Tree, written};

/// A condition, or what makes it doubtful.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    True,
    False,
    Unknown,
}

use Condition::{False, True, Unknown};

impl Condition {
    fn of(holds: bool) -> Self {
        if holds { True } else { False }
    }
}

/// Evaluates a condition. Features may be on: they are unknown. A name that only `--cfg` sets is off.
pub(super) fn evaluate(condition: &[Tree]) -> Condition {
    match condition {
        [name, Tree::Group('(', inside)] => {
            let parts = || inside.split(|tree| tree.is_sign(',')).filter(|part| !part.is_empty()).map(evaluate);
            match name.word() {
                Some("all") => {
                    if parts().any(|part| part == False) {
                        False
                    } else if parts().all(|part| part == True) {
                        True
                    } else {
                        Unknown
                    }
                }
                Some("any") => {
                    if parts().any(|part| part == True) {
                        True
                    } else if parts().all(|part| part == False) {
                        False
                    } else {
                        Unknown
                    }
                }
                Some("not") => match evaluate(inside) {
                    True => False,
                    False => True,
                    Unknown => Unknown,
                },
                _ => Unknown,
            }
        }
        [name] => match name.word() {
            Some("test" | "unix" | "panic" | "true") => True,
            Some("debug_assertions" | "overflow_checks") => Unknown,
            _ => False,
        },
        [name, equals, value] if equals.is_sign('=') => {
            let value = value.text().unwrap_or_default();
            match name.word() {
                // cacheproof runs on Linux only.
                Some("target_os") => Condition::of(value == "linux"),
                Some("target_family") => Condition::of(value == "unix"),
                Some("panic") => Condition::of(value == "unwind"),
                _ => Unknown,
            }
        }
        _ => Unknown,
    }
}

/// What `#[cfg(…)]` says where the code is not built.
pub(super) fn never_built(inside: &[Tree]) -> Option<String> {
    (evaluate(inside) == False).then(|| format!("it is not built (#[cfg({})])", written(inside)))
}
