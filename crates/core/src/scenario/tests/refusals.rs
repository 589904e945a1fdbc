//! What the user sees for each kind of mistake: whole outputs, compared with those that were looked at.

use super::*;

const APP: &str = include_str!("app.toml");

/// Changes the sample scenario in one place and shows what is said of it.
fn refused(changes: &[(&str, &str)]) -> String {
    let mut text = APP.to_owned();
    for (from, to) in changes {
        assert_eq!(text.matches(from).count(), 1, "{from:?} must be in the sample once");
        text = text.replace(from, to);
    }
    match parse("app.toml", &text) {
        Err(errors) => shown(&errors),
        Ok(_) => panic!("{changes:?} should be refused"),
    }
}

/// Compares with the output that was looked at. A macro, so that each snapshot is called after its test.
macro_rules! snapshot {
    ($text:expr) => {
        insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!($text) })
    };
}

fn refused_rule(rule: &str) -> String {
    refused(&[("errors < 1%", rule)])
}

/// All of them in one text, each under what was written.
fn all<'a>(cases: impl IntoIterator<Item = &'a [(&'a str, &'a str)]>) -> String {
    let mut text = String::new();
    for changes in cases {
        let written = changes.iter().map(|(_, to)| to.replace('\n', " ⏎ ")).collect::<Vec<_>>().join(" … ");
        writeln!(text, "──── {written}\n{}", refused(changes)).unwrap();
    }
    text
}

fn each<const N: usize>(cases: [(&str, &str); N]) -> String {
    all(cases.iter().map(std::slice::from_ref))
}

fn each_rule<const N: usize>(rules: [&str; N]) -> String {
    rules.iter().fold(String::new(), |mut text, rule| {
        writeln!(text, "──── {rule}\n{}", refused_rule(rule)).unwrap();
        text
    })
}

#[test]
fn the_sample_itself_is_right() {
    if let Err(errors) = parse("app.toml", APP) {
        panic!("{}", shown(&errors));
    }
}

#[test]
fn syntax() {
    snapshot!(each([
        ("title = \"App\"", "title = App"),
        ("title = \"App\"", "title = \"App"),
        ("seed = 7", "seed = 7\nseed = 8"),
        ("[data]", "[data"),
    ]));
}

#[test]
fn keys_and_types() {
    snapshot!(each([
        ("seed = 7", "sede = 7"),
        ("seed = 7", "seed = \"7\""),
        ("seed = 7", "seed = -7"),
        ("title = \"App\"\n", ""),
        ("title = \"App\"", "title = 7"),
        ("[[phase]]\nname = \"steady\"", "[phases]\nname = \"steady\""),
        ("[data]\nitems = 100", "[data]\nitems = 0"),
        ("[data]\nitems = 100", "[data]\nitems = 100\nrandom = 3"),
        ("lasts = \"20s\"", "lasts = 15"),
        ("lasts = \"20s\"", "lasts = \"15\""),
        ("lasts = \"20s\"", "lasts = \"15 s\""),
        ("lasts = \"20s\"", "lasts = \"15sec\""),
        ("lasts = \"20s\"", "lasts = \"64mb\""),
        ("lasts = \"20s\"", "lasts = \"0s\""),
        ("lasts = \"20s\"", "lasts = \"9999h\""),
        ("rate = \"50/s\"", "rate = 50"),
        ("rate = \"50/s\"", "rate = \"50rps\""),
        ("rate = \"50/s\"", "rate = \"0/s\""),
        ("maxmemory = \"64mb\"", "maxmemory = 64"),
        ("appendonly = true", "appendonly = \"yes\""),
    ]));
}

