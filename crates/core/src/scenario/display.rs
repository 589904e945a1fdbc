//! Terms and rules in words: the same words that a rule is written in.

use std::fmt;

use super::{Limit, Op, Rule, Scenario, Term};
use crate::metrics::as_percent;

impl Op {
    /// As a rule writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::AtLeast => ">=",
            Self::More => ">",
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Term {
    /// The term as a rule of this scenario writes it: `p95 on cached for 'read post' in steady`.
    pub fn display<'a>(&'a self, scenario: &'a Scenario) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| {
            write!(f, "{}", self.metric)?;
            if let Some(path) = self.path {
                write!(f, " on {}", path.as_str())?;
            }
            if let Some(request) = self.request.and_then(|index| scenario.traffic.requests.get(index)) {
                write!(f, " for {}", name(&request.name))?;
            }
            if let Some(phase) = self.phase.and_then(|index| scenario.phases.get(index)) {
                write!(f, " in {}", name(&phase.name))?;
            }
            Ok(())
        })
    }
}

impl Rule {
    /// The rule in its plainest words. Parsed again it is the same rule.
    pub fn display<'a>(&'a self, scenario: &'a Scenario) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| {
            write!(f, "{} {} ", self.term.display(scenario), self.op)?;
            match &self.limit {
                Limit::Value(value) => write!(f, "{value}"),
                Limit::Of { factor, term } if *factor == 1.0 => write!(f, "{}", term.display(scenario)),
                Limit::Of { factor, term } if *factor < 1.0 => {
                    write!(f, "{}% of {}", as_percent(*factor), term.display(scenario))
                }
                Limit::Of { factor, term } => write!(f, "{factor}x {}", term.display(scenario)),
            }
        })
    }
}

/// A name as a rule writes it: in quotes where it is not one plain word.
pub(super) fn name(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
        && !name.is_empty()
        && !matches!(name, "on" | "for" | "in" | "of");
    match (plain, name.contains('\'')) {
        (true, _) => name.to_owned(),
        (false, false) => format!("'{name}'"),
        (false, true) => format!("\"{name}\""),
    }
}
