//! From text to [`Scenario`]: the file as a whole, its data and its criteria.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::problem::{Problem, Problems};
use super::reader::{Located, Section, Value, span_in_file};
use super::resolve::{RuleContext, resolve};
use super::{Criterion, Rule, Scenario, ScenarioErrors};
use super::{
    grammar, parse_evidence, parse_freshness, parse_safety, parse_servers, parse_target, parse_timeline, parse_traffic,
    schema,
};

/// Reads a scenario. Environment variables are left as they stand, see [`super::resolve_env`].
///
/// # Errors
/// All problems of the file at once; `name` is what the messages call it.
pub fn parse(name: &str, text: &str) -> Result<Scenario, ScenarioErrors> {
    let (tree, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        let problems = syntax.iter().map(|error| syntax_problem(text, error)).collect();
        return Err(ScenarioErrors::new(name, text, problems));
    }
    let problems = Problems::default();
    let scenario = read(&Section::new(&problems, text, tree.get_ref(), 0..0, "the scenario", schema::ROOT), text);
    let problems = problems.into_inner();
    if problems.is_empty() { Ok(scenario) } else { Err(ScenarioErrors::new(name, text, problems)) }
}

fn syntax_problem(text: &str, error: &toml::de::Error) -> Problem {
    let message = error.message();
    let problem = Problem::new(format!("this is not TOML: {message}"));
    let Some(span) = error.span() else { return problem };
    let line = text[..span.start.min(text.len())].rfind('\n').map_or(0, |at| at + 1);
    let line = text[line..].lines().next().unwrap_or_default();
    let help = if message.contains("duplicate key") && line.trim_start().starts_with('[') {
        "where there are several of a table, each begins with [[name]], none with [name]".to_owned()
    } else if message.contains("duplicate key") {
        "a table has each key once: remove one of the two".to_owned()
    } else if message.contains("string values must be quoted") {
        "write texts and values with units in quotes: lasts = \"15s\"".to_owned()
    } else if line.trim_start().starts_with('[') {
        "a table begins with [name], a list of tables with [[name]]".to_owned()
    } else {
        "write key = value, one a line, texts in quotes".to_owned()
    };
    problem.at(span).help(help)
}

fn read(root: &Section<'_>, text: &str) -> Scenario {
    let title = match root.string("title") {
        Some(title) => title.value.to_owned(),
        None => {
            if !root.has("title") {
                root.missing("title", "title = \"what this proves\"");
            }
            String::new()
        }
    };
    let seed = root.integer("seed", 0..=i64::MAX as u64, "seed = 31").map_or(1, |seed| seed.value);
    let data = data(root);
    let target = parse_target::target(root);
    let stack = parse_servers::stack(root, &target);
    let traffic = parse_traffic::traffic(root, &data, &target, text);
    let freshness = parse_freshness::freshness(root);
    let evidence = parse_evidence::evidence(root);
    let mut safety = parse_safety::safety(root);
    let phases = parse_timeline::phases(root, &stack, &target, &traffic, &safety);
    let requests = &traffic.requests;
    let context = RuleContext {
        stack: &stack,
        target: &target,
        requests,
        freshness: &freshness,
        phases: &phases,
        load_model: &traffic.load_model,
    };
    safety.steady = parse_safety::steady(root, text, &context, &phases);
    let proofs = proofs(root);
    let criteria = criteria(root, text, &context);
    Scenario { title, seed, stack, target, data, traffic, freshness, evidence, phases, safety, proofs, criteria }
}

/// `[data]`: key spaces by name and size.
fn data(root: &Section<'_>) -> BTreeMap<String, u64> {
    let mut data = BTreeMap::new();
    let Some(value) = root.get("data") else { return data };
    let Some(table) = value.inner.get_ref().as_table() else {
        value.wrong("a table", "write [data] and below it posts = 10_000");
        return data;
    };
    // Every name is right here, so the keys are not checked against a list.
    let section = Section::with_user_keys(root, table, value.span(), "[data]");
    for (name, size) in section.entries() {
        let problem = if !is_identifier(name.value) {
            Some(("has other characters than letters, digits and _", "a path says {post} for the key space posts"))
        } else if parse_traffic::RESERVED_PLACEHOLDERS.contains(&name.value) {
            Some((
                "has a meaning already",
                "{random} is a random word, {version} and {token} tell writes apart; take another name",
            ))
        } else {
            None
        };
        if let Some((what, help)) = problem {
            let message = format!("the key space \"{}\" {what}", name.value);
            root.problems.add(Problem::new(message).at(name.span.clone()).help(help));
        }
        let size = size.integer(1..=MAX_KEY_SPACE, &format!("{} = 10_000", name.value));
        // A wrong size was complained of once; the name stays known, or every {placeholder} would complain again.
        data.insert(name.value.to_owned(), size.map_or(1, |size| size.value));
    }
    data
}

/// Ids of a key space are kept in memory, shuffled, at 4 bytes each.
const MAX_KEY_SPACE: u64 = 50_000_000;

