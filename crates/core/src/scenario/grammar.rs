//! The grammar of rules: text in, a tree out in which names are still names.
//!
//! ```text
//! rule   = term OP limit
//! limit  = value clause* | factor ["of"] term | term
//! term   = METRIC clause*
//! clause = "on" ("cached" | "uncached") | "for" NAME | "in" NAME
//! factor = 40% (with "of") | 2.5x
//! ```
//! Clauses after a value belong to the metric on the left.

use std::ops::Range;

use super::Op;
use super::metric_name::metric;
use super::problem::{known_names, nearest};
use crate::journal::CachePath;
use crate::metrics::{Metric, Quantity, QuantityError, as_percent};

/// Why a text is not a rule, and which part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GrammarError {
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) help: String,
}

/// A rule whose names are not looked up yet.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RuleTree {
    pub(super) term: TermTree,
    pub(super) op: Op,
    pub(super) limit: LimitTree,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum LimitTree {
    Value(Quantity, Range<usize>),
    Of(f64, TermTree),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct TermTree {
    pub(super) metric: Metric,
    pub(super) span: Range<usize>,
    pub(super) path: Option<(CachePath, Range<usize>)>,
    pub(super) request: Option<(String, Range<usize>)>,
    pub(super) phase: Option<(String, Range<usize>)>,
}

/// Reads a rule.
pub(super) fn parse(text: &str) -> Result<RuleTree, GrammarError> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens, next: 0, end: text.len() };
    parser.rule()
}

#[derive(Clone, Debug, PartialEq)]
enum TokenKind {
    Word(String),
    Quoted(String),
    Op(Op),
}

#[derive(Clone, Debug)]
struct Token {
    kind: TokenKind,
    span: Range<usize>,
}

fn error<T>(span: Range<usize>, message: impl Into<String>, help: impl Into<String>) -> Result<T, GrammarError> {
    Err(GrammarError { span, message: message.into(), help: help.into() })
}

const OPS_HELP: &str = "rules compare with < <= == != >= >";
const RULE_SYNTAX: &str =
    "a rule is METRIC [on PATH] [for REQUEST] [in PHASE] OP VALUE, e.g. \"p95 on cached in steady < 150ms\"";

const FACTOR_HELP: &str = "write a factor as 2.5x or 40% of";

/// How a plain number is written as a factor: 0.4 as `0.4x or 40% of`, 40 as `40x or 40% of`.
fn factors(number: &str) -> String {
    let percent = match number.parse() {
        Ok(Quantity::Count(factor)) if number.contains('.') => as_percent(factor),
        _ => number.to_owned(),
    };
    format!("{number}x or {percent}% of")
}

fn is_op(c: char) -> bool {
    matches!(c, '<' | '>' | '=' | '!' | '≤' | '≥')
}

