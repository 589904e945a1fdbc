//! The tokens of a source file in the groups that its brackets make.

use super::Language;
use super::lexer::{Kind, MAX_DEPTH, Token, tokens};

/// A token, or what is between two brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tree {
    Leaf(Token),
    Group(char, Vec<Tree>),
}

impl Tree {
    /// The word that it is.
    pub fn word(&self) -> Option<&str> {
        match self {
            Self::Leaf(token) if token.kind == Kind::Word => Some(&token.text),
            _ => None,
        }
    }

    pub fn is_word(&self, word: &str) -> bool {
        self.word() == Some(word)
    }

    pub fn is_sign(&self, sign: char) -> bool {
        matches!(self, Self::Leaf(token) if token.kind == Kind::Sign && token.text.starts_with(sign))
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Leaf(token) if token.kind == Kind::Text => Some(&token.text),
            _ => None,
        }
    }

    /// What is inside, if it is a group with this bracket.
    pub fn group(&self, open: char) -> Option<&[Tree]> {
        match self {
            Self::Group(bracket, inside) if *bracket == open => Some(inside),
            _ => None,
        }
    }

    fn write(&self, text: &mut String) {
        match self {
            Self::Leaf(token) if matches!(token.kind, Kind::Text | Kind::Template) => {
                text.push_str(&format!("\"{}\"", token.text));
            }
            Self::Leaf(token) => text.push_str(&token.text),
            Self::Group(open, inside) => {
                text.push(*open);
                text.push_str(&written(inside));
                text.push(closing(*open));
            }
        }
    }
}

/// Trees as they are written, with a space only between two words.
pub(super) fn written(trees: &[Tree]) -> String {
    let mut text = String::new();
    for tree in trees {
        if tree.word().is_some() && text.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            text.push(' ');
        }
        tree.write(&mut text);
    }
    text
}

/// Whether a word occurs anywhere in the trees.
pub(super) fn has_word(trees: &[Tree], wanted: &str) -> bool {
    trees.iter().any(|tree| match tree {
        Tree::Leaf(_) => tree.is_word(wanted),
        Tree::Group(_, inside) => has_word(inside, wanted),
    })
}

fn closing(open: char) -> char {
    match open {
        '(' => ')',
        '[' => ']',
        _ => '}',
    }
}

/// The trees of a source text. `None` where its brackets do not match: what is in it can't be told.
pub(super) fn trees(text: &str, language: Language) -> Option<Vec<Tree>> {
    let mut open: Vec<(char, Vec<Tree>)> = Vec::new();
    let mut here = Vec::new();
    for token in tokens(text, language) {
        match (token.kind, token.text.chars().next()) {
            (Kind::Sign, Some(bracket @ ('(' | '[' | '{'))) => {
                open.push((bracket, std::mem::take(&mut here)));
                if open.len() > MAX_DEPTH {
                    return None;
                }
            }
            (Kind::Sign, Some(close @ (')' | ']' | '}'))) => {
                let (bracket, before) = open.pop()?;
                if closing(bracket) != close {
                    return None;
                }
                let inside = std::mem::replace(&mut here, before);
                here.push(Tree::Group(bracket, inside));
            }
            _ => here.push(Tree::Leaf(token)),
        }
    }
    open.is_empty().then_some(here)
}
