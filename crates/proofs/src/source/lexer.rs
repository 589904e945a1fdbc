//! Words, texts and signs of a source file, without its comments.

use super::Language;

/// Deeper brackets than these are no test file.
pub(super) const MAX_DEPTH: usize = 200;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name, a keyword or a number.
    Word,
    /// A text in quotes.
    Text,
    /// A text in which values are filled in; they stand in it as they are written.
    Template,
    /// Any other character.
    Sign,
}

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub kind: Kind,
    /// A text without its quotes, escapes undone.
    pub text: String,
    /// Whether it is the first of its line.
    pub first: bool,
    /// Its column, where it is the first of its line.
    pub column: usize,
}

/// The tokens of a text.
pub(super) fn tokens(text: &str, language: Language) -> Vec<Token> {
    Lexer::new(text, language).tokens()
}

struct Lexer<'a> {
    text: &'a str,
    language: Language,
    at: usize,
    tokens: Vec<Token>,
    first: bool,
    column: usize,
}

impl<'a> Lexer<'a> {
    fn new(text: &'a str, language: Language) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self { text, language, at: 0, tokens: Vec::new(), first: true, column: 0 }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self, offset: usize) -> Option<char> {
        self.rest().chars().nth(offset)
    }

    fn tokens(mut self) -> Vec<Token> {
        if self.rest().starts_with("#!") && !self.rest().starts_with("#![") {
            self.skip_line();
        }
        while let Some(next) = self.peek(0) {
            match next {
                '\n' => {
                    self.at += 1;
                    (self.first, self.column) = (true, 0);
                }
                '\\' if self.language == Language::Python
                    && self.rest()[1..].trim_start_matches('\r').starts_with('\n') =>
                {
                    self.at += 1 + self.rest()[1..].find('\n').unwrap_or(0) + 1;
                }
                _ if next.is_whitespace() => {
                    self.at += next.len_utf8();
                    self.column = if next == '\t' { (self.column / 8 + 1) * 8 } else { self.column + 1 };
                }
                _ if self.skip_comment() => {}
                _ => self.token(next),
            }
        }
        self.tokens
    }

    fn skip_line(&mut self) {
        self.at += self.rest().find('\n').unwrap_or(self.rest().len());
    }

    fn skip_comment(&mut self) -> bool {
        let rest = self.rest();
        if self.language == Language::Python {
            let comment = rest.starts_with('#');
            if comment {
                self.skip_line();
            }
            return comment;
        }
        if rest.starts_with("//") || (self.language == Language::JavaScript && rest.starts_with("<!--")) {
            self.skip_line();
            return true;
        }
        if !rest.starts_with("/*") {
            return false;
        }
        let nests = matches!(self.language, Language::Rust | Language::Kotlin);
        let (mut depth, mut at) = (1, 2);
        while depth > 0 && at < rest.len() {
            if rest[at..].starts_with("*/") {
                (depth, at) = (depth - 1, at + 2);
            } else if nests && rest[at..].starts_with("/*") {
                (depth, at) = (depth + 1, at + 2);
            } else {
                at += rest[at..].chars().next().map_or(1, char::len_utf8);
            }
        }
        self.at += at.min(rest.len());
        true
    }

    fn push(&mut self, kind: Kind, text: String) {
        let first = std::mem::take(&mut self.first);
        self.tokens.push(Token { kind, text, first, column: self.column });
    }

    fn token(&mut self, next: char) {
        if self.text_token() {
            return;
        }
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || (c == '$' && self.language == Language::JavaScript);
        if is_word(next) {
            let rest = self.rest();
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            self.push(Kind::Word, rest[..end].to_owned());
            self.at += end;
            return;
        }
        self.push(Kind::Sign, next.to_string());
        self.at += next.len_utf8();
    }

    /// Takes a text in quotes, or whatever must not be read as code; false where there is none here.
    fn text_token(&mut self) -> bool {
        match self.language {
            Language::Rust => self.rust_text(),
            Language::Python => self.python_text(),
            Language::JavaScript => self.javascript_text(),
            Language::Go => self.go_text(),
            Language::Java | Language::Kotlin => self.jvm_text(),
        }
    }

