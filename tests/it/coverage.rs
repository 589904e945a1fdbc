//! Whether the tests run through what the stories ask for. `just coverage` writes the lines that ran and then runs this test; the sets of
//! `just test` and `just test-all` leave it out (.config/nextest.toml).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use crate::support::root;

/// Per cent of the lines of each crate: a sum would let a large crate hide a small one.
const MIN_PERCENT: f64 = 85.0;

const CRATES: [&str; 2] = ["cache-layer", "reference-app"];

/// For each crate how many of its lines ran, and how many there are.
fn lines_of(lcov: &str) -> BTreeMap<&'static str, (u64, u64)> {
    let mut lines = BTreeMap::new();
    let mut current = None;
    for line in lcov.lines() {
        if let Some(file) = line.strip_prefix("SF:") {
            current = CRATES.into_iter().find(|name| file.contains(&format!("crates/{name}/src/")));
        } else if let (Some(name), Some(data)) = (current, line.strip_prefix("DA:")) {
            let times = data.split(',').nth(1).and_then(|times| times.parse::<u64>().ok()).unwrap_or(0);
            let (ran, all) = lines.entry(name).or_insert((0, 0));
            *ran += u64::from(times > 0);
            *all += 1;
        }
    }
    lines
}

/// When a source file of a crate was changed last.
fn last_change(directory: &Path) -> SystemTime {
    let entries = std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry"));
    let change_of = |entry: std::fs::DirEntry| {
        let path = entry.path();
        if path.is_dir() {
            last_change(&path)
        } else {
            entry.metadata().and_then(|data| data.modified()).expect("a time")
        }
    };
    entries.map(change_of).max().unwrap_or(SystemTime::UNIX_EPOCH)
}

#[test]
fn each_crate_that_the_stories_ask_for_is_covered_to_85_percent() {
    let file = root().join("target/coverage/lcov.info");
    let Ok(lcov) = std::fs::read_to_string(&file) else {
        panic!("{} is not there: run `just coverage`, which also runs this test", file.display());
    };
    let measured = file.metadata().and_then(|data| data.modified()).expect("a time");
    let lines = lines_of(&lcov);
    for name in CRATES {
        let changed = last_change(&root().join("crates").join(name).join("src"));
        assert!(changed <= measured, "{name} was changed after its coverage was measured: run `just coverage`");
        let (ran, all) = lines.get(name).copied().unwrap_or_default();
        assert!(all > 0, "no line of {name} in {}", file.display());
        let percent = 100.0 * ran as f64 / all as f64;
        println!("{name}: {percent:.1} % of {all} lines");
        assert!(percent >= MIN_PERCENT, "{name}: {percent:.1} % of {all} lines, {MIN_PERCENT} % are needed");
    }
}
