//! Reads JUnit files: the XML that nextest, pytest, jest-junit, go-junit-report, gotestsum, surefire, gradle, googletest and others write.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use jiff::{Span, Timestamp};
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};

/// More is no result of tests.
const MAX_BYTES: u64 = 64 << 20;
/// Suites in suites, deeper than any tool writes them.
const MAX_DEPTH: usize = 64;
/// Of the message of a failure, so many characters are kept.
const MAX_MESSAGE: usize = 200;

/// Why a file can't be used.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("{file} is no JUnit file that can be used: {why}")]
#[diagnostic(help(
    "name the XML file that the test runner wrote, after the tests: --proofs target/nextest/default/junit.xml"
))]
pub struct JunitError {
    pub(crate) file: String,
    pub(crate) why: String,
}

/// A test that was run, or was to be run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Case {
    /// The names of the suites around it.
    pub suites: Vec<String>,
    pub class: String,
    pub name: String,
    /// The source file, where the runner says it.
    pub file: Option<String>,
    pub outcome: Outcome,
    /// When it ran, as the runner says.
    pub started: Option<Started>,
}

/// What became of a test.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Outcome {
    #[default]
    Passed,
    /// It failed first.
    PassedOnRetry,
    Failed(String),
    Skipped(String),
}

/// A time stamp.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Started {
    /// The moment, where the zone is given.
    pub exact: Option<Timestamp>,
    /// It was no later than this: the end of the second that is given, in whatever zone.
    pub at_the_latest: Timestamp,
}

/// A JUnit file.
#[derive(Clone, Debug)]
pub(crate) struct JunitFile {
    /// As the user named it.
    pub name: String,
    /// When it was last written.
    pub written: Timestamp,
    pub cases: Vec<Case>,
}

impl JunitFile {
    /// Reads a file. `name` is what messages call it.
    pub fn read(path: &Path, name: &str) -> Result<Self, JunitError> {
        let error = |why: String| JunitError { file: name.to_owned(), why };
        let io = |source: std::io::Error| error(source.to_string());
        let metadata = std::fs::metadata(path).map_err(io)?;
        if !metadata.is_file() {
            return Err(error("it is no file".to_owned()));
        }
        let written = metadata.modified().ok().and_then(|at| Timestamp::try_from(at).ok());
        let written = written.ok_or_else(|| error("the time of its last change is not known".to_owned()))?;
        let mut bytes = Vec::new();
        File::open(path).map_err(io)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(error(format!("it has more than {} MiB", MAX_BYTES >> 20)));
        }
        let text = String::from_utf8(bytes).map_err(|_| error("it is not UTF-8 text".to_owned()))?;
        let cases = cases(&text).map_err(error)?;
        Ok(Self { name: name.to_owned(), written, cases })
    }
}

/// What an element is for us.
enum Element {
    Suite {
        name: Option<String>,
        file: Option<String>,
        started: Option<Started>,
    },
    Case(Box<OpenCase>),
    /// A child of a case that says what became of it, or anything else.
    Other {
        of_case: Option<Verdict>,
        message: String,
    },
}

#[derive(Default)]
struct OpenCase {
    case: Case,
    status: Option<Outcome>,
    failed: Option<String>,
    skipped: Option<String>,
    /// Failed first, and passed or failed in the end.
    flaky: bool,
    rerun: bool,
}

#[derive(Clone, Copy)]
enum Verdict {
    Failed,
    Skipped,
    Flaky,
    Rerun,
}

