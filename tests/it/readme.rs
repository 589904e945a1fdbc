//! Fails if the README says something that the program does not do.

use std::path::PathBuf;

use cacheproof::cli::Exit;

use crate::support::{command, completed_run, root};

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("there is a README")
}

#[test]
fn the_exit_codes_of_the_readme_are_those_of_the_program() {
    let readme = readme();
    let table: Vec<(u8, &str)> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "))
        .filter_map(|(code, meaning)| Some((code.parse().ok()?, meaning)))
        .collect();
    assert_eq!(table, Exit::ALL.map(|exit| (exit as u8, exit.meaning())));
}

#[test]
fn the_scenario_of_the_readme_is_valid() {
    let text = readme();
    let scenario = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let parsed = cacheproof::scenario::parse("README.md", scenario);
    assert!(parsed.is_ok(), "{parsed:?}");
}

#[test]
fn the_help_names_every_command_of_the_readme() {
    let reports = tempfile::tempdir().expect("a temporary directory");
    let output = std::process::Command::new(command(root(), &[], reports.path()).get_program())
        .arg("--help")
        .output()
        .expect("the program runs");
    let help = completed_run(output, reports).stdout;
    for word in ["run", "check", "init", "doctor", "report", "attach", "serve", "warm"] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(word)), "{word} is missing in:\n{help}");
        assert!(readme().contains(word), "the README is silent on {word}");
    }
}

#[test]
fn the_guides_that_the_stories_ask_for_are_there() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    for name in ["deployment", "strategy", "invalidation", "sessions", "troubleshooting", "tuning"] {
        let path = format!("docs/guides/{name}.md");
        let text = std::fs::read_to_string(root().join(&path)).expect(&path);
        assert!(text.starts_with("# "), "{path} has a title");
        assert!(text.split_whitespace().count() >= 300, "{path} says little");
        assert!(readme.contains(&path), "the README leads to {path}");
    }
}

#[test]
fn the_links_of_the_pages_exist() {
    let mut pages = vec![root().join("README.md"), root().join("CONTRIBUTING.md"), root().join("CHANGELOG.md")];
    for directory in ["docs", "docs/guides", "docs/monitoring"] {
        let entries = std::fs::read_dir(root().join(directory)).expect(directory);
        let found = entries.map(|entry| entry.expect(directory).path());
        pages.extend(found.filter(|path| path.extension().is_some_and(|end| end == "md")));
    }
    assert!(pages.len() > 10, "{pages:?}");
    for path in pages {
        let page = path.display();
        let text = std::fs::read_to_string(&path).expect("the page is there");
        let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        for link in links.filter(|link| !link.is_empty() && !link.contains("://")) {
            assert!(path.with_file_name(link).exists(), "{page} links to {link}, which does not exist");
        }
    }
}

/// A newcomer finds the code by these paths. A bare name is in the folder of the path before it.
#[test]
fn the_paths_named_in_the_guides_for_developers_exist() {
    for page in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = std::fs::read_to_string(root().join(page)).expect(page);
        let mut folders = vec![root().to_owned()];
        let (mut checked, mut named, quoted) = (0, 0, text.split('`').skip(1).step_by(2));
        for path in
            quoted.filter(|path| path.ends_with(".rs") || path.ends_with('/')).filter(|path| !path.contains('*'))
        {
            let found = folders.iter().map(|folder| folder.join(path)).find(|file| file.exists());
            let found = found.unwrap_or_else(|| panic!("{page} names {path}, which does not exist"));
            // The folder itself, and those around it: a list of files may go on in a neighbour.
            let folder = if found.is_dir() { found.as_path() } else { found.parent().expect("a folder") };
            folders = folder.ancestors().take_while(|folder| folder.starts_with(root())).map(PathBuf::from).collect();
            checked += 1;
        }
        // "`name` in `file.rs`", with the path in full.
        let parts: Vec<&str> = text.split('`').collect();
        for name_in_file in parts.windows(3).filter(|parts| parts[1].trim() == "in" && parts[2].ends_with(".rs")) {
            let Ok(code) = std::fs::read_to_string(root().join(name_in_file[2])) else { continue };
            let name = name_in_file[0];
            let defined =
                ["fn", "struct", "enum", "trait"].iter().any(|keyword| code.contains(&format!("{keyword} {name}")));
            assert!(defined, "{page} says that {name} is in {}", name_in_file[2]);
            named += 1;
        }
        assert!(named > 1, "{page} says of only {named} names where they are");
        assert!(checked > 10, "{page} names only {checked} paths");
        assert!(!text.contains('@'), "{page} has a placeholder");
    }
}
