//! The values in `[target.hit]`, each of which is compared with the whole of what the app sends.

use super::problem::Problem;
use super::reader::Section;

/// What is not in a value but in a pattern.
const PATTERN_CHARACTERS: [char; 4] = ['*', '^', '$', '|'];

/// Reads one list of values. `taken` holds those of the lists before it, with their keys.
pub(super) fn read<'a>(table: &Section<'a>, key: &'static str, taken: &mut Vec<(String, &'static str)>) -> Vec<String> {
    let Some(values) = table.strings(key) else { return Vec::new() };
    let refuse = |span, message: String, help: String| table.problems.add(Problem::new(message).at(span).help(help));
    if values.is_empty() && key == "hit" {
        let span = table.get(key).map_or(table.span.clone(), |list| list.span());
        let help = "write the values that mean a hit: hit = [\"HIT\"]";
        refuse(span, "no value means a hit, so nothing could be one".to_owned(), help.to_owned());
    }
    for value in &values {
        let word = value.value.trim();
        let own = taken.iter().find(|(other, _)| other.eq_ignore_ascii_case(word)).map(|(_, key)| *key);
        if word.is_empty() || word != value.value {
            let help = match word {
                "" => format!("write the value that the app sends: {key} = [\"{}\"]", key.to_uppercase()),
                word => format!("write \"{word}\""),
            };
            refuse(value.span.clone(), "this is not a value of a header or a field".to_owned(), help);
        } else if word.contains(PATTERN_CHARACTERS) || (word.len() > 2 && word.starts_with('/') && word.ends_with('/'))
        {
            let message = format!("\"{word}\" would be compared as it stands: there are no patterns");
            let help = format!(
                "write every value that the app sends for it, e.g. {key} = [\"{}\"]; case does not matter",
                key.to_uppercase()
            );
            refuse(value.span.clone(), message, help);
        } else if let Some(other) = own.filter(|other| *other != key) {
            let message = format!("\"{word}\" means {other} already");
            refuse(value.span.clone(), message, format!("keep it in one of the lists \"{other}\" and \"{key}\""));
        }
        taken.push((word.to_owned(), key));
    }
    values.into_iter().map(|value| value.value.to_owned()).collect()
}