    fn rust_text(&mut self) -> bool {
        let rest = self.rest();
        let prefix = ["br", "cr", "r"].into_iter().find(|prefix| rest.starts_with(prefix));
        if let Some(prefix) = prefix {
            let hashes = rest[prefix.len()..].bytes().take_while(|byte| *byte == b'#').count();
            let start = prefix.len() + hashes;
            if rest[start..].starts_with('"') {
                let end = format!("\"{}", "#".repeat(hashes));
                let inside = &rest[start + 1..];
                let length = inside.find(&end).unwrap_or(inside.len());
                self.push(Kind::Text, inside[..length].to_owned());
                self.at += (start + 1 + length + end.len()).min(rest.len());
                return true;
            }
            if prefix == "r" && hashes == 1 {
                self.at += 2; // a raw identifier
                return false;
            }
        }
        let quote = if rest.starts_with(['b', 'c']) { 1 } else { 0 };
        match rest[quote..].chars().next() {
            Some('"') => self.quoted(quote, "\"", true),
            Some('\'') => {
                let mut inside = rest[quote + 1..].chars();
                let is_char = match inside.next() {
                    Some('\\') => true,
                    Some('\'') | None => false,
                    Some(_) => inside.next() == Some('\''),
                };
                if is_char {
                    self.quoted(quote, "'", true)
                } else {
                    // A lifetime: its name is a word.
                    if quote == 0 {
                        self.at += 1;
                    }
                    quote == 0
                }
            }
            _ => false,
        }
    }

    fn python_text(&mut self) -> bool {
        let rest = self.rest();
        let prefix = rest.bytes().take(2).take_while(|byte| b"rRbBuUfFtT".contains(byte)).count();
        let template = rest[..prefix].contains(['f', 'F', 't', 'T']);
        let quotes = ["\"\"\"", "'''", "\"", "'"];
        let Some(quote) = quotes.into_iter().find(|quote| rest[prefix..].starts_with(quote)) else { return false };
        let taken = self.quoted(prefix, quote, quote.len() == 3);
        if let (true, Some(token)) = (template, self.tokens.last_mut()) {
            token.kind = Kind::Template;
        }
        taken
    }

    fn javascript_text(&mut self) -> bool {
        match self.peek(0) {
            // A quote that its line does not close is an apostrophe in the text of JSX.
            Some(quote @ ('\'' | '"')) if closes(&self.rest()[1..], quote) => self.quoted(0, &quote.to_string(), false),
            Some('`') => self.template("`"),
            Some('/') if self.is_regex_start() => self.regex(),
            _ => false,
        }
    }

    fn go_text(&mut self) -> bool {
        match self.peek(0) {
            Some('`') => {
                let inside = &self.rest()[1..];
                let length = inside.find('`').unwrap_or(inside.len());
                self.push(Kind::Text, inside[..length].to_owned());
                self.at = (self.at + length + 2).min(self.text.len());
                true
            }
            Some('"') => self.quoted(0, "\"", false),
            Some('\'') => self.quoted(0, "'", false),
            _ => false,
        }
    }

    fn jvm_text(&mut self) -> bool {
        let is_kotlin = self.language == Language::Kotlin;
        match self.peek(0) {
            Some('"') if is_kotlin && self.rest().starts_with("\"\"\"") => self.template("\"\"\""),
            Some('"') if is_kotlin => self.template("\""),
            Some('"') if self.rest().starts_with("\"\"\"") => self.quoted(0, "\"\"\"", true),
            Some('"') => self.quoted(0, "\"", false),
            Some('\'') => self.quoted(0, "'", false),
            Some('`') if is_kotlin => {
                let inside = &self.rest()[1..];
                let length = inside.find(['`', '\n']).unwrap_or(inside.len());
                self.push(Kind::Word, inside[..length].to_owned());
                self.at = (self.at + length + 2).min(self.text.len());
                true
            }
            _ => false,
        }
    }

    /// A text that ends with `quote`, and with its line unless it may have `lines`.
    fn quoted(&mut self, prefix: usize, quote: &str, lines: bool) -> bool {
        let start = prefix + quote.len();
        let inside = &self.rest()[start..];
        let mut value = String::new();
        let mut chars = inside.char_indices();
        let mut end = inside.len();
        while let Some((at, next)) = chars.next() {
            if inside[at..].starts_with(quote) {
                end = at + quote.len();
                break;
            }
            match next {
                '\\' => {
                    if let Some((_, escaped)) = chars.next() {
                        unescape(escaped, &mut value);
                    }
                }
                '\n' if !lines => {
                    end = at;
                    break;
                }
                _ => value.push(next),
            }
        }
        self.push(Kind::Text, value);
        self.at += start + end;
        true
    }

