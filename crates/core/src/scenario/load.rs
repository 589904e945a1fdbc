//! From a file on disk, with `--set`, to a scenario and the text that goes into the journal.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::{Problem, Scenario, ScenarioErrors, mask_passwords, overrides, parse};

/// A scenario and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedScenario {
    /// The scenario, `${NAME}` in its URLs still to be filled by [`super::resolve_env`].
    pub scenario: Scenario,
    /// The file as the user named it.
    pub name: String,
    /// The file as run: `--set` applied, comments kept, passwords in URLs replaced by `***`. Parsed again it
    /// gives the same scenario but for those passwords.
    pub text: String,
}

/// Reads a scenario file; each of `sets` is `path.to.key=value`, see docs/scenario.md.
///
/// # Errors
/// All problems at once, also that the file cannot be read.
pub fn load(path: &Path, sets: &[String]) -> Result<LoadedScenario, ScenarioErrors> {
    let name = path.display().to_string();
    let text = std::fs::read(path).map_err(|error| {
        let help = "name a scenario file, e.g. one of those in scenarios/, or write one with `cacheproof init URL`";
        ScenarioErrors::new(&name, "", vec![Problem::new(format!("{name} cannot be read: {error}")).help(help)])
    })?;
    let text = String::from_utf8(text).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let help = format!("save the file as UTF-8; the first wrong byte is byte {}", at + 1);
        ScenarioErrors::new(&name, "", vec![Problem::new(format!("{name} is not UTF-8 text")).help(help)])
    })?;
    load_text(name, &text, sets)
}

pub(super) fn load_text(name: String, text: &str, sets: &[String]) -> Result<LoadedScenario, ScenarioErrors> {
    if sets.is_empty() {
        return Ok(LoadedScenario { scenario: parse(&name, text)?, text: masked(text), name });
    }
    let text = overrides::apply(&name, text, sets)?;
    let scenario = parse(&format!("{name} (with --set)"), &text)?;
    Ok(LoadedScenario { scenario, text: masked(&text), name })
}

/// Strikes passwords out of the text. What only shows once escapes are read is replaced as a whole string.
fn masked(text: &str) -> String {
    let mut masked = text.to_owned();
    let (tree, _) = DeTable::parse_recoverable(text);
    let mut strings = Vec::new();
    collect_strings(tree.get_ref().values(), &mut strings);
    // From the back, so that earlier places stay where they are.
    strings.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
    for (span, value) in strings {
        let without = mask_passwords(&value);
        if without != value {
            masked.replace_range(span, &toml::Value::String(without).to_string());
        }
    }
    // Comments may hold URLs too.
    mask_passwords(&masked)
}

type ByteRange = std::ops::Range<usize>;

fn collect_strings<'a>(
    values: impl Iterator<Item = &'a toml::Spanned<DeValue<'a>>>,
    strings: &mut Vec<(ByteRange, String)>,
) {
    for value in values {
        match value.get_ref() {
            DeValue::String(text) => strings.push((value.span(), text.to_string())),
            DeValue::Array(items) => collect_strings(items.iter(), strings),
            DeValue::Table(table) => collect_strings(table.values(), strings),
            _ => {}
        }
    }
}