/// The test cases in the text of a file.
pub(crate) fn cases(text: &str) -> Result<Vec<Case>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = quick_xml::Reader::from_str(text);
    let mut open: Vec<Element> = Vec::new();
    let mut cases = Vec::new();
    let mut has_root = false;
    loop {
        let not_xml = |error: &dyn std::fmt::Display| format!("it is not XML: {error}");
        match reader.read_event().map_err(|error| not_xml(&error))? {
            Event::Start(start) => {
                open_element(&start, &mut open, &mut has_root)?;
            }
            Event::Empty(start) => {
                open_element(&start, &mut open, &mut has_root)?;
                close_element(&mut open, &mut cases);
            }
            Event::End(_) => close_element(&mut open, &mut cases),
            Event::Text(text) => {
                let text = text.decode().map_err(|error| not_xml(&error))?;
                take_text(&text, &mut open)?;
            }
            Event::CData(text) => {
                let text = text.decode().map_err(|error| not_xml(&error))?;
                take_text(&text, &mut open)?;
            }
            Event::GeneralRef(reference) => {
                let name = reference.decode().map_err(|error| not_xml(&error))?;
                let is_known = reference.is_char_ref() || ["amp", "lt", "gt", "quot", "apos"].contains(&&*name);
                if !is_known {
                    return Err(format!("it is not XML: &{};", shortened(&name)));
                }
            }
            Event::DocType(_) => return Err("it has a DOCTYPE, which no test runner writes".to_owned()),
            Event::Eof => break,
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
        }
    }
    if !open.is_empty() {
        return Err("it is cut off: an element is not closed".to_owned());
    }
    if !has_root {
        return Err("it is empty".to_owned());
    }
    Ok(cases)
}

fn open_element(start: &BytesStart<'_>, open: &mut Vec<Element>, has_root: &mut bool) -> Result<(), String> {
    if open.len() >= MAX_DEPTH {
        return Err("its elements are nested too deeply".to_owned());
    }
    let name = String::from_utf8_lossy(start.local_name().as_ref()).into_owned();
    if open.is_empty() {
        if *has_root {
            return Err("it has a second root element".to_owned());
        }
        if name != "testsuites" && name != "testsuite" {
            return Err(format!("its root is <{}>, not <testsuites> or <testsuite>", shortened(&name)));
        }
        *has_root = true;
    }
    let attributes = attributes(start)?;
    let get = |wanted: &str| attributes.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
    let started = get("timestamp").and_then(|text| Started::parse(&text));
    let element = match (name.as_str(), open.last()) {
        ("testsuites" | "testsuite", Some(Element::Suite { .. }) | None) => {
            let file = get("file").or_else(|| get("filepath"));
            Element::Suite { name: (name == "testsuite").then(|| get("name").unwrap_or_default()), file, started }
        }
        ("testcase", Some(Element::Suite { .. })) => {
            let mut case = Case {
                class: get("classname").unwrap_or_default(),
                name: get("name").unwrap_or_default(),
                file: get("file"),
                started,
                ..Case::default()
            };
            for element in open.iter().rev() {
                let Element::Suite { name, file, started } = element else { continue };
                case.suites.extend(name.clone());
                case.file = case.file.take().or_else(|| file.clone());
                case.started = Started::earlier(case.started, *started);
            }
            case.suites.reverse();
            let mut said: Vec<Outcome> =
                ["status", "result"].iter().filter_map(|name| get(name)).filter_map(|word| outcome_of(&word)).collect();
            said.sort_by_key(|outcome| !matches!(outcome, Outcome::Failed(_)));
            let status = said.into_iter().next();
            Element::Case(Box::new(OpenCase { case, status, ..OpenCase::default() }))
        }
        (name, parent) => {
            let of_case = if matches!(parent, Some(Element::Case(_))) { verdict_of(name) } else { None };
            let message = get("message").or_else(|| get("type")).unwrap_or_default();
            Element::Other { of_case, message }
        }
    };
    open.push(element);
    Ok(())
}

fn close_element(open: &mut Vec<Element>, cases: &mut Vec<Case>) {
    match open.pop() {
        Some(Element::Case(case)) => cases.push(case.finish()),
        Some(Element::Other { of_case: Some(verdict), message }) => {
            if let Some(Element::Case(case)) = open.last_mut() {
                let message = shortened(&message);
                match verdict {
                    Verdict::Failed => _ = case.failed.get_or_insert(message),
                    Verdict::Skipped => _ = case.skipped.get_or_insert(message),
                    Verdict::Flaky => case.flaky = true,
                    Verdict::Rerun => case.rerun = true,
                }
            }
        }
        _ => {}
    }
}