fn tokens(text: &str) -> Result<Vec<Token>, GrammarError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let length_while = |test: &dyn Fn(char) -> bool| rest.find(|c: char| !test(c)).unwrap_or(rest.len());
        let (length, kind) = if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        } else if first == '\'' || first == '"' {
            let Some(inner) = rest[1..].find(first) else {
                return error(at..text.len(), "this quote is never closed", format!("close it with {first}"));
            };
            (inner + 2, TokenKind::Quoted(rest[1..=inner].to_owned()))
        } else if is_op(first) {
            let length = length_while(&is_op);
            let op = match &rest[..length] {
                "<" => Op::Less,
                "<=" => Op::AtMost,
                "==" => Op::Equal,
                "!=" => Op::NotEqual,
                ">=" => Op::AtLeast,
                ">" => Op::More,
                wrong => {
                    let meant = match wrong {
                        "=" | "===" => "write == for equal",
                        "=<" | "≤" => "write <= for at most",
                        "=>" | "≥" => "write >= for at least",
                        "<>" | "!" => "write != for not equal",
                        _ => OPS_HELP,
                    };
                    return error(at..at + length, format!("\"{wrong}\" is not a comparison"), meant);
                }
            };
            (length, TokenKind::Op(op))
        } else {
            let length = length_while(&|c| !(c.is_whitespace() || is_op(c) || c == '\'' || c == '"'));
            (length, TokenKind::Word(rest[..length].to_owned()))
        };
        tokens.push(Token { kind, span: at..at + length });
        at += length;
    }
    Ok(tokens)
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    end: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn take(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.next).cloned();
        self.next += 1;
        token
    }

    fn end(&self) -> Range<usize> {
        self.end..self.end
    }

    /// What to do about a word behind a name: several words may have been meant as one.
    fn unquoted(&self, word: &str, at: usize) -> String {
        let before = self.tokens.iter().rev().find(|token| token.span.end <= at);
        match before.map(|token| &token.kind) {
            Some(TokenKind::Word(name)) if metric(name).is_err() && !matches!(name.as_str(), "on" | "for" | "in") => {
                format!("a name of several words is written in quotes: '{name} {word}'")
            }
            _ => "write on, for or in, and then the comparison".to_owned(),
        }
    }

    fn rule(&mut self) -> Result<RuleTree, GrammarError> {
        let mut term = self.term()?;
        let op = match self.take() {
            Some(Token { kind: TokenKind::Op(op), .. }) => op,
            Some(Token { kind: TokenKind::Word(word) | TokenKind::Quoted(word), span }) => {
                let help = match word.as_str() {
                    "is" | "below" | "under" | "above" | "over" | "at" => OPS_HELP.to_owned(),
                    _ => nearest(&word, ["on", "for", "in"]).map_or_else(
                        || self.unquoted(&word, span.start),
                        |clause| format!("did you mean {clause}? {OPS_HELP}"),
                    ),
                };
                return error(span, format!("\"{word}\" is not understood"), help);
            }
            None => return error(self.end(), "the comparison is missing", RULE_SYNTAX),
        };
        let limit = self.limit(&mut term)?;
        match self.take() {
            None => Ok(RuleTree { term, op, limit }),
            Some(token) => error(token.span, "the rule should end here", "write one comparison a rule"),
        }
    }

    fn term(&mut self) -> Result<TermTree, GrammarError> {
        let (word, span) = match self.take() {
            Some(Token { kind: TokenKind::Word(word), span }) => (word, span),
            Some(token) => return error(token.span, "a metric is expected here", RULE_SYNTAX),
            None => return error(self.end(), "a metric is missing", RULE_SYNTAX),
        };
        let metric = match metric(&word) {
            Ok(metric) => metric,
            Err(help) => return error(span, format!("\"{word}\" is not a metric"), help),
        };
        let mut term = TermTree { metric, span, path: None, request: None, phase: None };
        self.clauses(&mut term)?;
        Ok(term)
    }

    fn clauses(&mut self, term: &mut TermTree) -> Result<(), GrammarError> {
        while let Some(Token { kind: TokenKind::Word(word), span }) = self.peek().cloned() {
            let (taken, what) = match word.as_str() {
                "on" => (term.path.is_some(), "cached or uncached"),
                "for" => (term.request.is_some(), "the name of a request"),
                "in" => (term.phase.is_some(), "the name of a phase"),
                _ => break,
            };
            if taken {
                let help = format!("write \"{word}\" once in a term");
                return error(span, format!("\"{word}\" is here twice"), help);
            }
            self.next += 1;
            let (name, span) = match self.take() {
                Some(Token { kind: TokenKind::Word(name) | TokenKind::Quoted(name), span }) => (name, span),
                Some(Token { span, .. }) => return error(span, format!("\"{word}\" needs {what}"), RULE_SYNTAX),
                None => return error(self.end(), format!("\"{word}\" needs {what}"), RULE_SYNTAX),
            };
            match word.as_str() {
                "on" => match name.as_str() {
                    "cached" => term.path = Some((CachePath::Cached, span)),
                    "uncached" => term.path = Some((CachePath::Uncached, span)),
                    _ => {
                        let help = known_names(&name, "paths", ["cached", "uncached"]);
                        return error(span, format!("\"{name}\" is not a path"), help);
                    }
                },
                "for" => term.request = Some((name, span)),
                _ => term.phase = Some((name, span)),
            }
        }
        Ok(())
    }

    fn limit(&mut self, left: &mut TermTree) -> Result<LimitTree, GrammarError> {
        let (word, span) = match self.peek().cloned() {
            Some(Token { kind: TokenKind::Word(word), span }) => (word, span),
            Some(token) => return error(token.span, "a value or a metric is expected here", RULE_SYNTAX),
            None => return error(self.end(), "the value is missing", RULE_SYNTAX),
        };
        if !word.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.')) {
            return Ok(LimitTree::Of(1.0, self.term()?));
        }
        self.next += 1;
        let of = matches!(self.peek(), Some(Token { kind: TokenKind::Word(of), .. }) if of == "of");
        let value = match word.strip_suffix('x') {
            Some(number) => match number.parse() {
                Ok(Quantity::Count(factor)) => Quantity::Share(factor),
                _ => return error(span, format!("\"{word}\" is not a factor"), FACTOR_HELP),
            },
            None => match word.parse() {
                Ok(value) => value,
                Err(QuantityError { message, help }) => return error(span, message, help),
            },
        };
        match value {
            Quantity::Share(factor) if of || word.ends_with('x') => {
                if factor == 0.0 {
                    return error(span, "a factor of 0", "compare with 0 itself");
                }
                self.next += usize::from(of);
                if self.peek().is_none() {
                    return error(self.end(), "the second metric is missing", "name what the factor multiplies");
                }
                Ok(LimitTree::Of(factor, self.term()?))
            }
            Quantity::Count(_) if of => {
                error(span, format!("\"{word}\" is not a factor"), format!("write {}", factors(&word)))
            }
            _ if of => error(span, format!("\"{word}\" is not a factor"), FACTOR_HELP),
            value => {
                self.after_value(&word)?;
                self.clauses(left)?;
                Ok(LimitTree::Value(value, span))
            }
        }
    }

    /// A word behind a value is a unit that was set apart, or a forgotten "of".
    fn after_value(&self, value: &str) -> Result<(), GrammarError> {
        let Some(Token { kind: TokenKind::Word(word), span }) = self.peek() else { return Ok(()) };
        if matches!(word.as_str(), "on" | "for" | "in") {
            return Ok(());
        }
        let joined = format!("{value}{word}");
        let is_number = matches!(value.parse(), Ok(Quantity::Count(_)));
        let help = if is_number && (metric(word).is_ok() || matches!(word.as_str(), "*" | "×" | "x" | "times")) {
            format!("write {}", factors(value))
        } else if metric(word).is_ok() {
            format!("write {value} of {word}")
        } else if joined.parse::<Quantity>().is_ok() {
            format!("write {joined}")
        } else {
            "only on, for and in can follow a value".to_owned()
        };
        error(span.clone(), format!("\"{word}\" is not understood"), help)
    }
}
