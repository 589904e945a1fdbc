//! Criteria that a test proves: which test `proved_by` names, whether it is one that runs, and its result.
//!
//! [`read_proofs`] does it all. A proof needs a result: a JUnit file that a test runner wrote (`junit`), no older than the tree
//! (`tree`), with a case that is the named test and no other (`owner`). Without a result the source must show that the name is
//! a test that runs (`source`, one file for each language); what can't be told is refused.

mod junit;
mod owner;
mod place;
mod resolve;
mod results;
mod source;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use cacheproof_core::journal::{TestResult, TestState};
use cacheproof_core::scenario::{LoadedScenario, Problem, ScenarioErrors};
use toml::de::DeTable;

use self::junit::JunitFile;
use self::owner::Wanted;
use self::resolve::{Resolved, nearest, resolve};
use self::source::{Found, Language, Reading};
use self::tree::SourceTree;

pub use self::junit::JunitError;

/// Why proofs can't be used.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ProofError {
    /// A name in the scenario, or a file that it names.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Scenario(#[from] ScenarioErrors),
    /// A file of `--proofs`.
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] JunitError),
}

/// The results of the tests that a scenario names, by `proved_by`. `files` are JUnit files beside those that the scenario names;
/// paths are relative to `base` (the current directory), or to a directory above the scenario file.
///
/// # Errors
/// A JUnit file that can't be read, or all names that are no tests that run.
pub fn read_proofs(
    loaded: &LoadedScenario,
    files: &[PathBuf],
    base: &Path,
) -> Result<BTreeMap<String, TestResult>, ProofError> {
    let roots = roots(loaded, base);
    let mut read = Vec::new();
    for file in files {
        read.push(JunitFile::read(&base.join(file), &file.display().to_string())?);
    }
    let (tree, _) = DeTable::parse_recoverable(&loaded.text);
    let mut problems = Vec::new();
    let mut absent = Vec::new();
    for (name, span) in strings(tree.get_ref().get("proofs")) {
        match roots.iter().map(|root| root.join(&name)).find(|path| path.exists()) {
            // The tests were not run yet: that is for the report to say.
            None => absent.push(name),
            Some(path) => match JunitFile::read(&path, &name) {
                Ok(file) => read.push(file),
                Err(error) => {
                    problems.push(Problem::new(error.to_string()).at(span).help("run the tests again, or remove it"))
                }
            },
        }
    }
    let mut results = BTreeMap::new();
    let mut trees: BTreeMap<PathBuf, SourceTree> = BTreeMap::new();
    let criteria = tree.get_ref().get("criterion").and_then(|criteria| criteria.get_ref().as_array());
    for criterion in criteria.into_iter().flatten() {
        for (text, span) in strings(criterion.get_ref().get("proved_by")) {
            let Some((file, name)) = text.split_once("::") else { continue };
            let proof_of = ProofName { file: file.trim_start_matches("./"), name, roots: &roots };
            match proof_of.result(&read, &mut trees) {
                Ok(result) => {
                    let result = if read.is_empty() { not_run(&absent) } else { result };
                    results.insert(text, result);
                }
                Err(problem) => problems.push(problem.at(span)),
            }
        }
    }
    if problems.is_empty() {
        Ok(results)
    } else {
        Err(ScenarioErrors::new(&loaded.name, &loaded.text, problems).into())
    }
}

/// Where files are looked for: the current directory, then those above the scenario.
fn roots(loaded: &LoadedScenario, base: &Path) -> Vec<PathBuf> {
    let scenario = base.join(&loaded.name);
    // Without this, a file named from its own directory would have nothing above it.
    let scenario = scenario.canonicalize().unwrap_or(scenario);
    let base = if base.as_os_str().is_empty() { PathBuf::from(".") } else { base.to_path_buf() };
    let mut roots = vec![base];
    roots.extend(scenario.ancestors().skip(1).map(Path::to_path_buf));
    roots
}

/// A string, or the strings of a list, each with its place.
fn strings(value: Option<&toml::Spanned<toml::de::DeValue<'_>>>) -> Vec<(String, Range<usize>)> {
    let Some(value) = value else { return Vec::new() };
    let text = |item: &toml::Spanned<toml::de::DeValue<'_>>| Some((item.get_ref().as_str()?.to_owned(), item.span()));
    match value.get_ref().as_array() {
        Some(items) => items.iter().filter_map(text).collect(),
        None => text(value).into_iter().collect(),
    }
}