#[test]
fn stack_and_target() {
    let cases: [&[(&str, &str)]; 22] = [
        &[("provider = \"local\"", "provider = \"docker\"")],
        &[("provider = \"local\"", "provider = \"external\"")],
        &[("provider = \"local\"", "provider = \"local\"\nurl = \"redis://host\"")],
        &[("provider = \"local\"", "url = \"http://host\"")],
        &[("provider = \"local\"", "url = \"redis://:${PASSWORD@host\"")],
        &[("policy = \"allkeys-lru\"", "policy = \"allkey-lru\"")],
        &[("kind = \"http\"", "kind = \"htpp\"")],
        &[("kind = \"http\"\n", "")],
        &[("url = \"http://localhost:8080\"\nstart = [\"./app\"]\n", "")],
        &[("url = \"http://localhost:8080\"", "url = \"localhost:8080\"")],
        &[("start = [\"./app\"]", "start = \"./app\"")],
        &[("start = [\"./app\"]", "cache = \"redis\"")],
        &[("identity = \"id\"", "identity = \"\"")],
        &[("version = \"version\"", "version = { heder = \"X-Version\" }")],
        &[("header = \"X-Cache-Status\"", "header = \"X-Cache-Status\"\njson = \"meta.hit\"")],
        &[("header = \"X-Cache-Status\"\n", "")],
        &[("hit = [\"HIT\"]", "hit = \"HIT\"")],
        &[("hit = [\"HIT\"]\n", "")],
        &[("bypass = { header = \"Cache-Control: no-store\" }\n", "")],
        &[("bypass = { header = \"Cache-Control: no-store\" }", "bypass = { header = \"no-store\" }")],
        &[("bypass = { header = \"Cache-Control: no-store\" }", "bypass = { query = \"?nocache\" }")],
        &[("bypass = { header = \"Cache-Control: no-store\" }", "bypass = {}")],
    ];
    snapshot!(all(cases));
}

#[test]
fn a_named_cache() {
    let own = "header = \"X-Cache-Status\"\nhit = [\"HIT\"]";
    snapshot!(each([
        (own, "cache = \" \""),
        (own, "cache = \"Edge\"\nhit = [\"HIT\"]"),
        (own, "cache = \"Edge\"\nfallback = [\"DOWN\"]")
    ]));
}

#[test]
fn deployments() {
    let local = "provider = \"local\"";
    snapshot!(each([
        (local, "topology = \"sentinal\""),
        (local, "replicas = 2"),
        (local, "topology = \"sentinel\"\nreplicas = 0"),
        (local, "topology = \"cluster\"\nreplicas = 6"),
        (local, "server = \"memcached\""),
        (local, "url = \"redis://h\"\ntopology = \"cluster\"\ntls = true"),
        (local, "provider = \"local\"\ncontainer = \"shop-redis-1\""),
        (local, "url = \"redis://h\"\ncontainer = \"a\"\ncompose = { project = \"shop\", service = \"redis\" }"),
        (local, "url = \"redis://h\"\ncompose = { project = \"shop\" }"),
        (local, "url = \"redis://h\"\ncontainer = \"\""),
    ]));
}

#[test]
fn traffic() {
    snapshot!(each([
        ("rate = \"50/s\"", "rate = \"50/s\"\nusers = 5"),
        ("rate = \"50/s\"", "users = 5\nconnections = 5"),
        ("rate = \"50/s\"", ""),
        ("rate = \"50/s\"", "rate = \"50/s\"\narrivals = \"poison\""),
        ("popularity = { zipf = 0.99 }", "popularity = \"zipf\""),
        ("popularity = { zipf = 0.99 }", "popularity = { zipf = 0 }"),
        ("weight = 90", "weight = 0"),
        ("weight = 90", "weight = -1"),
        ("get = \"/items/{item}\"", "get = \"/items/{itm}\""),
        ("get = \"/items/{item}\"", "get = \"/items/{article}\""),
        ("get = \"/items/{item}\"", "get = \"/items/{item\""),
        ("get = \"/items/{item}\"", "get = \"items\""),
        ("get = \"/items/{item}\"", "get = \"/items/{item}\"\ndelete = \"/items/{item}\""),
        ("get = \"/items/{item}\"", ""),
        ("get = \"/items/{item}\"", "get = \"/items/{item}\"\nbody = '{}'"),
        ("expect = [404]", "expect = 404"),
        ("expect = [404]", "expect = [4040]"),
        ("body = '{\"name\": \"{random}\"}'", "body = '{\"name\": {random}}'"),
        ("body = '{\"name\": \"{random}\"}'", "body = '{\"name\": \"{word}\"}'"),
        ("name = \"write item\"", "name = \"write item\"\ncacheable = true"),
        ("name = \"write item\"", "name = \"read item\""),
        ("name = \"write item\"", ""),
        ("name = \"write item\"", "name = \"it's \\\"it\\\"\""),
    ]));
}