/// Whether a text can be written in `{…}`.
pub(super) fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A name that rules can use; reports a problem where it cannot be one.
pub(super) fn name(section: &Section<'_>, example: &str, taken: &mut Vec<String>) -> String {
    let Some(name) = section.string("name") else {
        if !section.has("name") {
            section.missing("name", &format!("name = \"{example}\""));
        }
        return String::new();
    };
    let refuse = |message: String, label: &str, help: &str| {
        section.problems.add(Problem::new(message).at(name.span.clone()).label(label).help(help));
    };
    if name.value.trim() != name.value || name.value.is_empty() || name.value.contains(char::is_control) {
        let help = format!("write a name as people say it: \"{example}\"");
        refuse("a name is text without spaces or line breaks around it".to_owned(), "no name", &help);
    } else if name.value.contains('\'') && name.value.contains('"') {
        refuse("a name with both kinds of quotes cannot be written in a rule".to_owned(), "both kinds", "use one kind");
    } else if taken.iter().any(|other| other == name.value) {
        let message = format!("two of {} are called \"{}\"", section.place, name.value);
        refuse(message, "this name is taken", "give each its own name: rules tell them apart by it");
    }
    taken.push(name.value.to_owned());
    name.value.to_owned()
}

fn criteria(root: &Section<'_>, text: &str, context: &RuleContext<'_>) -> Vec<Criterion> {
    let mut criteria = Vec::new();
    for section in root.sections("criterion", "criterion", schema::CRITERION) {
        let says = section.string("says");
        let example = "says = \"the criterion in the story's own words\"";
        match &says {
            None if !section.has("says") => section.missing("says", example),
            Some(says) if says.value.trim().is_empty() => {
                let problem = Problem::new("a criterion has no text").at(says.span.clone());
                section.problems.add(problem.help(format!("write {example}")));
            }
            Some(says) if criteria.iter().any(|other: &Criterion| other.says == says.value) => {
                let problem = Problem::new("two criteria say the same").at(says.span.clone());
                section.problems.add(problem.help("put their rules into one of them, or tell them apart"));
            }
            _ => {}
        }
        let mut rules = Vec::new();
        for rule in section.strings("rules").unwrap_or_default() {
            rules.extend(read_rule(&section, text, &rule, context));
        }
        let proofs = section.one_or_more_strings("proved_by").unwrap_or_default();
        let proved_by = proofs.iter().filter_map(|proof| checked_proof(&section, proof)).collect();
        let is_empty = |key| {
            let is_empty_list =
                |value: Value<'_>| matches!(value.inner.get_ref(), DeValue::Array(array) if array.is_empty());
            section.get(key).is_none_or(is_empty_list)
        };
        if is_empty("rules") && is_empty("proved_by") {
            section.missing("rules", "rules = [\"errors < 1%\"], or proved_by = \"tests/it/file.rs::test_name\"");
        }
        criteria.push(Criterion {
            says: says.map_or_else(String::new, |says| says.value.to_owned()),
            rules,
            proved_by,
        });
    }
    criteria
}

pub(super) fn read_rule(
    section: &Section<'_>,
    text: &str,
    rule: &Located<&str>,
    context: &RuleContext<'_>,
) -> Option<Rule> {
    let tree = match grammar::parse(rule.value) {
        Ok(tree) => tree,
        Err(error) => {
            let span = span_in_file(text, rule, error.span);
            section.problems.add(Problem::new(error.message).at(span).help(error.help));
            return None;
        }
    };
    match resolve(rule.value, &tree, context) {
        Ok(rule) => Some(rule),
        Err(refusals) => {
            for refusal in refusals {
                let span = span_in_file(text, rule, refusal.span);
                section.problems.add(Problem::new(refusal.message).at(span).help(refusal.help));
            }
            None
        }
    }
}

/// The JUnit files of `proofs`.
fn proofs(root: &Section<'_>) -> Vec<String> {
    let files = root.strings("proofs").unwrap_or_default();
    for file in files.iter().filter(|file| file.value.trim().is_empty() || file.value.contains(char::is_control)) {
        let help = "write the path of a JUnit file: proofs = [\"target/nextest/default/junit.xml\"]";
        root.problems.add(Problem::new("\"proofs\" does not name a file").at(file.span.clone()).help(help));
    }
    files.into_iter().map(|file| file.value.to_owned()).collect()
}

/// `FILE::TEST`, the test as its own runner names it. Whether it is there is for the crate `cacheproof-proofs` to say.
fn checked_proof(section: &Section<'_>, proof: &Located<&str>) -> Option<String> {
    let right = proof.value.split_once("::").is_some_and(|(file, test)| {
        let relative = !file.is_empty() && !file.starts_with('/') && file.split('/').all(|part| part != "..");
        let is_name = test.trim() == test && !test.is_empty() && !test.contains(char::is_control);
        relative && file.trim() == file && !file.contains(char::is_control) && is_name
    });
    if !right {
        let help = "write FILE::TEST, the file seen from the project's root: \"tests/it/layer.rs::falls_back\"";
        let message = "\"proved_by\" does not name a test";
        section.problems.add(Problem::new(message).at(proof.span.clone()).help(help));
    }
    right.then(|| proof.value.to_owned())
}
