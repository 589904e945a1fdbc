//! From a file on disk, with `--set`, to a scenario and the text that goes into the journal.

use std::io::Read as _;
use std::path::Path;

use super::secrets::{FileSecrets, strike_out_of_file};
use super::{Problem, Scenario, ScenarioErrors, overrides, parse};
use crate::secrets::Mask;

/// A scenario and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedScenario {
    /// The scenario, `${NAME}` in it still to be filled by [`super::resolve_env`].
    pub scenario: Scenario,
    /// The file as the user named it.
    pub name: String,
    /// The file as run: `--set` applied, comments kept, secrets replaced by `***`. Parsed again it gives the same
    /// scenario but for those secrets.
    pub text: String,
    /// Knows the secrets that the file writes out.
    pub mask: Mask,
}

/// Reads a scenario file; each of `sets` is `path.to.key=value`, see docs/scenario.md.
///
/// # Errors
/// All problems at once, also that the file cannot be read.
pub fn load(path: &Path, sets: &[String]) -> Result<LoadedScenario, ScenarioErrors> {
    let name = path.display().to_string();
    let text = read_bounded(path).map_err(|error| {
        let help = "name a scenario file, e.g. one of those in scenarios/, or write one with `cacheproof init URL`";
        ScenarioErrors::new(&name, "", vec![Problem::new(format!("{name} cannot be read: {error}")).help(help)])
    })?;
    check_size(&name, text.len())?;
    let text = String::from_utf8(text).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let help = format!("save the file as UTF-8; the first wrong byte is byte {}", at + 1);
        ScenarioErrors::new(&name, "", vec![Problem::new(format!("{name} is not UTF-8 text")).help(help)])
    })?;
    load_text(name, &text, sets)
}

/// The longest scenario that a run keeps in its journal, in bytes.
pub(crate) const MAX_SCENARIO_BYTES: usize = 1 << 20;

/// At most one byte more than a scenario may have: a device or a pipe may never end.
fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(MAX_SCENARIO_BYTES as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

fn check_size(name: &str, bytes: usize) -> Result<(), ScenarioErrors> {
    if bytes <= MAX_SCENARIO_BYTES {
        return Ok(());
    }
    let message = format!("{name} is longer than {MAX_SCENARIO_BYTES} bytes (1 MiB)");
    let help = "name a scenario file; a scenario of a few hundred lines is long";
    Err(ScenarioErrors::new(name, "", vec![Problem::new(message).help(help)]))
}

pub(super) fn load_text(name: String, text: &str, sets: &[String]) -> Result<LoadedScenario, ScenarioErrors> {
    let set_name = format!("{name} (with --set)");
    let overridden = if sets.is_empty() { None } else { Some(overrides::apply(&name, text, sets)?) };
    let (text, shown) = overridden.as_ref().map_or((text, &name), |text| (text.as_str(), &set_name));
    check_size(shown, text.len())?;
    let scenario = parse(shown, text)?;
    let mask = FileSecrets::of(text).mask();
    let text = strike_out_of_file(shown, text, &mask)?;
    Ok(LoadedScenario { scenario, text, mask, name })
}
