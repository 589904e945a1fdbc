//! Rules and values that mean something else than they seem to: each is refused, and what to write instead is accepted.

use super::*;

const APP: &str = include_str!("slips.toml");

/// The scenario around a rule that was tried by hand, with the rule and other changes.
fn read(rule: &str, changes: &[(&str, &str)]) -> Result<Scenario, ScenarioErrors> {
    let mut text = APP.replace("RULE", rule);
    for (from, to) in changes {
        assert_eq!(text.matches(from).count(), 1, "{from:?} must be in the sample once");
        text = text.replace(from, to);
    }
    parse("app.toml", &text)
}

/// What is said of each rule. Every rule and value that a help names is accepted in its place.
fn refused<'a>(rules: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for rule in rules {
        let errors = read(rule, &[]).err().unwrap_or_else(|| panic!("{rule} should be refused"));
        writeln!(text, "──── {rule}\n{}", shown(&errors)).unwrap();
    }
    text
}

fn accepted<'a>(rules: impl IntoIterator<Item = &'a str>) {
    for rule in rules {
        if let Err(errors) = read(rule, &[]) {
            panic!("{rule}: {}", shown(&errors));
        }
    }
}

macro_rules! snapshot {
    ($text:expr) => {
        insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!($text) })
    };
}

#[test]
fn quantiles_written_as_fractions_are_refused() {
    snapshot!(refused([
        "p0.95 < 100ms",
        "p0.99 in steady < 5ms",
        "p1 < 100ms",
        "p(95) < 200ms",
        "p0.999 for read in broken < 1s",
        "service.p0.95 < 100ms",
        "service.p1 < 100ms",
        "stale_age.p0.99 < 1s",
        "p100 < 100ms",
        "p1.0 < 100ms",
        "p99.999 < 1s",
        "p999 < 1s",
        "p10 < 1ms",
        "P95 < 1s",
        "percentile(95) < 1s",
        "p50 in steady < 0.5x p0.5 in uncached",
    ]));
    accepted([
        "p50 < 100ms",
        "p99.9 < 1s",
        "p99.99 < 1s",
        "service.p75 < 1s",
        "stale_age.p99.9 < 1s",
        "p50 in steady < 0.5x p50 in uncached",
    ]);
}

#[test]
fn shares_without_their_percent_are_refused_where_things_are_counted() {
    snapshot!(refused([
        "fallbacks > 0.9",
        "fallbacks in broken > 0.5",
        "fallbacks >= 1.0",
        "hits > 0.6",
        "hits for read in steady >= 0.6",
        "misses <= 0.4",
        "wrong_answers < 0.01",
        "wrong_answers.other_item <= 0.5",
        "wrong_answers > 0.5",
        "errors < 0.01",
        "errors < 1.5",
        "errors == 0.5",
        "stale <= 0.5",
        "stale.stuck for read < 0.001",
        "non_monotonic != 0.1",
        "requests > 1000.5",
        "evictions < 0.01",
        "db_queries <= 0.5",
        "db_connections < 20.0",
        "redis_clients_growth < 0.1",
        "hit_rate > 0.6",
        "hit_rate > 0.6%",
        "availability > 0.99",
        "availability >= 0.99%",
        "throughput > 0.9",
        "app_memory_growth < 0.2",
        "redis_memory < 0.8",
    ]));
    accepted([
        "errors < 1%",
        "errors == 0",
        "errors < 0.01%",
        "fallbacks > 0",
        "fallbacks in broken > 90%",
        "stale == 0.0",
        "wrong_answers == 0.0",
        "wrong_answers < 1",
        "hits > 1_000",
        "hit_rate > 0%",
        "hit_rate < 0.5%",
        "db_queries_per_request < 0.5",
        "db_queries_per_request in steady <= 0.4x db_queries_per_request in uncached",
        "errors in steady <= 0.5x errors in broken",
        "app_memory_growth < 150%",
    ]);
}

#[test]
fn ratios_without_sense_and_shares_above_the_whole_are_refused() {
    snapshot!(refused([
        "errors > 150%",
        "fallbacks > 100%",
        "stale <= 101%",
        "availability == 101%",
        "hit_rate > -60%",
        "fallbacks > -1",
        "p95 < -0.1s",
        "errors in steady < 0.5 errors in broken",
        "errors in steady < 0.5 of errors in broken",
        "p50 in steady < 0.5 * p50 in uncached",
        "p50 in steady < 40 of p50 in uncached",
        "hits in steady > 0.6x requests in steady",
        "errors in steady <= 1% of requests in steady",
        "db_queries_per_request in steady < 0.5x requests in steady",
    ]));
}

#[test]
fn helps_name_rules_that_are_accepted() {
    for rule in [
        "fallbacks > 0.9",
        "fallbacks in broken > 0.5",
        "hits > 0.6",
        "misses <= 0.4",
        "misses > 0.35",
        "wrong_answers < 0.01",
        "wrong_answers > 0.5",
        "errors < 1.5",
        "errors < 0.01",
        "stale <= 0.5",
        "db_connections < 20.0",
        "hit_rate > 0.6%",
        "availability >= 0.99%",
        "db_queries <= 0.5",
        "evictions >= 2.5",
        "hits in steady > 0.6x requests in steady",
    ] {
        let errors = read(rule, &[]).err().unwrap_or_else(|| panic!("{rule} should be refused"));
        let help = miette::Diagnostic::help(&errors.problems()[0]).unwrap().to_string();
        let ways = help.strip_prefix("write ").unwrap_or_else(|| panic!("{rule}: {help}"));
        for way in ways.split(", or ") {
            let way = way.split(" for ").next().unwrap();
            accepted([way]);
        }
    }
}

