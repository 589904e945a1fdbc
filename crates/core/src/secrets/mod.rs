//! What must not be shown: which values are secrets, and the [`Mask`] that strikes them out.
//!
//! Every output passes through a [`Mask`]: the journal (and with it every file of a report) in
//! [`EventSink`](crate::journal::EventSink), the terminal in the program, the shown lines of a scenario in
//! [`ScenarioErrors`](crate::scenario::ScenarioErrors), and the copy of the scenario in
//! [`LoadedScenario`](crate::scenario::LoadedScenario). What is sent and what is started never does.
//!
//! | module | |
//! |---|---|
//! | `names` | names that say "the value is a secret": `Authorization`, `X-Api-Key`, `access_token` |
//! | `url` | passwords and secret parameters in URLs, whatever characters they hold |
//! | `values` | the secret parts of headers, JSON and commands |
//! | `bodies` | those of bodies: JSON, forms, multipart, XML |
//! | `expansion` | `${NAME:-default}` in a script |
//! | `words` | finds a known secret in a text: plain, percent-encoded, escaped or inside base64 |
//! | `mask` | [`Mask`]: the known secrets of a run |
//! | `serialize` | JSON with every string masked |

mod bodies;
mod expansion;
mod mask;
mod names;
mod serialize;
mod url;
mod values;
mod words;

use std::ops::Range;

pub(crate) use bodies::in_body;
pub use mask::{MIN_SECRET_LENGTH, Mask};
pub use names::is_secret_name;
pub(crate) use serialize::as_verbatim;
pub use serialize::to_masked_json;
pub(crate) use url::{encode_password, in_query, in_text, in_whole_url, unencoded_in_password, user_end};
pub(crate) use values::{in_command, in_header, in_shell, in_slip, is_shell_script, literal_parts};

/// What is shown instead of a secret.
pub const STRUCK_OUT: &str = "***";

/// Strikes out the passwords of all URLs in a text, and the secret parameters in their queries: `redis://:secret@host`
/// becomes `redis://:***@host`, and so does `?password=secret`. A password given as `${NAME}` stays, for the name tells
/// nothing. A [`Mask`] does this too, and strikes out the secrets that it knows.
pub fn mask_passwords(text: &str) -> String {
    strike(text, in_text(text))
}

/// Strikes the secrets out of a command line for a shell: passwords in URLs, and the values of options and variables whose
/// names are those of secrets, `--token abc` and `API_KEY=abc`.
pub fn mask_command(command: &str) -> String {
    strike(command, in_shell(command))
}

/// Replaces the ranges by [`STRUCK_OUT`]. Ranges that touch become one.
pub(crate) fn strike(text: &str, ranges: Vec<Range<usize>>) -> String {
    let mut struck = String::with_capacity(text.len());
    let mut at = 0;
    for range in merged(ranges) {
        struck.push_str(&text[at..range.start]);
        struck.push_str(STRUCK_OUT);
        at = range.end;
    }
    struck.push_str(&text[at..]);
    struck
}

/// The same with one `*` for each byte, so that every other byte stays where it is. Line breaks stay.
pub(crate) fn strike_in_place(text: &str, ranges: Vec<Range<usize>>) -> String {
    let mut struck = String::with_capacity(text.len());
    let mut at = 0;
    for range in merged(ranges) {
        struck.push_str(&text[at..range.start]);
        for c in text[range.clone()].chars() {
            match c {
                '\n' | '\r' => struck.push(c),
                c => struck.extend(std::iter::repeat_n('*', c.len_utf8())),
            }
        }
        at = range.end;
    }
    struck.push_str(&text[at..]);
    struck
}

/// In order, those that overlap or touch joined.
fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_struck_out_wherever_a_url_stands() {
        for (text, masked) in [
            ("url = \"redis://:s3cret@host:6379/0\"", "url = \"redis://:***@host:6379/0\""),
            ("postgres://app:p%40ss@db/app?x=1", "postgres://app:***@db/app?x=1"),
            ("postgres://app:a/b?c@db/app", "postgres://app:***@db/app"),
            ("postgres://db/app?user=a&password=secret#", "postgres://db/app?user=a&password=***#"),
            ("# was http://u:p@one and http://u:q@two", "# was http://u:***@one and http://u:***@two"),
            ("redis://:${PASSWORD}@host", "redis://:${PASSWORD}@host"),
            ("redis://:a${PASSWORD}b@host", "redis://:***${PASSWORD}***@host"),
            ("http://localhost:8080/a@b", "http://localhost:8080/a@b"),
            ("http://user@host/", "http://user@host/"),
            ("nothing: here @ all", "nothing: here @ all"),
            ("GET /items?x=1&api_key=abc&y=2", "GET /items?x=1&api_key=***&y=2"),
            ("redis://a:p@h1,redis://b:q@h2", "redis://a:***@h1,redis://b:***@h2"),
        ] {
            assert_eq!(mask_passwords(text), masked);
            assert_eq!(mask_passwords(masked), masked, "masking again changes nothing");
            let in_place = strike_in_place(text, in_text(text));
            assert_eq!(in_place.len(), text.len());
            assert_eq!(mask_passwords(&in_place), in_place, "stars are left alone, so that columns stay");
        }
    }

    #[test]
    fn ranges_that_touch_are_struck_out_once() {
        assert_eq!(strike("abcdef", vec![3..4, 1..3, 2..3, 5..5]), "a***ef");
        assert_eq!(strike_in_place("aé\nb", vec![1..3, 3..5]), "a**\n*");
    }
}
