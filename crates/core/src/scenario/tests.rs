//! Tests of the scenario module that need more than one of its files.

use std::fmt::Write as _;
use std::path::Path as FilePath;
use std::time::Duration;

use miette::{GraphicalReportHandler, GraphicalTheme};

use super::*;
use crate::metrics::definitions;
use crate::secrets::Mask;

fn story() -> Scenario {
    let file = root().join("scenarios/story-3.1.toml");
    load(&file, &[]).unwrap_or_else(|errors| panic!("{}", shown(&errors))).scenario
}

/// As the user sees it, without colours, 100 columns wide.
fn shown(errors: &ScenarioErrors) -> String {
    let mut text = String::new();
    GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
        .with_width(100)
        .with_links(false)
        .render_report(&mut text, errors)
        .unwrap();
    text
}

#[test]
fn every_scenario_of_the_repository_is_right() {
    let mut count = 0;
    for entry in std::fs::read_dir(root().join("scenarios")).unwrap() {
        let path = entry.unwrap().path();
        let loaded = load(&path, &[]).unwrap_or_else(|errors| panic!("{}", shown(&errors)));
        assert_eq!(parse("again", &loaded.text).unwrap(), loaded.scenario);
        count += 1;
    }
    assert!(count >= 2, "only {count} scenarios were found");
}

#[test]
fn the_story_is_read_as_it_is_meant() {
    let story = story();
    assert!(story.planned_length() <= Duration::from_secs(90));
    assert_eq!(story.phases[3].faults[0].after, Duration::from_secs(2));
    assert_eq!(story.key_space("post"), Some(("posts", 10_000)));
    assert_eq!(story.target.bypass, Some(BypassSpec::Header("Cache-Control".into(), "no-store".into())));
    let mut rules = String::new();
    for rule in story.criteria.iter().flat_map(|criterion| &criterion.rules) {
        writeln!(rules, "{}", rule.display(&story)).unwrap();
        assert_eq!(rule.display(&story).to_string(), rule.text);
    }
    assert_eq!(rules.lines().count(), 19);
}

const APP: &str = include_str!("tests/app.toml");

/// The repository's root, where scenarios/ and docs/ are.
fn root() -> &'static FilePath {
    FilePath::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

mod freshness;
mod items;
mod properties;
mod refusals;
mod secrets;
mod slips;

fn with(sets: &[&str]) -> LoadedScenario {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    load::load_text("app.toml".into(), APP, &sets).unwrap_or_else(|errors| panic!("{}", shown(&errors)))
}

#[test]
fn overrides_reach_every_kind_of_value() {
    let scenario = with(&[
        "traffic.rate=800/s",
        "phase.steady.lasts=5s",
        "phase.\"redis down\".fault.after=1s",
        "phase.0.lasts = 2s",
        "data.pages=20",
        "stack.redis.provider=container",
        "stack.postgres.image=postgres:16",
        "traffic.request.'read item'.weight=0.5",
        "criterion.0.rules=[\"errors == 0\", 'max < 1s']",
        "traffic.popularity=uniform",
        "target.version={ header = \"X-Version\" }",
        "title=800/s: a = b",
    ])
    .scenario;
    assert!(matches!(scenario.traffic.load_model, LoadModel::Open { rate: 800.0, .. }));
    assert_eq!(scenario.phases[2].lasts, Duration::from_secs(5));
    assert_eq!(scenario.phases[3].faults[0].after, Duration::from_secs(1));
    assert_eq!(scenario.phases[0].lasts, Duration::from_secs(2));
    assert_eq!(scenario.data["pages"], 20);
    assert_eq!(scenario.stack.redis.as_ref().unwrap().provider, Provider::Container);
    assert_eq!(scenario.stack.postgres.as_ref().unwrap().image, "postgres:16");
    assert_eq!(scenario.traffic.requests[0].weight, 0.5);
    assert_eq!(scenario.criteria[0].rules.len(), 2);
    assert_eq!(scenario.traffic.popularity, Popularity::Uniform);
    assert_eq!(scenario.target.version, Some(VersionSpec::Header("X-Version".into())));
    assert_eq!(scenario.title, "800/s: a = b");
}