#[test]
fn values_that_are_no_shares_rates_or_words_are_refused() {
    let hit = |line: &'static str| [("[data]", line)];
    let cases: [&[(&str, &str)]; 29] = [
        &[("rate = \"100/s\"", "rate = \"20_000_000/s\"")],
        &[("rate = \"100/s\"", "rate = \"1000001/s\"")],
        &[("rate = \"100/s\"", "rate = \"0.0001/s\"")],
        &[("rate = \"100/s\"", "rate = -100")],
        &[("name = \"steady\"", "name = \"steady\"\nrate = \"2000000/s\"")],
        &[("rate = \"100/s\"", "users = 20_000_000")],
        &[("rate = \"100/s\"", "rate = \"100/s\"\nconnections = 20_000_000")],
        &[("get = \"/items/{item}\"", "get = \"/items/{item}\"\nweight = \"90%\"")],
        &[("get = \"/items/{item}\"", "get = \"/items/{item}\"\nweight = 1e10")],
        &[("rate = \"100/s\"", "rate = \"100/s\"\npopularity = { zipf = \"99%\" }")],
        &[("rate = \"100/s\"", "rate = \"100/s\"\npopularity = { zipf = 99 }")],
        &[("rate = \"100/s\"", "rate = \"100/s\"\ntimeout = -2")],
        &[("rate = \"100/s\"", "rate = \"100/s\"\ntimeout = \"-2s\"")],
        &[("[data]", "[freshness]\nprobes = 0.01\n[data]")],
        &[("[data]", "[freshness]\nprobes = \"0.05\"\n[data]")],
        &[("kill = \"redis\"", "black_hole = \"redis\", share = 0.5")],
        &[("kill = \"redis\"", "black_hole = \"redis\", share = \"0.5\"")],
        &[("[data]", "[safety]\nabort = [\"errors > 0.5 for 5s\", \"errors > 50 for 5s\"]\n[data]")],
        &[("[data]", "[safety]\nsteady = [\"errors < 0.01\", \"p0.95 < 1s\"]\n[data]")],
        &hit("[target.hit]\nheader = \"X-Cache-Status\"\nhit = [\"*\"]\n[data]"),
        &hit("[target.hit]\nheader = \"X-Cache-Status\"\nhit = [\"HIT*\", \"^HIT\", \"HIT|STALE\", \"/HIT/\"]\n[data]"),
        &hit("[target.hit]\nheader = \"X-Cache-Status\"\nhit = []\n[data]"),
        &hit("[target.hit]\nheader = \"X-Cache-Status\"\nabsent = \"miss\"\n[data]"),
        &hit("[target.hit]\nabsent = \"none\"\n[data]"),
        &hit("[target.hit]\nheader = \"X-Cache-Status\"\nhit = [\"\", \" HIT\"]\n[data]"),
        &hit("[target.hit]\nheader = \"X-Cache-Status\"\nhit = [\"HIT\"]\nmiss = [\"*\"]\nstale = [\"hit\"]\n[data]"),
        &[
            ("[data]", "[target.hit]\nheader = \"X-Cache-Status\"\nhit = [\"HIT\"]\n[data]"),
            ("errors == 0", "fallbacks in broken == 0"),
        ],
        &[("[data]", "[target.hit]\njson = \"cached\"\nhit = [\"true\"]\n[data]"), ("errors == 0", "fallbacks > 90%")],
        &[("errors == 0", "fallbacks for write == 0")],
    ];
    let mut text = String::new();
    for changes in cases {
        let written = changes.iter().map(|(_, to)| to.replace('\n', " ⏎ ")).collect::<Vec<_>>().join(" … ");
        let errors = read("errors == 0", changes).err().unwrap_or_else(|| panic!("{written} should be refused"));
        writeln!(text, "──── {written}\n{}", shown(&errors)).unwrap();
    }
    snapshot!(text);
    for changes in [
        [("rate = \"100/s\"", "rate = \"1_000_000/s\"")],
        [("rate = \"100/s\"", "rate = \"0.5/s\"")],
        [("rate = \"100/s\"", "users = 10_000")],
        [("get = \"/items/{item}\"", "get = \"/items/{item}\"\nweight = 0.9")],
        [("[data]", "[freshness]\nprobes = \"0%\"\n[data]")],
        [("[data]", "[target.hit]\nheader = \"X-Cache\"\nhit = [\"HIT from edge\", \"?1\", \"TCP_HIT\"]\n[data]")],
        [("[data]", "[target.hit]\nabsent = \"miss\"\n[data]")],
        [("[data]", "[target.hit]\nheader = \"X-Miss\"\nmiss = [\"yes\"]\nabsent = \"hit\"\n[data]")],
        [("[data]", "[target.hit]\ncache = \"Edge\"\nabsent = \"miss\"\n[data]")],
    ] {
        if let Err(errors) = read("errors == 0", &changes) {
            panic!("{changes:?}: {}", shown(&errors));
        }
    }
}

#[test]
fn fallbacks_count_where_the_app_can_say_that_it_fell_back() {
    for hit in [
        "header = \"Cache-Status\"\nhit = [\"app; hit\"]",
        "header = \"X-Cache-Status\"\nhit = [\"HIT\"]\nfallback = [\"FALLBACK\"]",
        "json = \"cache\"\nhit = [\"hit\"]\nfallback = [\"down\"]",
    ] {
        let table = format!("[target.hit]\n{hit}\n[data]");
        if let Err(errors) = read("fallbacks in broken > 90%", &[("[data]", &table)]) {
            panic!("{hit}: {}", shown(&errors));
        }
    }
}