fn not_run(absent: &[String]) -> TestResult {
    let detail = (!absent.is_empty()).then(|| format!("{} is not there", absent.join(", ")));
    TestResult { detail, ..TestResult::default() }
}

/// A `proved_by`: the file and what is behind its `::`.
struct ProofName<'a> {
    file: &'a str,
    name: &'a str,
    roots: &'a [PathBuf],
}

impl ProofName<'_> {
    /// The result of the test; or what is wrong with the name.
    fn result(&self, files: &[JunitFile], trees: &mut BTreeMap<PathBuf, SourceTree>) -> Result<TestResult, Problem> {
        let Some(root) = self.roots.iter().find(|root| root.join(self.file).is_file()) else {
            return Err(Problem::new(format!("the file of this proof is not there: {}", self.file))
                .help("name it as seen from the project's root, and run cacheproof there"));
        };
        let language = Language::of(self.file);
        let text = std::fs::read_to_string(root.join(self.file));
        let reading = match (language, &text) {
            (Some(language), Ok(text)) => source::read(language, self.file, text),
            (_, Err(_)) => Reading { unreadable: Some("it can't be read as UTF-8 text"), ..Reading::default() },
            (None, Ok(_)) => Reading::default(),
        };
        let mut resolved = language.map_or(Resolved::Missing, |language| resolve(language, &reading, self.name));
        if let (Some(Language::Rust), Resolved::Runs(found)) = (language, &resolved) {
            let path = root.join(self.file);
            let path = path.canonicalize().unwrap_or(path);
            if let Some(why) = place::is_packaged(&path).then(|| place::never_built(&path, 0)).flatten() {
                resolved = Resolved::Not(found, why);
            }
        }
        let found: Option<&Found> = match &resolved {
            Resolved::Runs(found) | Resolved::Not(found, _) => Some(*found),
            Resolved::Several(_) | Resolved::Missing => None,
        };
        let result = if files.is_empty() {
            TestResult::default()
        } else {
            let tree = trees.entry(root.clone()).or_insert_with(|| SourceTree::of(root));
            let wanted = Wanted { file: self.file, name: self.name, language, reading: &reading, found, tree };
            results::result(&wanted, files)
        };
        let has_result = matches!(result.state, TestState::Passed | TestState::Failed);
        let is_known = has_result || !matches!(result.state, TestState::Missing | TestState::Empty | TestState::NotRun);
        match (&resolved, language) {
            (Resolved::Runs(_), _) => Ok(result),
            // Its result says more than its source.
            _ if has_result => Ok(result),
            (_, None) if is_known => Ok(result),
            (_, None) => {
                Err(Problem::new(format!("cacheproof can't tell whether {} has a test \"{}\"", self.file, self.name))
                    .help(format!(
                        "name a test in {}, or give the result of this one: --proofs FILE, a JUnit file",
                        Language::NAMES
                    )))
            }
            (_, Some(language)) => Err(self.refusal(language, &reading, &resolved)),
        }
    }

    fn refusal(&self, language: Language, reading: &Reading, resolved: &Resolved<'_>) -> Problem {
        let Self { file, name, .. } = self;
        let give = "or give its result: --proofs FILE, a JUnit file";
        if let Some(why) = reading.unreadable {
            return Problem::new(format!("the tests of {file} can't be told: {why}"))
                .help(format!("name a test of another file, {give}"));
        }
        match resolved {
            Resolved::Not(_, why) => Problem::new(format!("\"{name}\" in {file} proves nothing: {why}"))
                .help(format!("name a test that runs, {give}")),
            Resolved::Several(names) => Problem::new(format!("{file} has several tests \"{name}\""))
                .help(format!("write which one: {}", names.join(", "))),
            Resolved::Runs(_) | Resolved::Missing => {
                let near =
                    nearest(language, reading, name).map_or_else(String::new, |near| format!("did you mean {near}? "));
                Problem::new(format!("{file} has no test \"{name}\""))
                    .help(format!("{near}name a test of that file, one that is not ignored, {give}"))
            }
        }
    }
}