#[test]
fn phases() {
    let cases: [&[(&str, &str)]; 14] = [
        &[("name = \"steady\"", "name = \"redis down\"")],
        &[("lasts = \"20s\"", "")],
        &[("path = \"uncached\"", "path = \"past\"")],
        &[("warm_up = true", "warm_up = 1")],
        &[("fault = { kill = \"redis\"", "fault = { kill = \"reddis\"")],
        &[("fault = { kill = \"redis\"", "fault = { kill = \"postgres\"")],
        &[("fault = { kill = \"redis\", ", "fault = { ")],
        &[("provider = \"local\"", "url = \"redis://host\"")],
        &[("start = [\"./app\"]\n", ""), ("kill = \"redis\"", "kill = \"app\"")],
        &[("after = \"2s\"", "after = \"10s\"")],
        &[("after = \"2s\"", "after = \"6s\"")],
        &[("after = \"2s\"", "after = 2")],
        &[("warm_up = true", "warm_up = true\nfault = { kill = \"redis\" }")],
        &[("rate = \"50/s\"", "users = 5"), ("lasts = \"20s\"", "lasts = \"20s\"\nrate = \"9/s\"")],
    ];
    snapshot!(all(cases));
}

/// Puts a fault in the place of the sample's.
const FAULT: &str = "fault = { kill = \"redis\", after = \"2s\", lasts = \"5s\" }";

fn each_fault<const N: usize>(faults: [&str; N]) -> String {
    faults.iter().fold(String::new(), |mut text, fault| {
        writeln!(text, "──── {fault}\n{}", refused(&[(FAULT, fault)])).unwrap();
        text
    })
}

#[test]
fn faults() {
    snapshot!(each_fault([
        "fault = { kil = \"redis\" }",
        "fault = { after = \"2s\" }",
        "fault = { kill = \"redis\", pause = \"redis\" }",
        "fault = { kill = \"app 2\" }",
        "fault = { stop = \"redis replica\" }",
        "fault = { stop = \"sentinels\" }",
        "fault = { kill = \"redis\", delay = \"5ms\" }",
        "fault = { restart = \"app\", data = \"lose\" }",
        "fault = { flush = \"postgres\" }",
        "fault = { flush = \"redis\", lasts = \"2s\" }",
        "fault = { latency = \"redis\" }",
        "fault = { latency = \"redis\", delay = 50 }",
        "fault = { latency = \"redis\", delay = \"50ms\", jitter = \"60ms\" }",
        "fault = { latency = \"app\", delay = \"50ms\" }",
        "fault = { bandwidth = \"redis\", rate = \"64kb/s\" }",
        "fault = { bandwidth = \"redis\", rate = \"64kb\", direction = \"upstream\" }",
        "fault = { black_hole = \"redis\", share = \"150%\" }",
        "fault = { black_hole = \"redis\", share = 50 }",
        "fault = { refuse = \"redis\", connections = \"live\" }",
        "fault = { slice = \"redis\", size = \"10b\" }",
        "fault = { partition = \"redis\" }",
        "fault = { failover = \"redis\" }",
        "fault = { run = \"\" }",
        "fault = { run = \"true\", lasts = \"2s\" }",
        "fault = { kill = \"redis\", lasts = \"2s\", every = \"2s\" }",
        "fault = { kill = \"redis\", every = \"2s\" }",
        "fault = { kill = \"redis\" }\nfaults = [{ flush = \"redis\" }]",
        "faults = { kill = \"redis\" }",
        "faults = [{ kill = \"redis\", lasts = \"2s\" }, { pause = \"reddis\" }]",
    ]));
}

