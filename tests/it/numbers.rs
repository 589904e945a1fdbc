//! Fails if a run's numbers differ from independent counts.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use cacheproof::journal::Outcome;
use cacheproof::measurements::Measurements;

use crate::support::{CACHEPROOF, root, run_scenario, sibling};

/// The sum of a counter over all its labels in a Prometheus text.
fn counter(text: &str, name: &str, labels: &str) -> f64 {
    text.lines()
        .filter(|line| line.starts_with(name) && line[name.len()..].starts_with(['{', ' ']) && line.contains(labels))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

fn assert_within_one_percent(what: &str, ours: f64, theirs: f64) {
    assert!(theirs > 100.0, "{what}: the independent count is only {theirs}");
    assert!((ours / theirs - 1.0).abs() <= 0.01, "{what}: the run says {ours}, the independent count is {theirs}");
}

/// The growth of a sampled number over the run.
fn growth(measurements: &Measurements, of: impl Fn(&cacheproof::journal::Sample) -> Option<u64>) -> f64 {
    let values: Vec<u64> = measurements.samples.iter().filter_map(|(_, sample)| of(sample)).collect();
    (values.last().expect("samples") - values.first().expect("samples")) as f64
}

#[test]
fn requests_queries_and_hits_agree_with_the_app_postgres_and_redis() {
    // The fixture app writes its /metrics into a file when it stops.
    let kept = tempfile::tempdir().expect("a temporary directory");
    let metrics = kept.path().join("metrics.txt");
    let start = format!(
        "target.start=[{:?}, \"none\", \"--metrics-file\", {:?}]",
        sibling("defective-app").display().to_string(),
        metrics.display().to_string()
    );
    let ran = run_scenario(&root().join("tests/scenarios/numbers.toml"), &[start]);
    assert_eq!(ran.code, Some(0), "{}", ran.said());
    let measurements = ran.measurements();
    let proxy = measurements.proxy.expect("what the proxy costs was measured");
    assert!(proxy.round_trips >= 50 && proxy.direct > 0, "{proxy:?}");
    let report = std::fs::read_to_string(ran.directory().join("report.md")).expect("a report");
    assert!(report.contains("The proxy before Redis adds "), "{report}");
    let text = std::fs::read_to_string(&metrics).expect("the app wrote its counters");

    let requests = measurements.count(|_| true) as f64;
    let items: BTreeMap<&str, f64> = ["/posts", "/profiles"]
        .into_iter()
        .map(|route| (route, counter(&text, "http_requests_total", &format!("route=\"{route}/{{id}}\""))))
        .collect();
    // Written items are read once more at the end, past the cache, for which the app asks the database once.
    let at_end = measurements.freshness(|_| true).answers.final_reads as f64;
    assert!(at_end > 10.0, "{at_end}");
    assert_within_one_percent("requests", requests + at_end, items.values().sum());

    let queries: f64 =
        (0..measurements.phases.len()).filter_map(|phase| measurements.db_queries(phase)).sum::<u64>() as f64;
    assert_within_one_percent(
        "queries, by the app's own count",
        queries + at_end,
        counter(&text, "db_queries_total", ""),
    );

    // The most frequent statement is that of a read: a post with its comments.
    let statements = measurements.statements.as_ref().expect("they are counted");
    assert!(statements.most_frequent[0].0.starts_with("WITH said AS"), "{statements:?}");
    assert!(statements.all > statements.most_frequent[0].1 && statements.most_frequent.len() <= 10, "{statements:?}");

    // Three counts: what the answers reported, what the app counted, and what Redis counted. Redis also counts look-ups of tags and of
    // the cache's own keys. So Redis is compared with the app's look-ups, and each hit needs a look-up.
    let hits = measurements.count(|key| key.outcome == Outcome::Hit) as f64;
    assert_within_one_percent("hits, by the app's own count", hits, counter(&text, "cache_hits_total", ""));
    let redis = growth(&measurements, |sample| sample.redis.as_ref()?.hits);
    let found = counter(&text, "cache_store_lookups_total", "outcome=\"found\"");
    assert_within_one_percent("keys found, by Redis INFO", found, redis);
    assert!(hits <= redis * 1.01, "{hits} answers said hit, but Redis found only {redis} keys");

    // Some posts are written; only reads of those can be stale. Profiles are never written.
    let judged = |request| measurements.total(|key| key.request == request).judged_fresh;
    let reads = measurements.count(|key| key.request == 0);
    assert!(judged(0) > reads / 100 && judged(0) < reads, "{} of {reads} reads", judged(0));
    assert_eq!((judged(1), judged(2)), (0, 0), "profiles and writes have no floor");
}

/// Fails if an instance gets no requests, or more than another.
#[test]
fn requests_are_distributed_evenly_over_the_instances() {
    let kept = tempfile::tempdir().expect("a temporary directory");
    let start = format!(
        "target.start=[{:?}, \"none\", \"--metrics-file\", \"{}/{{instance}}\"]",
        sibling("defective-app").display().to_string(),
        kept.path().display()
    );
    let more = [start, "target.instances=3".into(), "phase.uncached.lasts=2s".into(), "phase.steady.lasts=4s".into()];
    let ran = run_scenario(&root().join("tests/scenarios/numbers.toml"), &more);
    let sent = ran.measurements().count(|_| true) as f64;
    let counts: Vec<f64> = (1..=3)
        .map(|instance| {
            let text = std::fs::read_to_string(kept.path().join(instance.to_string())).expect("its counters");
            counter(&text, "http_requests_total", "/{id}\"")
        })
        .collect();
    assert!(sent > 500.0, "{}", ran.said());
    // The items that were written are read at the end, each from the instance that its number gives.
    let at_end = ran.measurements().freshness(|_| true).answers.final_reads as f64;
    let each = (sent + at_end) / 3.0;
    // The preflight sends more requests to the first; requests in flight at the end may be missing.
    assert!(
        counts.iter().all(|count| (count - each).abs() < 10.0 + at_end / 10.0),
        "{counts:?} of {sent} and {at_end}"
    );
}

/// An app that reports hits but queries the database is caught by each of the independent counts.
#[test]
fn false_hits_are_detected_by_the_counts_of_redis_and_postgres() {
    let start = format!("target.start=[{:?}, \"false-hit\"]", sibling("defective-app").display().to_string());
    let ran = run_scenario(&root().join("tests/scenarios/numbers.toml"), &[start]);
    assert_eq!(ran.code, Some(1), "{}", ran.said());
    let measurements = ran.measurements();
    let hits = measurements.count(|key| key.outcome == Outcome::Hit) as f64;
    let redis = growth(&measurements, |sample| sample.redis.as_ref()?.hits);
    assert!(hits > 1000.0 && redis < hits / 10.0, "{hits} answers said hit, Redis found {redis} keys");
    let queries: f64 =
        (0..measurements.phases.len()).filter_map(|phase| measurements.db_queries(phase)).sum::<u64>() as f64;
    assert!(queries >= hits, "{queries} queries for {hits} supposed hits");
}

#[test]
fn a_report_rendered_again_from_its_journal_is_identical() {
    let ran = run_scenario(&root().join("tests/scenarios/nginx.toml"), &[]);
    let directory = ran.directory();
    let before = files(&directory);
    assert!(before.len() >= 12, "{:?}", before.keys());
    // Remove everything but the journal and what else the run itself wrote.
    let kept = ["events.jsonl", "faults.ndjson", "app.log"];
    for name in before.keys().filter(|name| !kept.contains(&name.as_str())) {
        std::fs::remove_file(directory.join(name)).expect("it can be removed");
    }
    let output = Command::new(CACHEPROOF).arg("report").arg(&directory).output().expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let after = files(&directory);
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (name, bytes) in &before {
        assert!(after[name] == *bytes, "{name} differs");
    }
}

/// Every file below a directory, by its relative path.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).expect("it reads").filter_map(Result::ok) {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(directory).expect("it is below").display().to_string();
                found.insert(name, std::fs::read(&path).expect("it reads"));
            }
        }
    }
    found
}

#[test]
fn the_sample_report_is_what_its_journal_renders_to() {
    let sample = files(&root().join("reports/sample"));
    let copy = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(copy.path().join("events.jsonl"), &sample["events.jsonl"]).expect("written");
    let output = Command::new(CACHEPROOF).arg("report").arg(copy.path()).output().expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rendered = files(copy.path());
    assert_eq!(sample.keys().collect::<Vec<_>>(), rendered.keys().collect::<Vec<_>>());
    for (name, bytes) in &sample {
        assert!(rendered[name] == *bytes, "{name}: render it again with `cacheproof report reports/sample`");
    }
}