/// The first words of a failure stand for its message where it has none.
fn take_text(text: &str, open: &mut [Element]) -> Result<(), String> {
    match open.last_mut() {
        Some(Element::Other { of_case: Some(_), message }) if message.is_empty() => {
            *message = text.trim().lines().next().unwrap_or_default().to_owned();
            Ok(())
        }
        None if !text.trim().is_empty() => Err("it is not XML: there is text outside its root element".to_owned()),
        _ => Ok(()),
    }
}

fn attributes(start: &BytesStart<'_>) -> Result<Vec<(String, String)>, String> {
    start
        .attributes()
        .map(|attribute| {
            let attribute = attribute.map_err(|error| format!("it is not XML: {error}"))?;
            let value = attribute
                .normalized_value(XmlVersion::Implicit1_0)
                .map_err(|error| format!("it is not XML: {error}"))?;
            Ok((String::from_utf8_lossy(attribute.key.as_ref()).into_owned(), value.into_owned()))
        })
        .collect()
}

fn verdict_of(element: &str) -> Option<Verdict> {
    match element {
        "failure" | "error" => Some(Verdict::Failed),
        "skipped" => Some(Verdict::Skipped),
        "flakyFailure" | "flakyError" => Some(Verdict::Flaky),
        "rerunFailure" | "rerunError" => Some(Verdict::Rerun),
        _ => None,
    }
}

/// What a `status` or `result` says beyond that the test was run. A word that is not known does not say that it passed.
fn outcome_of(word: &str) -> Option<Outcome> {
    match word.trim().to_ascii_lowercase().as_str() {
        "" | "run" | "completed" | "complete" | "passed" | "pass" | "success" | "successful" | "ok" => None,
        "failed" | "fail" | "failure" | "error" | "errored" | "broken" | "timedout" | "timeout" => {
            Some(Outcome::Failed(format!("status \"{}\"", shortened(word))))
        }
        _ => Some(Outcome::Skipped(format!("status \"{}\"", shortened(word)))),
    }
}

impl OpenCase {
    fn finish(self) -> Case {
        let outcome = match (self.failed, self.skipped, self.status) {
            (Some(message), _, _) => Outcome::Failed(message),
            (None, _, Some(failed @ Outcome::Failed(_))) => failed,
            (None, Some(message), _) => Outcome::Skipped(message),
            (None, None, Some(status)) => status,
            // Reruns of a test that passed in the end are called flaky.
            (None, None, None) if self.rerun && !self.flaky => {
                Outcome::Failed("it failed when it was run again".to_owned())
            }
            (None, None, None) if self.flaky => Outcome::PassedOnRetry,
            (None, None, None) => Outcome::Passed,
        };
        Case { outcome, ..self.case }
    }
}

impl Started {
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        // The tick of the last digit that is given: it may have been cut off.
        let digits = text.split_once('.').map_or(0, |(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
        let tick = Span::new().nanoseconds(10_i64.pow(9 - u32::try_from(digits.min(9)).ok()?) - 1);
        if let Ok(exact) = text.parse::<Timestamp>() {
            return Some(Self { exact: Some(exact), at_the_latest: exact.checked_add(tick).ok()? });
        }
        // Local time of a zone that is not told: it is at most twelve hours behind UTC.
        let local = text.parse::<jiff::civil::DateTime>().ok()?;
        let utc = local.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
        let at_the_latest = utc.checked_add(Span::new().hours(12)).ok()?.checked_add(tick).ok()?;
        Some(Self { exact: None, at_the_latest })
    }

    fn earlier(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) if other.at_the_latest < one.at_the_latest => Some(other),
            (None, other) => other,
            (one, _) => one,
        }
    }
}

/// One line, shortened.
pub(crate) fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= MAX_MESSAGE {
        return line;
    }
    line.chars().take(MAX_MESSAGE - 1).chain(['…']).collect()
}