#[test]
fn safety() {
    let safety = |line: &'static str| [("[[criterion]]\n", line)];
    let cases = [
        safety("[safety]\nmax_fault = 60\n[[criterion]]\n"),
        safety("[safety]\nmax_fault = \"1s\"\n[[criterion]]\n"),
        safety("[safety]\nabort = [\"errors > 50%\"]\n[[criterion]]\n"),
        safety("[safety]\nabort = [\"errors > 50 for 5s\", \"disk < 5parsec\", \"cpu > 5%\"]\n[[criterion]]\n"),
        safety("[safety]\nallow = [\"redi\"]\n[[criterion]]\n"),
        safety("[safety]\nsteady = [\"errors < 1%\", \"throughput > 5/s\", \"p95 in steady < 5ms\"]\n[[criterion]]\n"),
    ];
    let external = [("provider = \"local\"", "url = \"redis://host\"")];
    let flush = [external[0], (FAULT, "fault = { flush = \"redis\", after = \"2s\" }")];
    let mut cases: Vec<&[(&str, &str)]> = cases.iter().map(<[_; 1]>::as_slice).collect();
    cases.extend([external.as_slice(), flush.as_slice()]);
    snapshot!(all(cases));
}

#[test]
fn criteria() {
    snapshot!(each([
        ("says = \"It works\"", ""),
        ("says = \"It works\"", "says = \"\""),
        ("[[criterion]]\n", "[[criterion]]\nsays = \"It works\"\nrules = [\"max < 1s\"]\n\n[[criterion]]\n"),
        ("rules = [\"errors < 1%\"]", "rules = []"),
        ("rules = [\"errors < 1%\"]", "rules = \"errors < 1%\""),
        ("rules = [\"errors < 1%\"]", "proved_by = \"some test\""),
        ("rules = [\"errors < 1%\"]", "proved_by = \"../x.rs::y\""),
        ("rules = [\"errors < 1%\"]", "rules = [\n  \"p95 < 1s\",\n  'errorz < 1%',\n  \"max\\t< 1parsec\",\n]"),
        ("rules = [\"errors < 1%\"]", "rules = [\"\"\"\np95 in \\\"steddy\\\" < 1s\"\"\"]"),
    ]));
}

#[test]
fn rule_grammar() {
    snapshot!(each_rule([
        "",
        "< 150ms",
        "p95",
        "p95 <",
        "p95 in steady",
        "p95 is 150ms",
        "p95 = 150ms",
        "p95 =< 150ms",
        "p95 < 150",
        "p95 < 150 ms",
        "p95 < 150msec",
        "p95 < -1ms",
        "p100 < 150ms",
        "latency < 150ms",
        "hit_rat > 60%",
        "p95 onn cached < 1s",
        "p95 on disk < 1s",
        "p95 in < 1s",
        "p95 in 'steady < 1s",
        "p95 in steady in steady < 1s",
        "p95 < 1s < 2s",
        "p95 < 1s and p50 < 1s",
        "p95 <= 40% p95 on uncached",
        "p95 <= 40% of",
        "p95 <= 3 of p95 on uncached",
        "p95 <= 0x p95 on uncached",
        "p95 <= ax p95 on uncached",
    ]));
}

#[test]
fn rule_meaning() {
    snapshot!(each_rule([
        "p95 in steddy < 1s",
        "p95 for 'read items' < 1s",
        "p95 in warm-up < 1s",
        "p95 in steady < 40% of p95 in warm-up",
        "p95 on cached in uncached < 1s",
        "p95 on uncached in steady < 1s",
        "p95 < 60%",
        "hit_rate > 3ms",
        "hit_rate > 0.6",
        "throughput > 400",
        "errors < 64mb",
        "p95 in steady <= 40% of hit_rate in steady",
        "p95 in steady <= 40% of p95 in steady",
        "p50 in steady <= 100% of p95 in steady",
        "p99 in steady < 50% of p95 in steady",
        "p99 in steady >= 1x p95 in steady",
        "p50 in steady > 2x p95 in steady",
        "p95 in steady > 0ms",
        "errors >= 0",
        "hit_rate > 100%",
        "availability <= 100%",
        "errors < 0%",
        "hit_rate on uncached > 60%",
        "hit_rate in uncached > 60%",
        "hit_rate for 'write item' > 60%",
        "stale for 'write item' == 0",
        "db_queries < 100",
        "evictions for 'read item' == 0",
        "requests in steady <= 40% of requests in uncached",
        "evictions in steady <= 2x evictions in 'redis down'",
        "errors in steady <= 1% of requests in steady",
        "p95 <= 0ms",
        "app_memory <= 0mb",
        "throughput in steady > 9000/s",
        "requests in steady > 900000",
        "max in steady < p99 in steady",
        "mean in steady <= max in steady",
        "stale.stuck in steady > stale in steady",
        "lost_updates for 'read item' == 0",
        "p050 < 1s",
        "fallbacks > 0.9%",
    ]));
}