#[test]
fn an_override_takes_the_place_of_what_it_excludes() {
    let scenario = with(&["traffic.users=5", "phase.3.fault.pause=redis", "target.bypass.query=nocache=1"]).scenario;
    assert_eq!(scenario.traffic.load_model, LoadModel::Closed { users: 5 });
    assert_eq!(scenario.phases[3].faults[0].action, FaultAction::Pause);
    assert_eq!(scenario.target.bypass, Some(BypassSpec::Query("nocache=1".into())));
    let external = ["stack.redis.url=redis://h", "stack.redis.provider=external", "phase.3.fault.kill=app"];
    assert_eq!(with(&external).scenario.stack.redis.unwrap().provider, Provider::External);
    let local =
        with(&[&external[..], &["stack.redis.provider=local", "data.users=9", "data.rate=9"]].concat()).scenario;
    assert_eq!(local.stack.redis.unwrap().url, None);
    assert_eq!(local.data.len(), 3);
}

#[test]
fn overrides_keep_the_rest_of_the_file_as_it_is() {
    let loaded = with(&["phase.steady.lasts=5s"]);
    assert_eq!(loaded.text, APP.replace("lasts = \"20s\" # long enough", "lasts = \"5s\" # long enough"));
    assert_eq!(with(&["data.items=7"]).text, APP.replace("items = 100 # all of them", "items = 7 # all of them"));
    assert_eq!(with(&[]).text, APP);
}

#[test]
fn overrides_reach_into_tables_in_braces_and_dotted_keys() {
    let text = APP
        .replace("[stack.redis]\nprovider = \"local\"\n", "stack.redis = { provider = \"local\" }\n")
        .replace("maxmemory = \"64mb\"\npolicy = \"allkeys-lru\"\nappendonly = true\n", "")
        .replace("[[criterion]]\nsays = \"It works\"\nrules = [\"errors < 1%\"]\n", "")
        .replace("seed = 7", "seed = 7\ncriterion = [{ says = \"It works\", rules = [\"errors < 1%\"] }]");
    let sets =
        ["stack.redis.maxmemory=8mb", "stack.postgres.provider=local", "criterion.'It works'.rules=[\"max < 1s\"]"];
    let loaded = load::load_text("app.toml".into(), &text, &sets.map(str::to_owned)).unwrap_or_else(|errors| {
        panic!("{}", shown(&errors));
    });
    assert_eq!(loaded.scenario.stack.redis.unwrap().maxmemory, Some(8 << 20));
    assert_eq!(loaded.scenario.stack.postgres.unwrap().provider, Provider::Local);
    assert_eq!(loaded.scenario.criteria[0].rules[0].text, "max < 1s");
}

#[test]
fn the_text_as_run_gives_the_same_scenario_without_its_passwords() {
    let text = APP
        .replace("provider = \"local\"\n", "url = \"redis://:s3cr\\u0065t@host:1\" # was redis://:old-s3cret@host\n");
    let text = text.replace("fault = { kill = \"redis\", after = \"2s\", lasts = \"5s\" }\n", "");
    let sets = ["target.url=http://user:s3cret@localhost:1/app".to_owned()];
    let loaded = load::load_text("app.toml".into(), &text, &sets).unwrap_or_else(|errors| panic!("{}", shown(&errors)));
    assert!(!loaded.text.contains("s3cr"), "{}", loaded.text);
    let mut again = parse("journal", &loaded.text).unwrap();
    assert_eq!(again.stack.redis.as_ref().unwrap().url.as_deref(), Some("redis://:***@host:1"));
    assert_eq!(again.target.url.as_deref(), Some("http://user:***@localhost:1/app"));
    again.stack.redis = loaded.scenario.stack.redis.clone();
    again.target.url = loaded.scenario.target.url.clone();
    assert_eq!(again, loaded.scenario);
}

#[test]
fn environment_variables_are_filled_in_at_the_run_and_not_needed_to_parse() {
    let text = APP.replace("http://localhost:8080", "http://u:${PASSWORD}@${HOST}:80/");
    let mut scenario = parse("app.toml", &text).unwrap();
    let missing = resolve_env(&mut scenario.clone(), &Mask::default(), |name| (name == "HOST").then(|| "h".to_owned()))
        .unwrap_err();
    assert_eq!(missing, VariableError::Missing { names: vec!["PASSWORD".into()] });
    resolve_env(&mut scenario, &Mask::default(), |name| Some(name.to_lowercase())).unwrap();
    assert_eq!(scenario.target.url.as_deref(), Some("http://u:password@host:80/"));
}

