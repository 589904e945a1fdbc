//! Environment variables in a scenario: `${NAME}`.

use super::body::{BodyKind, body_error};
use super::parse::is_identifier;
use super::reader::{Located, Section, span_in_file};
use super::secrets::add_filled_in;
use super::{BypassSpec, Problem, Scenario};
use crate::secrets::{Mask, encode_password, is_secret_name, is_shell_script, unencoded_in_password, user_end};

/// What keeps the environment variables that a scenario names from being filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum VariableError {
    /// They are not set.
    #[error("the scenario needs environment variables that are not set: {}", names.join(", "))]
    #[diagnostic(help("set them before the run: export {}=…", names.join("=… ")))]
    Missing {
        /// Their names.
        names: Vec<String>,
    },
    /// One has a value that does not fit where the scenario names it. The value is not shown: it may be a secret.
    #[error("the value of the environment variable {name} doesn't fit into {place}: {why}")]
    #[diagnostic(help("{help}"))]
    Unfit {
        /// Its name, or the names of several.
        name: String,
        /// Where the scenario names it.
        place: String,
        /// What is wrong with it.
        why: String,
        /// What to do.
        help: &'static str,
    },
}

/// Variables that the app gets from cacheproof, and common ones that hold no secret: a script may name them.
const NO_SECRETS: [&str; 16] = [
    "CACHE",
    "DATABASE_URL",
    "HOME",
    "HOSTNAME",
    "INSTANCE",
    "LANG",
    "LISTEN",
    "LOAD",
    "LOGNAME",
    "PATH",
    "PORT",
    "PWD",
    "REDIS_URL",
    "SHELL",
    "TMPDIR",
    "USER",
];

/// Puts the values of environment variables where the scenario says `${NAME}`: in URLs, the app's command, paths, headers and
/// bodies. The mask learns these values, and what of the scenario is a secret with them.
///
/// Parsing leaves them alone, so that a report can read the scenario again on a machine without them. Call this once before
/// the servers are brought up. What it fills in must not be shown.
///
/// A script for a shell (`sh -c`), and the commands `run` and `undo` of a fault, are left alone: the shell fills in variables
/// itself, with its own rules. The mask knows their values too.
///
/// # Errors
/// Every variable that `get` does not know; a value that does not fit.
pub fn resolve_env(
    scenario: &mut Scenario,
    mask: &Mask,
    get: impl Fn(&str) -> Option<String>,
) -> Result<(), VariableError> {
    let mut filler = Filler { get: &get, mask, missing: Vec::new(), unfit: None };
    filler.scenario(scenario);
    if !filler.missing.is_empty() {
        return Err(VariableError::Missing { names: filler.missing });
    }
    if let Some(unfit) = filler.unfit {
        return Err(unfit);
    }
    add_filled_in(scenario, mask);
    Ok(())
}

/// What a value becomes part of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Url,
    Path,
    Header,
    Body(BodyKind),
    Command,
}

impl Place {
    fn as_str(self) -> &'static str {
        match self {
            Self::Url => "a url",
            Self::Path => "a path",
            Self::Header => "a header",
            Self::Body(BodyKind::Json) => "a JSON body",
            Self::Body(BodyKind::Form) => "a form",
            Self::Body(_) => "a body",
            Self::Command => "a command",
        }
    }
}

struct Filler<'a> {
    get: &'a dyn Fn(&str) -> Option<String>,
    mask: &'a Mask,
    missing: Vec<String>,
    unfit: Option<VariableError>,
}

