//! Which tests a source file has, and which of them run. Each reader takes for a test only what it can tell to be one: the language's
//! own forms. What is not listed as [`TestStatus::Runs`] is no proof without a result.

mod cfg;
mod go;
mod javascript;
mod jvm;
mod lexer;
mod python;
mod python_ids;
mod python_skips;
mod rust;
#[cfg(test)]
mod tests;
mod trees;

use std::path::Path;

pub(crate) use rust::Declared;

/// A language whose tests can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Rust,
    Python,
    /// With TypeScript.
    JavaScript,
    Go,
    Java,
    Kotlin,
}

impl Language {
    /// The languages, for messages.
    pub const NAMES: &'static str = "Rust, Python, JavaScript, TypeScript, Go, Java and Kotlin";

    /// The language of a file, by its name.
    pub fn of(file: &str) -> Option<Self> {
        match Path::new(file).extension()?.to_str()? {
            "rs" => Some(Self::Rust),
            "py" => Some(Self::Python),
            "js" | "jsx" | "mjs" | "cjs" | "ts" | "tsx" | "mts" | "cts" => Some(Self::JavaScript),
            "go" => Some(Self::Go),
            "java" => Some(Self::Java),
            "kt" | "kts" => Some(Self::Kotlin),
            _ => None,
        }
    }
}

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// What looks like a test, in the order of the file.
    pub tests: Vec<Found>,
    /// The package that a Java or Kotlin file names.
    pub package: String,
    /// Why nothing can be told.
    pub unreadable: Option<&'static str>,
}

/// What looks like a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Modules, classes or suites around it, then its name.
    pub path: Vec<String>,
    pub status: TestStatus,
    pub cases: Cases,
}

/// Whether it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TestStatus {
    Runs,
    /// It is no test, or one that does not run: `it is skipped (it.skip)`.
    Not(String),
}

/// Whether a result names cases of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cases {
    /// It runs once.
    One,
    /// It runs several times, under names that only its runner knows.
    Unknown,
    /// It runs once for each of these.
    Named(Vec<String>),
}

impl Found {
    fn new(path: Vec<String>, status: TestStatus) -> Self {
        Self { path, status, cases: Cases::One }
    }

    pub fn runs(&self) -> bool {
        self.status == TestStatus::Runs
    }
}

/// Reads a source file. `file` is its path below the project's root.
pub(crate) fn read(language: Language, file: &str, text: &str) -> Reading {
    let Some(trees) = trees::trees(text, language) else {
        return Reading { unreadable: Some("its brackets do not match"), ..Reading::default() };
    };
    match language {
        Language::Rust => Reading { tests: rust::tests(&trees), ..Reading::default() },
        Language::Python => Reading { tests: python::tests(&trees, file), ..Reading::default() },
        Language::JavaScript => Reading { tests: javascript::tests(&trees), ..Reading::default() },
        Language::Go => Reading { tests: go::tests(&trees, file, text), ..Reading::default() },
        Language::Java | Language::Kotlin => jvm::read(&trees, language),
    }
}

/// `path` with one more name.
fn below(path: &[String], name: &str) -> Vec<String> {
    let mut path = path.to_vec();
    path.push(name.to_owned());
    path
}

fn not(why: impl Into<String>) -> TestStatus {
    TestStatus::Not(why.into())
}

/// How a Rust file declares the module of another file.
pub(crate) fn declares(text: &str, module: &str, file: &str) -> Declared {
    trees::trees(text, Language::Rust).map_or(Declared::No, |trees| rust::declares(&trees, module, file))
}
