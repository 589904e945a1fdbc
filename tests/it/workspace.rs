//! Checks on the workspace's own files: its dependencies (what cargo-deny checks, without building cargo-deny, which takes minutes) and
//! the configuration of its tests.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::root;

/// Every dependency that is built on this platform.
fn packages() -> Vec<Value> {
    let version = Command::new("rustc").arg("-vV").output().expect("rustc").stdout;
    let version = String::from_utf8(version).expect("text");
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1", "--filter-platform", host])
        .current_dir(root())
        .output()
        .expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let built: BTreeSet<String> = list(&metadata["resolve"]["nodes"]).iter().map(|node| text(node, "id")).collect();
    let theirs = |package: &Value| built.contains(&text(package, "id")) && !package["source"].is_null();
    let packages: Vec<Value> = list(&metadata["packages"]).into_iter().filter(theirs).collect();
    assert!(packages.len() > 100, "{}", packages.len());
    packages
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

fn named(package: &Value) -> String {
    format!("{} {}", text(package, "name"), text(package, "version"))
}

/// The licences that deny.toml allows.
fn allowed() -> BTreeSet<String> {
    let deny = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    let deny: toml::Table = deny.parse().expect("TOML");
    let allow = deny["licenses"]["allow"].as_array().expect("a list");
    allow.iter().map(|licence| licence.as_str().expect("a word").to_owned()).collect()
}

/// Whether an SPDX expression can be met with these licences. AND binds more tightly than OR.
fn allows(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ").replace(" WITH ", "+WITH+");
    let words: Vec<String> = spaced.split_whitespace().map(|word| word.replace("+WITH+", " WITH ")).collect();
    let mut rest = words.as_slice();
    let holds = any(&mut rest, allowed);
    holds && rest.is_empty()
}

fn any(rest: &mut &[String], allowed: &BTreeSet<String>) -> bool {
    let mut holds = all(rest, allowed);
    while take(rest, "OR") {
        holds |= all(rest, allowed);
    }
    holds
}

fn all(rest: &mut &[String], allowed: &BTreeSet<String>) -> bool {
    let mut holds = one(rest, allowed);
    while take(rest, "AND") {
        holds &= one(rest, allowed);
    }
    holds
}

fn one(rest: &mut &[String], allowed: &BTreeSet<String>) -> bool {
    if take(rest, "(") {
        let holds = any(rest, allowed);
        return take(rest, ")") && holds;
    }
    let Some((word, after)) = rest.split_first() else { return false };
    *rest = after;
    allowed.contains(word)
}

fn take(rest: &mut &[String], wanted: &str) -> bool {
    let is_next = rest.first().is_some_and(|word| word == wanted);
    if is_next {
        *rest = &rest[1..];
    }
    is_next
}

#[test]
fn a_licence_expression_needs_one_side_of_or_and_both_sides_of_and() {
    let allowed = ["MIT", "Zlib", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
    for good in ["MIT", "GPL-3.0 OR MIT", "MIT/GPL-3.0", "(GPL-3.0 OR MIT) AND Zlib", "Apache-2.0 WITH LLVM-exception"]
    {
        assert!(allows(good, &allowed), "{good}");
    }
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Zlib) AND GPL-3.0", "Apache-2.0", "MIT Zlib", "(MIT"] {
        assert!(!allows(bad, &allowed), "{bad}");
    }
}

#[test]
fn every_licence_is_allowed_by_deny_toml() {
    let allowed = allowed();
    let bad: Vec<String> = packages()
        .iter()
        .filter(|package| !allows(&text(package, "license"), &allowed))
        .map(|package| format!("{}: {}", named(package), package["license"]))
        .collect();
    assert!(bad.is_empty(), "not allowed by deny.toml: {bad:#?}");
}

#[test]
fn every_dependency_comes_from_a_registry() {
    let elsewhere: Vec<String> =
        packages().iter().filter(|package| !text(package, "source").starts_with("registry+")).map(named).collect();
    assert!(elsewhere.is_empty(), "{elsewhere:#?}");
}

/// The versions that dependencies declare. CI's job `msrv` compiles our own code with the oldest toolchain.
#[test]
fn no_dependency_needs_a_newer_toolchain_than_our_rust_version() {
    let numbers = |version: &str| {
        let parts = version.split('.').map(|part| part.parse().unwrap_or(0));
        parts.chain(std::iter::repeat(0)).take(3).collect::<Vec<u32>>()
    };
    let promised = numbers(env!("CARGO_PKG_RUST_VERSION"));
    let newer: Vec<String> = packages()
        .iter()
        .filter(|package| package["rust_version"].as_str().is_some_and(|needed| numbers(needed) > promised))
        .map(|package| format!("{} needs {}", named(package), package["rust_version"]))
        .collect();
    assert!(newer.is_empty(), "rust-version is {promised:?}: {newer:#?}");
}

/// The modules named in `test(/^(a|b)::/)` filters of .config/nextest.toml, with the package of each.
fn modules_in_filters() -> Vec<(String, String)> {
    let config = std::fs::read_to_string(root().join(".config/nextest.toml")).expect("nextest.toml");
    let filters = config.lines().filter_map(|line| line.strip_prefix("filter = '"));
    let mut found = Vec::new();
    for part in filters.flat_map(|filter| filter.split("package(").skip(1)) {
        let package = part.split(')').next().expect("a package").to_owned();
        let modules = part.split("test(/^").nth(1).and_then(|rest| rest.split("::/)").next()).expect("a module");
        let modules = modules.trim_start_matches('(').trim_end_matches(')').split('|');
        found.extend(modules.map(|module| (package.clone(), module.to_owned())));
    }
    found
}

/// A filter that matches nothing is no error for nextest: its tests would silently run without their setting.
#[test]
fn every_module_in_the_filters_of_nextest_exists() {
    let found = modules_in_filters();
    assert!(found.len() > 5, "{found:?}");
    for (package, module) in found {
        let tests = if package == "cacheproof" {
            root().join("tests/it")
        } else {
            root().join("crates").join(&package).join("tests/it")
        };
        let files: [PathBuf; 2] = [tests.join(format!("{module}.rs")), tests.join(&module).join("mod.rs")];
        assert!(files.iter().any(|file| file.exists()), "{package} has no tests in a module {module}");
    }
}

/// .config/nextest.toml says why each module `slow` is left out of `just test`.
#[test]
fn every_slow_module_has_its_reason_in_the_nextest_configuration() {
    let config = std::fs::read_to_string(root().join(".config/nextest.toml")).expect("nextest.toml");
    let mut open = vec![root().join("tests/it"), root().join("crates")];
    let mut found = 0;
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).expect("it reads").map(|entry| entry.expect("it reads").path()) {
            if entry.is_dir() {
                open.push(entry);
            } else if entry.extension().is_some_and(|end| end == "rs")
                && std::fs::read_to_string(&entry).expect("it reads").lines().any(|line| line == "mod slow {")
            {
                found += 1;
                let module = entry.file_stem().expect("a name").to_string_lossy().into_owned();
                assert!(config.contains(&format!("{module}::slow ")), "{} has no reason", entry.display());
            }
        }
    }
    assert!(found > 3, "{found}");
}
