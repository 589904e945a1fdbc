//! Whether a test case of a JUnit file is the test that a proof names. Each runner names its tests in its own way. A case counts only if
//! class, package or file tell that it is of the proof's file, so that a test of the same name elsewhere proves nothing.

use super::junit::Case;
use super::place::{Crate, modules_below};
use super::resolve::{SEPARATORS, case_of, title_fits};
use super::source::{Cases, Found, Language, Reading};
use super::tree::{SourceTree, stem_parts};

/// A proof, with what its source says.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub file: &'a str,
    /// What is behind the file's `::`.
    pub name: &'a str,
    pub language: Option<Language>,
    pub reading: &'a Reading,
    /// The test in its source, where it was found there.
    pub found: Option<&'a Found>,
    pub tree: &'a SourceTree,
}

impl Wanted<'_> {
    /// Whether this case is a result of the test.
    pub fn is_result(&self, case: &Case) -> bool {
        match self.language {
            Some(Language::Rust) => self.is_rust(case),
            Some(Language::Python) => self.is_python(case),
            Some(Language::JavaScript) => self.is_javascript(case),
            Some(Language::Go) => self.is_go(case),
            Some(Language::Java | Language::Kotlin) => self.is_jvm(case),
            None => self.is_of_another_language(case),
        }
    }

    /// Whether the runner tells of which file a test is.
    pub fn is_file_told(&self, case: &Case) -> bool {
        self.file_told(case).is_some()
    }

    fn file_told<'c>(&self, case: &'c Case) -> Option<&'c str> {
        let is_path = |name: &&str| Language::of(name).is_some() && !name.contains(char::is_whitespace);
        let names = || std::iter::once(case.class.as_str()).chain(case.suites.iter().map(String::as_str));
        case.file.as_deref().or_else(|| names().find(is_path))
    }

    /// nextest: `classname` is the binary (`package::tests`), `name` the path of the function in it.
    fn is_rust(&self, case: &Case) -> bool {
        let place = Crate::of(&self.tree.root, self.file);
        let segments: Vec<&str> = case.name.split("::").collect();
        let class: Vec<&str> = case.class.split("::").collect();
        let own: Vec<&str> = match self.found {
            Some(found) => found.path.iter().map(String::as_str).collect(),
            None => self.name.split("::").collect(),
        };
        // A test with cases has their names below its own.
        let several = self.found.is_none_or(|found| found.cases == Cases::Unknown);
        let is_whole =
            |rest: &[&str]| rest == own || (several && rest.len() == own.len() + 1 && rest.starts_with(&own));
        match place {
            Some(place) => {
                if !place.is_binary(&case.class) {
                    return false;
                }
                let Some(rest) = place
                    .modules
                    .iter()
                    .zip(&segments)
                    .all(|(module, segment)| module == segment)
                    .then(|| segments.get(place.modules.len()..))
                    .flatten()
                else {
                    return false;
                };
                if self.found.is_some() {
                    return is_whole(rest);
                }
                // A macro made it: where in the file is not known, but it is not in a module that has its own file.
                let is_below =
                    rest.len() > 1 && modules_below(&self.tree.root.join(self.file)).iter().any(|own| own == rest[0]);
                rest.ends_with(&own) && !is_below
            }
            // Without a Cargo.toml: the file's name must stand before the test's.
            None => {
                let all: Vec<&str> = class.iter().chain(&segments).copied().collect();
                let stem = stem_parts(self.file).pop().unwrap_or_default();
                (0..all.len()).any(|at| all[at] == stem && is_whole(&all[at + 1..]))
            }
        }
    }

    /// pytest: `classname` is the path of the file with dots, and the classes.
    fn is_python(&self, case: &Case) -> bool {
        let (path, wanted_case) = match case_of(self.name) {
            Some((path, wanted)) => (path, Some(wanted)),
            None => (self.name, None),
        };
        let mut classes: Vec<&str> = path.split("::").collect();
        let Some(test) = classes.pop() else { return false };
        let is_named = match wanted_case {
            Some(_) => case.name == format!("{test}[{}]", wanted_case.unwrap_or_default()),
            None => case.name == test || case.name.strip_prefix(test).is_some_and(|rest| rest.starts_with('[')),
        };
        is_named
            && self.is_dotted(&case.class, &classes)
            && case.file.as_deref().is_none_or(|told| self.tree.is_file(told, self.file))
    }

    /// Whether a class is `directories.file.Classes`, from some directory of the path on, of this file alone.
    fn is_dotted(&self, class: &str, classes: &[&str]) -> bool {
        let parts = stem_parts(self.file);
        (1..=parts.len()).any(|count| {
            let own = parts[parts.len() - count..].iter().map(String::as_str);
            let dotted: Vec<&str> = own.chain(classes.iter().copied()).collect();
            class == dotted.join(".") && self.tree.is_alone(self.file, count)
        })
    }

    /// jest, vitest, mocha, node, playwright: the titles, joined in one of several ways; the file where it is told.
    fn is_javascript(&self, case: &Case) -> bool {
        let told = self.file_told(case);
        // jest-junit writes a space before a title that has no suite.
        let name = case.name.trim();
        if told.is_some_and(|told| !self.tree.is_file(told, self.file)) {
            return false;
        }
        let Some(found) = self.found else {
            // The title is not written out: the whole of it must be the proof's name, in a file that is told.
            return told.is_some() && name == self.name;
        };
        // One case of several may be named.
        let written = SEPARATORS.iter().any(|separator| found.path.join(separator) == self.name)
            || found.path.last().is_some_and(|last| last == self.name);
        let one_case = found.cases == Cases::Unknown && !written;
        let fits = |title: &str, name: &str| {
            title_fits(found, title, name)
                && (!one_case || name == self.name || name.ends_with(&format!(" {}", self.name)))
        };
        let joined = |path: &[String], name: &str| SEPARATORS.iter().any(|separator| fits(&path.join(separator), name));
        // A title without suites: where the class is something else, it may be that of a test in a suite.
        let class = case.class.trim();
        let is_whole =
            found.path.len() > 1 || told.is_some() || class.is_empty() || class == name || case.suites.is_empty();
        if is_whole && joined(&found.path, name) {
            return true;
        }
        let (Some(title), suites) = (found.path.last(), &found.path[..found.path.len() - 1]) else { return false };
        if !fits(title, name) {
            return false;
        }
        // Only the title is the name: the suites must be told beside it, all of them.
        let is_suite = |name: &&String| !name.is_empty() && *name != "Root Suite" && Language::of(name).is_none();
        let nested: Vec<&String> = case.suites.iter().filter(is_suite).collect();
        let told_around = joined_is(suites, &case.class)
            || nested.iter().copied().eq(suites)
            || matches!(nested.as_slice(), [only] if joined_is(suites, only));
        !suites.is_empty() && told_around
    }

    /// go-junit-report, gotestsum: `classname` is the package's import path, or the end of it.
    fn is_go(&self, case: &Case) -> bool {
        let is_named =
            case.name == self.name || case.name.strip_prefix(self.name).is_some_and(|rest| rest.starts_with('/'));
        let is_package = |class: &str| super::place::is_go_package(&self.tree.root, self.file, class, &self.tree.files);
        let class = if case.class.is_empty() { case.suites.last().map_or("", String::as_str) } else { &case.class };
        is_named && is_package(class)
    }

    /// surefire, gradle: `classname` is the whole name of the class.
    fn is_jvm(&self, case: &Case) -> bool {
        let Some(found) = self.found else {
            let mut parts: Vec<&str> = self.name.split("::").collect();
            let Some(method) = parts.pop() else { return false };
            let stem = stem_parts(self.file).pop().unwrap_or_default();
            let class = if parts.is_empty() { stem } else { parts.join("$") };
            return is_method(&case.name, method) && self.is_class(&case.class, &class);
        };
        let (Some(method), classes) = (found.path.last(), &found.path[..found.path.len() - 1]) else { return false };
        is_method(&case.name, method) && self.is_class(&case.class, &classes.join("$"))
    }

    fn is_class(&self, told: &str, class: &str) -> bool {
        match self.reading.package.as_str() {
            "" => told == class,
            package => told == format!("{package}.{class}"),
        }
    }

    /// Any other runner: the name as it is, and the file told, or its path in the class.
    fn is_of_another_language(&self, case: &Case) -> bool {
        let joined = format!("{} {}", case.class, case.name);
        let is_named = case.name == self.name || joined == self.name;
        let is_path = |name: &str| {
            name.contains('.')
                && !name.contains(char::is_whitespace)
                && self.file.rsplit_once('.').is_some_and(|(_, ending)| name.ends_with(&format!(".{ending}")))
        };
        let told = case.file.as_deref().or_else(|| is_path(&case.class).then_some(case.class.as_str()));
        let is_ours = match told {
            Some(told) => self.tree.is_file(told, self.file),
            None => self.is_dotted(&case.class, &[]),
        };
        is_named && is_ours
    }
}

fn joined_is(suites: &[String], text: &str) -> bool {
    SEPARATORS.iter().any(|separator| suites.join(separator) == text)
}

/// `keeps`, `keeps()`, and the cases of a test: `keeps(int)[1]`, `keeps{int}[1]`, `keeps[1]`.
fn is_method(told: &str, method: &str) -> bool {
    told.strip_prefix(method).is_some_and(|rest| rest.is_empty() || rest.starts_with(['(', '{', '[']))
}
