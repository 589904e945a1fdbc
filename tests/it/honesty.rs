//! What breaks when a run passes although what it claims was not measured, or is wrong. Each case of tests/honesty is an app
//! that looks well and misleads, or one that is right. `just honesty` makes the same runs and writes the table.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::{root, run_scenario};

/// One line of tests/honesty/cases.tsv.
struct Case {
    name: String,
    scenario: String,
    behaviour: String,
    codes: Vec<i32>,
    /// What the run must say, in any case of letters.
    said: String,
}

fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(root().join("tests/honesty/cases.tsv")).expect("the table");
    let case = |line: &str| {
        let [name, scenario, behaviour, codes, said, _] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("six columns: {line}");
        };
        let codes = codes.split(',').map(|code| code.parse().expect("an exit code")).collect();
        let [name, scenario, behaviour, said] = [name, scenario, behaviour, said].map(str::to_owned);
        Case { name, scenario, behaviour, codes, said: said.to_lowercase() }
    };
    text.lines().skip(1).map(case).collect()
}

fn assert_honest(name: &str) {
    let case = cases().into_iter().find(|case| case.name == name).expect("it is in the table");
    let file = format!("tests/honesty/{}.toml", case.scenario);
    let start = format!(r#"target.start=["python3", "tests/honesty/app.py", "{{port}}", "{}"]"#, case.behaviour);
    let run = run_scenario(Path::new(&file), &[start]);
    let is_allowed = run.code.is_some_and(|code| case.codes.contains(&code));
    assert!(is_allowed, "{name}: {:?} are allowed\n{}", case.codes, run.said());
    let words: String = run.said().to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains(&case.said), "{name}: it should say '{}'\n{}", case.said, run.said());
}

/// One test for each case.
macro_rules! honest {
    ($all:ident: $($test:ident)*) => {
        $(
            #[test]
            fn $test() {
                assert_honest(&stringify!($test).replace('_', "-"));
            }
        )*

        pub(super) const $all: &[&str] = &[$(stringify!($test)),*];
    };
}

honest! { ONE_OF_EACH_KIND:
    right_redis
    acknowledged_from_cache
    says_only_hits
    error_page_with_number
    redirect_to_sign_in
    redis_unused
    dropped_some_texts
}

#[test]
fn each_case_of_the_table_has_its_test() {
    let tests = [ONE_OF_EACH_KIND, slow::OTHERS].concat();
    let tests: BTreeSet<String> = tests.iter().map(|test| test.replace('_', "-")).collect();
    assert_eq!(tests, cases().into_iter().map(|case| case.name).collect());
}

/// The rest of the table.
mod slow {
    use super::*;

    honest! { OTHERS:
        right_versions
        right_hits
        right_at_rest
        right_uncached
        right_redis_uncached
        right_final
        right_texts
        right_creates
        right_recovery
        stale
        dropped_writes
        dropped_writes_silently
        dropped_writes_new_versions
        stale_without_version
        error_in_body
        other_item
        bypasses_most
        no_items
        error_page
        null_answers
        sign_in_page
        redirect_elsewhere
        bypass_ignored
        bypass_ignored_silently
        uncached_is_hit
        uncached_fills_cache
        uncached_fills_cache_slowly
        redis_unused_hits
        redis_refuses_commands
        refuse_unfelt
        command_true
        writes_to_cache_only
        dropped_texts
        never_recovers
        dropped_creates
        says_nothing
    }
}