#[test]
fn the_reference_app_comes_with_its_defaults() {
    let text = "title = 't'\n[target]\nkind = 'reference'\n[traffic]\nusers = 2\n\
        [[traffic.request]]\nname = 'r'\nget = '/'\n[[phase]]\nname = 'p'\nlasts = '1s'\n";
    let scenario = parse("t", text).unwrap_or_else(|errors| panic!("{}", shown(&errors)));
    assert_eq!(scenario.stack.redis.unwrap().image, "redis:7");
    assert_eq!(scenario.stack.postgres.unwrap().image, "postgres:17");
    assert_eq!(scenario.target.ready, "/health");
    assert_eq!(scenario.target.identity.as_deref(), Some("id"));
    assert_eq!(scenario.traffic.timeout, Duration::from_secs(2));
    assert_eq!(scenario.traffic.popularity, Popularity::Zipf(0.99));
    assert!(scenario.traffic.requests[0].cacheable);
    let memory = parse("t", &text.replace("kind =", "cache = 'memory'\nkind =")).unwrap();
    assert_eq!((memory.stack.redis, memory.stack.postgres.is_some()), (None, true));
    let running = parse("t", &text.replace("kind =", "url = 'http://h'\nkind =")).unwrap();
    assert_eq!(running.stack, StackSpec::default(), "an app that runs already brought its servers");
}

#[test]
fn a_topology_without_replicas_given_gets_its_usual_number() {
    let text = "title = 't'\n[target]\nkind = 'reference'\n[traffic]\nusers = 2\n\
        [[traffic.request]]\nname = 'r'\nget = '/'\n[[phase]]\nname = 'p'\nlasts = '1s'\n[stack.redis]\n";
    let redis = |more: &str| parse("t", &format!("{text}{more}")).unwrap().stack.redis.unwrap();
    let shape = |more: &str| (redis(more).topology, redis(more).replicas);
    assert_eq!(shape(""), (Topology::Standalone, 0));
    assert_eq!(shape("topology = 'sentinel'"), (Topology::Sentinel, 2));
    assert_eq!(shape("topology = 'cluster'"), (Topology::Cluster, 1));
    assert_eq!(shape("topology = 'cluster'\nreplicas = 0"), (Topology::Cluster, 0));
    let valkey = redis("server = 'valkey'\ntls = true\nacl = true");
    assert_eq!((valkey.image.as_str(), valkey.tls, valkey.acl), ("valkey/valkey:8", true, true));
    assert!(!redis("url = 'redis://h'").allows_process_faults());
    let named = redis("url = 'redis://h'\ncompose = { project = 'shop', service = 'redis' }");
    assert!(named.allows_process_faults());
    let compose = FaultPermission::Compose { project: "shop".into(), service: "redis".into() };
    assert_eq!(named.permission, Some(compose));
}

/// docs/scenario.md is the reference: it names every key and metric, and its examples work.
#[test]
fn the_reference_page_is_complete_and_its_rules_are_right() {
    let page = std::fs::read_to_string(root().join("docs/scenario.md")).unwrap();
    let mut keys = Vec::new();
    collect_keys(schema::ROOT, &mut keys);
    let metrics = definitions().map(|metric| metric.name.replace("{}", "50"));
    for name in keys.into_iter().map(str::to_owned).chain(metrics) {
        let named = ["`", "[", ".", "{ "]
            .iter()
            .any(|before| ["`", "]", ".", " ="].iter().any(|after| page.contains(&format!("{before}{name}{after}"))));
        assert!(named, "docs/scenario.md does not name {name}");
    }
    let (_, rules) = page.split_once("```rules\n").unwrap();
    let (rules, _) = rules.split_once("```").unwrap();
    assert!(rules.lines().count() > 5);
    for rule in rules.lines() {
        let sets = [format!("criterion.0.rules=[{}]", toml::Value::from(rule))];
        let file = root().join("scenarios/story-3.1.toml");
        load(&file, &sets).unwrap_or_else(|errors| panic!("{}", shown(&errors)));
    }
}

fn collect_keys(keys: &[schema::Key], names: &mut Vec<&'static str>) {
    for key in keys {
        names.push(key.name);
        match key.kind {
            schema::KeyKind::Table(inner) | schema::KeyKind::Tables(_, inner) => collect_keys(inner, names),
            schema::KeyKind::Value | schema::KeyKind::UserKeys => {}
        }
    }
}
