//! A request's body: what its Content-Type says it is, and whether it is that.

use super::item::ItemContext;
use super::parse_traffic::{RESERVED_PLACEHOLDERS, check_placeholders, placeholders};
use super::problem::Problem;
use super::reader::{Located, Section};
use super::variables::check_variables;
use super::{Method, Request};

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// JSON, also where no header says what it is.
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// `multipart/…`.
    Multipart,
    /// Anything else: text, XML, or what only the run will know.
    Text,
}

impl Request {
    /// What its body is, by its header Content-Type.
    pub fn body_kind(&self) -> BodyKind {
        let Some(header) = self.header("content-type") else { return BodyKind::Json };
        let media = header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match media.as_str() {
            "application/x-www-form-urlencoded" => BodyKind::Form,
            "application/json" | "text/json" => BodyKind::Json,
            media if media.ends_with("+json") => BodyKind::Json,
            media if media.starts_with("multipart/") => BodyKind::Multipart,
            _ => BodyKind::Text,
        }
    }
}

/// Complains of a body that is not what its header says.
pub(super) fn check(section: &Section<'_>, body: &Located<&str>, request: &Request, context: &ItemContext<'_>) {
    let refuse = |message: String, help: &str| {
        section.problems.add(Problem::new(message).at(body.span.clone()).help(help));
    };
    if matches!(request.method, Method::Get | Method::Delete) {
        let help = "leave the body out, or send it with post, put or patch";
        return refuse(format!("{} has no body", request.method.as_str()), help);
    }
    check_placeholders(section, body, context.data, context.text, &RESERVED_PLACEHOLDERS);
    check_variables(section, body);
    match request.body_kind() {
        BodyKind::Json => {
            let Some(error) = body_error(body.value) else { return };
            let help = match request.header("content-type") {
                Some(_) => r#"write body = '{"title": "{random}"}', placeholders for words inside their quotes"#,
                None => {
                    r#"write body = '{"title": "{random}"}', placeholders for words inside their quotes; say what another body is: headers = { "Content-Type" = "application/x-www-form-urlencoded" }"#
                }
            };
            refuse(format!("the body is not JSON: {error}"), help);
        }
        BodyKind::Form => {
            if let Some(part) = unencoded_in_form(body.value) {
                let help =
                    "percent-encode it: a space as + or %20, & as %26, % as %25; key=value pairs are divided by &";
                refuse(format!("this is not a form: {part} has to be encoded"), help);
            }
        }
        BodyKind::Multipart => {
            if let Some((message, help)) =
                multipart_problem(body.value, request.header("content-type").unwrap_or_default())
            {
                refuse(message, help);
            }
        }
        BodyKind::Text => {}
    }
}

/// The body as it may be sent: this for a word, this for a key or another number.
fn sample(body: &str, word: &str, number: &str) -> String {
    let mut sample = String::new();
    let mut at = 0;
    for part in placeholders(body) {
        sample.push_str(&body[at..part.start]);
        sample.push_str(if matches!(&body[part.clone()], "{random}" | "{token}") { word } else { number });
        at = part.end;
    }
    sample.push_str(&body[at..]);
    let mut filled = String::new();
    let mut rest = sample.as_str();
    while let Some((before, (_, after))) =
        rest.split_once("${").and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
    {
        filled.push_str(before);
        filled.push_str(number);
        rest = after;
    }
    filled + rest
}

/// Why a body is not JSON as it will be sent: numbers for keys and variables, a word for {random}.
pub(super) fn body_error(body: &str) -> Option<serde_json::Error> {
    serde_json::from_str::<serde::de::IgnoredAny>(&sample(body, "x", "1")).err()
}

/// What of a form is not encoded, in words.
fn unencoded_in_form(body: &str) -> Option<String> {
    let sample = sample(body, "x", "1");
    let found = sample.char_indices().find(|(at, c)| match c {
        '%' => !sample.as_bytes()[at + 1..].get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit)),
        c => {
            !c.is_ascii() || c.is_ascii_whitespace() || c.is_ascii_control() || matches!(c, '"' | '<' | '>' | '{' | '}')
        }
    });
    found.map(|(_, c)| match c {
        ' ' => "a space".to_owned(),
        '\n' | '\r' => "a line break".to_owned(),
        c if c.is_control() => "a control character".to_owned(),
        c => format!("\"{c}\""),
    })
}

/// What is wrong with a multipart body, and what to do.
fn multipart_problem(body: &str, content_type: &str) -> Option<(String, &'static str)> {
    const HELP: &str = r#"write headers = { "Content-Type" = "multipart/form-data; boundary=b" } and body = "--b\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\n{random}\r\n--b--\r\n""#;
    let parameter = content_type.split(';').skip(1).filter_map(|part| part.split_once('='));
    let mut boundary = parameter.map(|(name, value)| (name.trim(), value.trim().trim_matches('"')));
    let Some((_, boundary)) = boundary.find(|(name, _)| name.eq_ignore_ascii_case("boundary")) else {
        return Some(("a multipart body needs its boundary in Content-Type".to_owned(), HELP));
    };
    if boundary.contains("${") {
        return None;
    }
    let begins = body.starts_with(&format!("--{boundary}")) || body.contains(&format!("\n--{boundary}"));
    if !begins || !body.trim_end().ends_with(&format!("--{boundary}--")) {
        return Some((format!("the body does not begin with \"--{boundary}\" and end with \"--{boundary}--\""), HELP));
    }
    let is_bare = |(at, _): (usize, &str)| !body[..at].ends_with('\r');
    if body.match_indices('\n').any(is_bare) {
        return Some(("the lines of a multipart body end with CR LF, and these end with LF".to_owned(), HELP));
    }
    None
}
