//! docs/monitoring: the alerts fire when they should, and alerts and dashboard use only existing metrics.

use crate::support::{Postgres, RunningApp, args, free_port};
use cache_layer::Metrics;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

/// Labels of these metrics.
const LABELS_NOT_YET_REGISTERED: [&str; 1] = ["why"];

/// What Prometheus adds, and the bucket bound of a histogram.
const LABELS_OF_PROMETHEUS: [&str; 5] = ["alertname", "alertstate", "instance", "job", "le"];

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/monitoring").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(file(name)).expect(name)
}

/// Runs promtool; `None` if it is missing and not required.
fn promtool(arguments: &[&str]) -> Option<Result<(), String>> {
    match Command::new("promtool").args(arguments).output() {
        Ok(output) if output.status.success() => Some(Ok(())),
        Ok(output) => Some(Err(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())),
        Err(error) => {
            let required = std::env::var("CACHEPROOF_TEST_PROMTOOL").is_ok_and(|value| value == "required");
            assert!(!required, "promtool does not run ({error}): sh scripts/setup.sh installs it");
            eprintln!("no promtool here: the alerts are not tested");
            None
        }
    }
}

#[test]
fn alerts_fire_on_their_condition_and_not_otherwise() {
    let tests = file("alerts_test.yml");
    if let Some(result) = promtool(&["test", "rules", tests.to_str().expect("a path")]) {
        result.expect("the tests of the alerts pass");
    }
}

#[test]
fn every_alert_has_a_test() {
    let (alerts, tests) = (read("alerts.yml"), read("alerts_test.yml"));
    let names: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() >= 9, "{names:?}");
    for name in names {
        let named = [format!("alertname: {name}\n"), format!("alertname=\"{name}\"")];
        assert!(named.iter().any(|named| tests.contains(named)), "{name} is not tested");
    }
}

#[test]
fn the_dashboard_is_complete_and_its_queries_are_valid() {
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().expect("an id")).collect();
    assert_eq!(ids.len(), panels.len(), "ids are unique");

    let mut rules = String::from("groups:\n- name: dashboard\n  rules:\n");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty(), "{} shows something", panel["title"]);
        for target in targets {
            let expr = target["expr"].as_str().expect("a query");
            let expr = expr.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*");
            let number = rules.lines().count();
            writeln!(rules, "  - record: dashboard:{number}\n    expr: {}", Value::from(expr)).expect("a string");
        }
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("dashboard.yml");
    std::fs::write(&path, &rules).expect("written");
    if let Some(result) = promtool(&["check", "rules", path.to_str().expect("a path")]) {
        result.expect("PromQL");
    }
}

#[test]
fn alerts_and_dashboard_name_only_metrics_that_the_layer_registers() {
    let registered = registered();
    assert!(registered.contains("cache_hits_total"), "{registered:?}");
    assert!(registered.contains("cache_operation_duration_seconds_bucket"), "{registered:?}");
    for name in ["alerts.yml", "alerts_test.yml", "dashboard.json"] {
        let named = named(&read(name));
        assert!(named.contains("cache_hits_total"), "{named:?}");
        for metric in named {
            assert!(registered.contains(&metric), "{name} speaks of {metric}, which is not registered");
        }
    }
}

#[tokio::test]
async fn alerts_and_dashboard_use_only_labels_that_the_app_exports() {
    let postgres = Postgres::start().await;
    let mut unreachable = args(&postgres, None, "redis");
    unreachable.app.redis_url = Some(format!("redis://127.0.0.1:{}", free_port()));
    let app = RunningApp::start(unreachable).await;
    app.get("/posts/1").await;
    let text = app.metrics().await;
    let samples = text.lines().filter(|line| line.starts_with("cache_"));
    let shown = samples.filter_map(|line| Some(line.split_once('{')?.1.rsplit_once('}')?.0));
    let mut shown: BTreeSet<&str> =
        shown.flat_map(|labels| labels.split(',')).filter_map(|label| Some(label.split_once('=')?.0)).collect();
    assert!(shown.contains("class") && shown.contains("kind"), "{text}");
    for label in LABELS_NOT_YET_REGISTERED {
        assert!(shown.insert(label), "{label} is exported: remove it from the list");
    }
    shown.extend(LABELS_OF_PROMETHEUS);
    for name in ["alerts.yml", "dashboard.json"] {
        let text = read(name);
        let used = labels(&text);
        assert!(used.contains("job") && used.contains("class"), "{used:?}");
        for label in used {
            assert!(shown.contains(label), "{name} uses the label {label}, which no metric has");
        }
    }
}

/// The names of the registered metrics in Prometheus, with or without samples.
fn registered() -> BTreeSet<String> {
    let mut registry = Registry::default();
    Metrics::default().register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).expect("text");
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let types: Vec<(&str, &str)> = types.collect();

    // A family without samples is missing in the text, but not in the registry's debug output.
    let debug = format!("{registry:?}");
    let mut names = BTreeSet::new();
    for descriptor in debug.split("Descriptor { name: \"").skip(1) {
        let (base, rest) = descriptor.split_once('"').expect("a name ends");
        let unit = rest.split_once("unit: ").expect("a unit").1;
        let name = if let Some(unit) = unit.strip_prefix("Some(") {
            format!("{base}_{}", unit.split_once(')').expect("a unit ends").0.to_lowercase())
        } else {
            base.to_owned()
        };
        let known = types.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
        let suffixes: &[&str] = match known {
            Some("gauge") => &[""],
            Some("counter") => &["_total"],
            Some("histogram") => &["_bucket", "_count", "_sum"],
            None if name.ends_with("_seconds") => &["", "_bucket", "_count", "_sum"],
            None => &["", "_total"],
            Some(other) => panic!("{name} is of a type that this test does not know: {other}"),
        };
        names.extend(suffixes.iter().map(|suffix| format!("{name}{suffix}")));
    }
    names
}

/// Every metric that a text names.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("cache_")).map(str::to_owned).collect()
}

/// Every label that queries or legends use.
fn labels(text: &str) -> BTreeSet<&str> {
    let mut labels = BTreeSet::new();
    for word in ["by (", "without (", "on ("] {
        let lists = text.split(word).skip(1).map(|rest| rest.split(')').next().expect("the first part"));
        labels.extend(lists.flat_map(|list| list.split(',')).map(str::trim));
    }
    // `{{class}}` of a legend, `{{ $labels.class }}` of an annotation
    for rest in text.split("{{").skip(1) {
        let name = rest.split("}}").next().expect("the first part").trim();
        let name = name.strip_prefix("$labels.").unwrap_or(name);
        labels.extend(Some(name).filter(|name| !name.starts_with('$')));
    }
    // `{job=…, instance=~…}` of a selector
    for rest in text.split('{').skip(1) {
        let selector = rest.split('}').next().expect("the first part");
        let names = selector.split(", ").filter_map(|matcher| matcher.split_once('=')).map(|(name, _)| name.trim());
        labels.extend(names.filter(|name| name.chars().all(|c| c.is_ascii_alphabetic() || c == '_')));
    }
    labels
}
