//! From a file on disk, with `--set`, to a scenario and the text that goes into the journal.

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
    let set_name = format!("{name} (with --set)");
    let overridden = if sets.is_empty() { None } else { Some(overrides::apply(&name, text, sets)?) };
    let (text, shown) = overridden.as_ref().map_or((text, &name), |text| (text.as_str(), &set_name));
    let scenario = parse(shown, text)?;
    let mask = FileSecrets::of(text).mask();
    let text = strike_out_of_file(shown, text, &mask)?;
    Ok(LoadedScenario { scenario, text, mask, name })
}