/// The body of the sample's write, left out.
const BODY: (&str, &str) = ("body = '{\"name\": \"{random}\"}'\n", "");
/// The sample's read, of a list.
const ITEM_LIST: (&str, &str) = ("get = \"/items/{item}\"", "get = \"/items?like={item}\"");

#[test]
fn rules_on_what_the_scenario_never_does() {
    let cases: [&[(&str, &str)]; 15] = [
        &[("identity = \"id\"\nversion = \"version\"\n", ""), ("errors < 1%", "wrong_answers == 0")],
        &[("version = \"version\"\n", ""), ("errors < 1%", "stale.stuck == 0")],
        &[("identity = \"id\"\n", ""), ("errors < 1%", "wrong_answers == 0")],
        &[
            ("put = \"/items/{item}\"", "delete = \"/items/{item}\""),
            BODY,
            ITEM_LIST,
            ("errors < 1%", "wrong_answers == 0"),
        ],
        &[
            ("put = \"/items/{item}\"", "put = \"/items/{item}/name\""),
            ("errors < 1%", "wrong_answers for 'write item' == 0"),
        ],
        &[("put = \"/items/{item}\"", "put = \"/items/{item}/name\""), ("errors < 1%", "stale == 0")],
        &[("put = \"/items/{item}\"", "post = \"/items\""), ("errors < 1%", "stale < 0.1%")],
        &[("put = \"/items/{item}\"", "put = \"/items/{item}/name\""), ("errors < 1%", "stale for 'read item' == 0")],
        &[("put = ", "get = "), ("body = '{\"name\": \"{random}\"}'\n", ""), ("errors < 1%", "stale == 0")],
        &[
            (
                "name = \"write item\"",
                "name = \"list\"\nget = \"/items\"\n\n[[traffic.request]]\nname = \"write item\"",
            ),
            ("errors < 1%", "stale for list == 0"),
        ],
        &[("[stack.redis]", "[stack.postgres]"), ("errors < 1%", "evictions == 0")],
        &[("start = [\"./app\"]\n", ""), ("errors < 1%", "app_memory < 1gb")],
        &[("expect = [404]", "cacheable = false"), ("errors < 1%", "hit_rate > 60%")],
        &[("path = \"uncached\"", ""), ("errors < 1%", "p95 on uncached < 1s")],
        &[
            ("lasts = \"20s\"", "lasts = \"20s\"\nwarm_up = true"),
            ("lasts = \"10s\"\nfault", "warm_up = true\nlasts = \"10s\"\n# fault"),
            ("path = \"uncached\"", "warm_up = true"),
            ("errors < 1%", "errors == 0"),
        ],
    ];
    snapshot!(all(cases));
}

/// Faults that never happen, or have no baseline before them.
#[test]
fn rules_on_faults_that_never_happen() {
    let fault = ("fault = ", "# fault = ");
    let cases: [&[(&str, &str)]; 9] = [
        &[("errors < 1%", "recovery in steady <= 5s")],
        &[fault, ("errors < 1%", "recovery <= 5s")],
        &[fault, ("errors < 1%", "notice in steady <= 5s")],
        &[("lasts = \"20s\"", "lasts = \"20s\"\nwarm_up = true"), ("errors < 1%", "recovery <= 5s")],
        &[("errors < 1%", "recovery for 'read item' in 'redis down' <= 5s")],
        &[("errors < 1%", "recovery in 'redis down' < 5%")],
        &[("errors < 1%", "hit_rate_recovery on uncached <= 5s")],
        &[("start = [\"./app\"]\n", ""), ("errors < 1%", "log_bytes_per_request <= 1kb")],
        &[("errors < 1%", "redis_clients_growth for 'read item' == 0")],
    ];
    snapshot!(all(cases));
}