impl Filler<'_> {
    fn scenario(&mut self, scenario: &mut Scenario) {
        let stack = &mut scenario.stack;
        let redis = stack.redis.as_mut().and_then(|redis| redis.url.as_mut());
        let postgres = stack.postgres.as_mut().and_then(|postgres| postgres.url.as_mut());
        for url in [redis, postgres, scenario.target.url.as_mut()].into_iter().flatten() {
            self.fill(url, Place::Url);
        }
        let target = &mut scenario.target;
        self.fill(&mut target.ready, Place::Path);
        match &mut target.bypass {
            Some(BypassSpec::Header(_, value)) => self.fill(value, Place::Header),
            Some(BypassSpec::Query(query)) => {
                // In a query from its beginning on.
                let mut path = format!("?{query}");
                self.fill(&mut path, Place::Path);
                *query = path[1..].to_owned();
            }
            None => {}
        }
        for words in [&mut target.start, &mut target.args] {
            for index in 0..words.len() {
                if is_shell_script(words.as_slice(), index) {
                    self.script(&words[index]);
                } else {
                    self.fill(&mut words[index], Place::Command);
                }
            }
        }
        for request in &mut scenario.traffic.requests {
            self.fill(&mut request.path, Place::Path);
            request.headers.iter_mut().for_each(|(_, value)| self.fill(value, Place::Header));
            let kind = request.body_kind();
            if let Some(body) = &mut request.body {
                self.fill(body, Place::Body(kind));
            }
            if let Some(item) = &mut request.item {
                self.fill(&mut item.template, Place::Path);
                item.segment.iter_mut().for_each(|segment| self.fill(segment, Place::Path));
            }
            if let Some(list) = &mut request.list {
                self.fill(&mut list.of, Place::Path);
            }
        }
        for fault in scenario.phases.iter().flat_map(|phase| &phase.faults) {
            if let super::FaultAction::Command { run, undo, check } = &fault.action {
                self.script(run);
                undo.iter().chain(check).for_each(|command| self.script(command));
            }
        }
    }

    /// Learns the values that a shell will fill in.
    fn script(&self, text: &str) {
        for rest in text.split('$').skip(1) {
            // `${NAME}`, and what the shell makes of it: `${NAME:-default}`.
            let (in_braces, rest) = rest.strip_prefix('{').map_or((false, rest), |rest| (true, rest));
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let name = &rest[..end];
            // Without braces only what is named like a secret: `$i` and `$file` are the script's own.
            let may_be_secret = in_braces || is_secret_name(name);
            if is_identifier(name)
                && may_be_secret
                && !NO_SECRETS.contains(&name)
                && let Some(value) = (self.get)(name)
            {
                self.mask.add(&value);
            }
        }
    }

    fn fill(&mut self, text: &mut String, place: Place) {
        let mut filled = String::new();
        let mut at = 0;
        let names = variables(text);
        for variable in &names {
            filled.push_str(&text[at..variable.start]);
            at = variable.end;
            match (self.get)(variable.text) {
                Some(value) => {
                    if !NO_SECRETS.contains(&variable.text) {
                        self.mask.add(&value);
                    }
                    filled.push_str(&self.fitted(text, variable, &value, place));
                }
                None if self.missing.iter().any(|known| known == variable.text) => {}
                None => self.missing.push(variable.text.to_owned()),
            }
        }
        if names.is_empty() {
            return;
        }
        filled.push_str(&text[at..]);
        let all = || names.iter().map(|name| name.text).collect::<Vec<_>>().join(", ");
        match place {
            Place::Body(BodyKind::Json) if self.missing.is_empty() && body_error(&filled).is_some() => {
                let help = "a value outside quotes must be JSON itself; put text into quotes: \"${NAME}\"";
                self.refuse(&all(), place, "the body is no JSON with it", help);
            }
            Place::Url => {
                let unencoded = unencoded_in_password(&filled);
                if !unencoded.is_empty() {
                    let why = format!("its password has {}", list(&unencoded));
                    self.refuse(&all(), place, &why, ENCODE_HELP);
                }
            }
            _ => {}
        }
        *text = filled;
    }

    /// The value as it must be written in this place.
    fn fitted(&mut self, text: &str, variable: &Variable<'_>, value: &str, place: Place) -> String {
        let before = &text[..variable.start];
        match place {
            // Part of user or password. A variable that holds the whole URL is encoded already.
            Place::Url if before.contains("://") && user_end(text).is_some_and(|end| variable.end <= end) => {
                encode_password(value)
            }
            Place::Url | Place::Command => value.to_owned(),
            Place::Path => {
                let query = before.rsplit(['?', '&']).next().filter(|_| before.contains('?'));
                let is_value = query.is_some_and(|pair| pair.contains('='));
                encode_path(value, is_value)
            }
            Place::Header => {
                if value.contains(char::is_control) {
                    let help = "set it to one line of text: NAME=\"$(cat FILE)\" leaves out a line break at the end";
                    self.refuse(variable.text, place, "it has a line break or another control character", help);
                }
                value.to_owned()
            }
            Place::Body(BodyKind::Json) if is_within_string(before) => json_escaped(value),
            Place::Body(BodyKind::Form) => form_encoded(value),
            Place::Body(_) => value.to_owned(),
        }
    }

    fn refuse(&mut self, name: &str, place: Place, why: &str, help: &'static str) {
        self.unfit.get_or_insert(VariableError::Unfit {
            name: name.to_owned(),
            place: place.as_str().to_owned(),
            why: why.to_owned(),
            help,
        });
    }
}