    /// A text in which `${…}` is code.
    fn template(&mut self, quote: &str) -> bool {
        let inside = &self.rest()[quote.len()..];
        let (length, filled) = template_length(inside, quote, 0);
        let raw = &inside[..length];
        let value = if quote == "\"\"\"" { raw.to_owned() } else { unescaped(raw) };
        self.push(if filled { Kind::Template } else { Kind::Text }, value);
        self.at = (self.at + length + 2 * quote.len()).min(self.text.len());
        true
    }

    /// Whether a `/` begins a regular expression: where a value may stand.
    fn is_regex_start(&self) -> bool {
        const BEFORE_VALUE: [&str; 10] =
            ["return", "typeof", "case", "in", "of", "do", "else", "void", "delete", "await"];
        match self.tokens.last() {
            None => true,
            Some(token) if token.kind == Kind::Word => BEFORE_VALUE.contains(&token.text.as_str()),
            Some(token) if token.kind == Kind::Sign => {
                let before = self.tokens.iter().rev().nth(1);
                let is_step =
                    ["+", "-"].contains(&token.text.as_str()) && before.is_some_and(|other| other.text == token.text);
                // `<` begins a closing tag of JSX.
                !is_step && !matches!(token.text.as_str(), ")" | "]" | "}" | "<")
            }
            Some(_) => false,
        }
    }

    fn regex(&mut self) -> bool {
        let (mut in_class, mut escaped) = (false, false);
        for (at, next) in self.rest().char_indices().skip(1) {
            match next {
                '\n' => return false,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '[' => in_class = true,
                ']' => in_class = false,
                '/' if !in_class => {
                    self.push(Kind::Text, String::new());
                    self.at += at + 1;
                    return true;
                }
                _ => {}
            }
        }
        false
    }
}

/// The length of a template before its closing quote, and whether something is filled in.
fn template_length(inside: &str, quote: &str, depth: usize) -> (usize, bool) {
    let (mut at, mut filled) = (0, false);
    while at < inside.len() {
        let rest = &inside[at..];
        let next = rest.chars().next().map_or(1, char::len_utf8);
        if rest.starts_with(quote) {
            return (at, filled);
        } else if rest.starts_with('\\') && quote != "\"\"\"" {
            at += 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
        } else if rest.starts_with("${") && depth < MAX_DEPTH {
            filled = true;
            at += 2 + code_length(&rest[2..], depth + 1);
        } else if rest.starts_with('\n') && quote == "\"" {
            return (at, filled);
        } else {
            at += next;
        }
    }
    (inside.len(), filled)
}

/// The length of code up to behind the `}` that closes it.
fn code_length(inside: &str, depth: usize) -> usize {
    let (mut at, mut open) = (0, 1);
    while at < inside.len() {
        let rest = &inside[at..];
        let next = rest.chars().next().unwrap_or(' ');
        match next {
            '{' => open += 1,
            '}' if open == 1 => return at + 1,
            '}' => open -= 1,
            '`' | '"' | '\'' => {
                let quote = next.to_string();
                at += template_length(&rest[1..], &quote, depth).0 + 1;
            }
            _ => {}
        }
        at += next.len_utf8();
    }
    inside.len()
}

fn unescape(escaped: char, value: &mut String) {
    match escaped {
        'n' => value.push('\n'),
        't' => value.push('\t'),
        'r' => value.push('\r'),
        '\n' => {}
        other => value.push(other),
    }
}

fn unescaped(raw: &str) -> String {
    let mut value = String::new();
    let mut chars = raw.chars();
    while let Some(next) = chars.next() {
        match next {
            '\\' => chars.next().into_iter().for_each(|escaped| unescape(escaped, &mut value)),
            _ => value.push(next),
        }
    }
    value
}

/// Whether a quote is closed on its line, or goes on behind a backslash at its end.
fn closes(inside: &str, quote: char) -> bool {
    let mut escaped = false;
    for next in inside.chars() {
        match next {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\n' => return false,
            _ if next == quote => return true,
            _ => {}
        }
    }
    false
}