#[test]
fn database_work_of_unlike_phases() {
    let database: (&str, &str) = ("[target]\n", "[stack.postgres]\nprovider = \"local\"\n\n[target]\n");
    let unlike = ("errors < 1%", "db_queries in steady <= 40% of db_queries in uncached");
    snapshot!(refused(&[database, unlike]));
    for (rule, right) in
        [("db_queries_per_request in steady <= 40% of db_queries_per_request in uncached", ""), (unlike.1, "20s")]
    {
        let mut text = APP.replace("errors < 1%", rule).replace(database.0, database.1);
        if !right.is_empty() {
            text = text.replace("lasts = \"5s\"\n", &format!("lasts = \"{right}\"\n"));
        }
        if let Err(errors) = parse("app.toml", &text) {
            panic!("{}", shown(&errors));
        }
    }
}

/// Writes and reads meet by their paths, whatever their queries; a put is answered with its item as well.
#[test]
fn rules_on_what_the_scenario_does() {
    for (from, to, rule) in [
        ("put = \"/items/{item}\"", "put = \"/items/{item}?by={item}\"", "stale == 0"),
        ("put = \"/items/{item}\"", "patch = \"/items/{item}\"", "stale for 'read item' < 0.1%"),
        ("seed = 7", "seed = 8", "wrong_answers for 'write item' == 0"),
        ("seed = 7", "seed = 8", "errors in steady <= 2x errors in 'redis down'"),
        ("seed = 7", "seed = 8", "hits in steady >= 2x misses in uncached"),
        ("seed = 7", "seed = 8", "recovery in 'redis down' <= 5s"),
        ("seed = 7", "seed = 8", "hit_rate_recovery in 'redis down' <= 1.5x refill in 'redis down'"),
        ("seed = 7", "seed = 8", "app_memory_growth < 150%"),
        ("seed = 7", "seed = 8", "log_bytes_per_request in 'redis down' <= 2x log_bytes_per_request in steady"),
    ] {
        let text = APP.replace(from, to).replace("errors < 1%", rule);
        if let Err(errors) = parse("app.toml", &text) {
            panic!("{rule}: {}", shown(&errors));
        }
    }
}

#[test]
fn overrides() {
    let sets = [
        "traffic.rat=800/s",
        "trafic.rate=800/s",
        "traffic",
        "traffic.rate",
        "=5",
        "traffic.rate.mean=5",
        "phase=5",
        "phase.stedy.lasts=5s",
        "phase.'redis down.lasts=5s",
        "phase.9.lasts=5s",
        "phase.steady.last=5s",
        "data=5",
        "target.version.header=X-Version",
        "phase.steady.lasts=5",
    ];
    let text = sets.iter().fold(String::new(), |mut text, set| {
        let errors = load::load_text("app.toml".into(), APP, &[(*set).to_owned()]).expect_err(set);
        writeln!(text, "──── --set {set}\n{}", shown(&errors)).unwrap();
        text
    });
    snapshot!(text);
}

#[test]
fn all_mistakes_of_a_file_come_at_once() {
    let text = refused(&[
        ("seed = 7", "sede = 7"),
        ("lasts = \"20s\"", "lasts = 20"),
        ("weight = 90", "weight = 0"),
        ("errors < 1%", "hitrate > 60%"),
    ]);
    assert!(text.contains("4 errors"), "{text}");
    snapshot!(text);
}

#[test]
fn a_file_that_cannot_be_read_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let missing = load(&directory.path().join("none.toml"), &[]).unwrap_err();
    assert!(missing.problems()[0].to_string().contains("cannot be read"), "{missing:?}");
    let binary = directory.path().join("binary.toml");
    std::fs::write(&binary, [b't', 0xff]).unwrap();
    assert!(shown(&load(&binary, &[]).unwrap_err()).contains("byte 2"));
}

#[test]
fn passwords_do_not_show_in_error_messages() {
    let text = refused(&[
        ("provider = \"local\"", "provider = \"local\"\nurl = \"redis://:s3cret@host\""),
        ("start = [\"./app\"]", "start = \"./app --redis redis://:s3cret@host\""),
    ]);
    assert!(text.contains("redis://:******@host") && !text.contains("s3cret"), "{text}");
    let set = "stack.redis.urll=redis://:s3cret@host".to_owned();
    let errors = shown(&load::load_text("app.toml".into(), APP, &[set]).unwrap_err());
    assert!(errors.contains("unknown key") && !errors.contains("s3cret"), "{errors}");
}