/// What to do about a password that breaks its URL.
pub(super) const ENCODE_HELP: &str =
    "percent-encode user and password: / as %2F, # as %23, ? as %3F, @ as %40, [ as %5B, % as %25, a space as %20";

/// Characters in words.
pub(super) fn list(characters: &[char]) -> String {
    let name = |c: &char| match c {
        c if c.is_whitespace() => "a space".to_owned(),
        c if c.is_control() => "a control character".to_owned(),
        c => format!("a {c}"),
    };
    characters.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn encode_path(value: &str, is_query_value: bool) -> String {
    let mut encoded = String::new();
    for (at, c) in value.char_indices() {
        let is_escape =
            value.as_bytes()[at + c.len_utf8()..].get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
        let special = c.is_whitespace() || c.is_control() || !c.is_ascii() || matches!(c, '#' | '"' | '<' | '>' | '\\');
        let in_query = is_query_value && (matches!(c, '&' | '+') || (c == '%' && !is_escape));
        if special || in_query {
            encoded.extend(c.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("%{byte:02X}")));
        } else {
            encoded.push(c);
        }
    }
    encoded
}

/// A value in a form (`application/x-www-form-urlencoded`).
fn form_encoded(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"*-._".contains(&byte);
    let encode = |byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    value.bytes().map(encode).collect()
}

/// Whether a JSON text that begins so is within a string.
fn is_within_string(before: &str) -> bool {
    let mut within = false;
    let mut escaped = false;
    for c in before.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if within => escaped = true,
            '"' => within = !within,
            _ => {}
        }
    }
    within
}

fn json_escaped(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// A variable within a text.
struct Variable<'a> {
    text: &'a str,
    /// Where its `${` begins.
    start: usize,
    /// Where its `}` ends.
    end: usize,
}

/// The variables of a text. What is no name (`${1}`, `${NAME:-default}`) is none.
fn variables(text: &str) -> Vec<Variable<'_>> {
    let variable = |start: usize| {
        let length = text[start..].find('}')?;
        let name = &text[start + 2..start + length];
        is_identifier(name).then_some(Variable { text: name, start, end: start + length + 1 })
    };
    text.match_indices("${").filter_map(|(start, _)| variable(start)).collect()
}

/// Complains of a `${` that begins no variable.
pub(super) fn check_variables(section: &Section<'_>, within: &Located<&str>) {
    let known = variables(within.value);
    for (start, _) in within.value.match_indices("${").filter(|(at, _)| known.iter().all(|name| name.start != *at)) {
        let rest = &within.value[start..];
        let (message, end) = match rest.find('}') {
            Some(length) => ("this is not the name of an environment variable", start + length + 1),
            None => ("this ${ is never closed", start + 2),
        };
        let help = "write ${NAME} for an environment variable; its name has letters, digits and _";
        section.problems.add(Problem::new(message).at(span_in_file(section.text, within, start..end)).help(help));
    }
}
