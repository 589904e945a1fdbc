//! Criteria that a test proves: is the test there?

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::{Loaded, Problem, ScenarioErrors};

/// Checks every `proved_by` of a scenario: its file exists below `base` (the current directory), or below a
/// directory above the scenario file, and names the test.
///
/// # Errors
/// All proofs that are missing.
pub fn check_proofs(loaded: &Loaded, base: &Path) -> Result<(), ScenarioErrors> {
    let (tree, _) = DeTable::parse_recoverable(&loaded.text);
    let scenario = base.join(&loaded.name);
    // Without this, a file named from its own directory would have nothing above it.
    let scenario = scenario.canonicalize().unwrap_or(scenario);
    let mut roots: Vec<PathBuf> = vec![base.to_path_buf()];
    roots.extend(scenario.ancestors().skip(1).map(Path::to_path_buf));
    let criteria = tree.get_ref().get("criterion").and_then(|criteria| criteria.get_ref().as_array());
    let mut problems = Vec::new();
    for criterion in criteria.into_iter().flatten() {
        let Some(proof) = criterion.get_ref().get("proved_by") else { continue };
        let Some((file, test)) = proof.get_ref().as_str().and_then(|text| text.rsplit_once("::")) else { continue };
        let texts: Vec<String> =
            roots.iter().filter_map(|root| std::fs::read_to_string(root.join(file)).ok()).collect();
        let problem = if texts.is_empty() {
            Problem::new(format!("the file of this proof is not there: {file}"))
                .help("name it as seen from the project's root, and run cacheproof there")
        } else if !texts.iter().any(|text| names(text, test)) {
            Problem::new(format!("{file} has no test \"{test}\"")).help("name a test of that file")
        } else {
            continue;
        };
        problems.push(problem.at(proof.span()));
    }
    if problems.is_empty() { Ok(()) } else { Err(ScenarioErrors::new(&loaded.name, &loaded.text, problems)) }
}

/// Whether a text holds a name as a whole word.
fn names(text: &str, name: &str) -> bool {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name)
        .any(|(at, _)| !text[..at].ends_with(in_word) && !text[at + name.len()..].starts_with(in_word))
}
