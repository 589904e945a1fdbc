//! Criteria that a test proves: is the test there?

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::problem::nearest;
use super::{LoadedScenario, Problem, ScenarioErrors};

/// Checks every `proved_by` of a scenario: its file exists below `base` (the current directory), or below a
/// directory above the scenario file, and names the test.
///
/// # Errors
/// All proofs that are missing.
pub fn check_proofs(loaded: &LoadedScenario, base: &Path) -> Result<(), ScenarioErrors> {
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
        } else if !texts.iter().any(|text| contains_test(file, text, test)) {
            let near =
                closest_test(file, &texts, test).map_or_else(String::new, |near| format!("did you mean {near}? "));
            Problem::new(format!("{file} has no test \"{test}\""))
                .help(format!("{near}name a test of that file, one that is not ignored"))
        } else {
            continue;
        };
        problems.push(problem.at(proof.span()));
    }
    if problems.is_empty() { Ok(()) } else { Err(ScenarioErrors::new(&loaded.name, &loaded.text, problems)) }
}

/// Whether a file's text holds a test of this name: in Rust, one that is run; in another language, the name.
fn contains_test(file: &str, text: &str, name: &str) -> bool {
    if file.ends_with(".rs") { is_rust_test(text, name) } else { whole_word_matches(text, name).next().is_some() }
}

/// The test that may have been meant: one whose name begins with this one, or nearly is it.
fn closest_test<'a>(file: &str, texts: &'a [String], name: &str) -> Option<&'a str> {
    let names = texts.iter().filter(|_| file.ends_with(".rs")).flat_map(|text| {
        let named =
            text.split("fn ").skip(1).filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next());
        named.filter(|name| !name.is_empty() && is_rust_test(text, name))
    });
    let names: Vec<&str> = names.collect();
    names.iter().find(|known| known.starts_with(name)).copied().or_else(|| nearest(name, names))
}

/// Where a text holds a name as a whole word.
fn whole_word_matches<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name)
        .map(|(at, _)| at)
        .filter(move |at| !text[..*at].ends_with(in_word) && !text[at + name.len()..].starts_with(in_word))
}

/// Whether a Rust text has `fn NAME` below an attribute that makes it a test, and not below one that has it
/// ignored.
fn is_rust_test(text: &str, name: &str) -> bool {
    whole_word_matches(text, name).any(|at| {
        let line_start = text[..at].rfind('\n').map_or(0, |end| end + 1);
        let before = text[line_start..at].trim();
        if before.starts_with("//") || before.split_whitespace().next_back() != Some("fn") {
            return false;
        }
        // The attributes are on the lines above, up to the end of what comes before, and on the function's own.
        let mut above: Vec<&str> = text[..line_start]
            .lines()
            .rev()
            .map(str::trim)
            .take_while(|line| line.starts_with("//") || !(line.is_empty() || line.ends_with(['{', '}', ';'])))
            .filter(|line| !line.starts_with("//"))
            .collect();
        above.reverse();
        above.push(before);
        let attributes = above.join(" ");
        let attributes = || attributes.split("#[").skip(1).map(|attribute| attribute.trim_start());
        let says = |attribute: &str, word: &str| attribute.contains(word);
        attributes().any(|attribute| says(attribute, "test") && !attribute.starts_with("cfg"))
            && !attributes().any(|attribute| says(attribute, "ignore"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_that_was_meant_is_named() {
        let texts = ["#[test]\nfn breaker_opens_and_closes() {}\nfn breaker_opens_not() {}".to_owned()];
        for written in ["breaker_opens", "braker_opens_and_closes"] {
            assert_eq!(closest_test("t.rs", &texts, written), Some("breaker_opens_and_closes"));
        }
        assert_eq!(closest_test("t.rs", &texts, "other"), None);
    }

    #[test]
    fn a_proof_in_rust_is_a_test_that_is_run() {
        for test in [
            "#[test]\nfn it() {}",
            "}\n\n/// ignore this: }\n#[tokio::test(flavor = \"multi_thread\")]\n// why\nasync fn it() {}",
            "#[tokio::test(\n    flavor = \"multi_thread\",\n)]\npub async fn it() {}",
            "#[test] fn it() {}",
            "fn it_too() {}\n#[test]\n#[cfg(unix)]\nfn it() {}",
        ] {
            assert!(contains_test("t.rs", test, "it"), "{test}");
        }
        for no_test in [
            "fn it() {}",
            "#[test]\nfn other() {}\n\nfn it() {}",
            "#[test]\n#[ignore]\nfn it() {}",
            "#[test]\n#[ignore = \"slow\"]\nfn it() {}",
            "#[ignore]\n#[test]\nfn it() {}",
            "#[test]\n#[cfg_attr(unix, ignore)]\nfn it() {}",
            "#[cfg(test)]\nfn it() {}",
            "// #[test]\nfn it() {}",
            "#[test]\n// fn it() {}\nfn other() {}",
            "#[test]\nfn other() { it(); }",
            "#[test]\nfn it_too() {}",
            "mod it;",
        ] {
            assert!(!contains_test("t.rs", no_test, "it"), "{no_test}");
        }
        assert!(contains_test("t.py", "def it():", "it") && !contains_test("t.py", "def its():", "it"));
    }
}
