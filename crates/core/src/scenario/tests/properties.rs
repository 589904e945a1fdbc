//! Properties of the parser.

use proptest::prelude::*;

use super::*;
use crate::journal::CachePath;
use crate::metrics::definitions;

fn metric() -> impl Strategy<Value = Metric> {
    let percentile = (50_000_u32..=99_990).prop_map(|thousandths| format!("{thousandths}e-5").parse::<f64>().unwrap());
    (proptest::sample::select(definitions().collect::<Vec<_>>()), percentile)
        .prop_map(|(definition, percentile)| Metric::of(definition, percentile))
}

fn term(names: usize) -> impl Strategy<Value = Term> {
    let path = prop::option::of(prop_oneof![Just(CachePath::Cached), Just(CachePath::Uncached)]);
    let index = move || prop::option::of(0..names);
    (metric(), path, index(), index()).prop_map(|(metric, path, request, phase)| Term { metric, path, request, phase })
}

fn limit(names: usize) -> impl Strategy<Value = Limit> {
    let value = prop_oneof![
        (0_u64..1_000_000_000_000_000).prop_map(|nanoseconds| Quantity::Time(Duration::from_nanos(nanoseconds))),
        (0_u32..2_000_000).prop_map(|millionths| Quantity::Share(f64::from(millionths) / 1e6)),
        (0_u32..).prop_map(|count| Quantity::Count(f64::from(count) / 4.0)),
        (0_u64..1 << 50).prop_map(Quantity::Bytes),
        (0_u32..).prop_map(|rate| Quantity::Rate(f64::from(rate) / 4.0)),
    ];
    prop_oneof![
        value.prop_map(Limit::Value),
        (1_u32..5_000, term(names)).prop_map(|(factor, term)| Limit::Of { factor: f64::from(factor) / 1_000.0, term }),
    ]
}

/// Looks names up without asking whether the rule makes sense.
fn bound(text: &str, names: &[String]) -> Rule {
    let tree = grammar::parse(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    let term = |tree: grammar::TermTree| {
        let index =
            |name: Option<(String, _)>| name.map(|(name, _)| names.iter().position(|one| *one == name).unwrap());
        let path = tree.path.map(|(path, _)| path);
        Term { metric: tree.metric, path, request: index(tree.request), phase: index(tree.phase) }
    };
    let limit = match tree.limit {
        grammar::LimitTree::Value(value, _) => Limit::Value(value),
        grammar::LimitTree::Of(factor, other) => Limit::Of { factor, term: term(other) },
    };
    Rule { text: text.to_owned(), term: term(tree.term), op: tree.op, limit }
}

/// Every fault that the sample's deployment can have.
fn fault() -> impl Strategy<Value = FaultSpec> {
    let time = || (1_u64..1_000_000_000).prop_map(Duration::from_nanos);
    let kind = prop_oneof![
        (time(), time()).prop_map(|(a, b)| {
            let delay = a.max(b).max(Duration::from_millis(1));
            LinkFaultKind::Latency { delay, jitter: a.min(b) }
        }),
        (1_u64..=64 << 20).prop_map(|bytes| LinkFaultKind::Bandwidth { bytes }),
        Just(LinkFaultKind::Reset),
        Just(LinkFaultKind::BlackHole),
        (1_u64..=64 << 10, time()).prop_map(|(size, gap)| LinkFaultKind::Slice { size, gap }),
        Just(LinkFaultKind::HalfOpen),
    ];
    let direction = proptest::sample::select(vec![Direction::Both, Direction::ToServer, Direction::ToClient]);
    let connection_scope =
        proptest::sample::select(vec![ConnectionScope::All, ConnectionScope::Live, ConnectionScope::New]);
    let link = (kind, direction, 1_u32..=1_000_000, connection_scope).prop_map(
        |(kind, direction, share, connection_scope)| {
            let one_way = matches!(kind, LinkFaultKind::Reset | LinkFaultKind::HalfOpen);
            let direction = if one_way { Direction::Both } else { direction };
            FaultAction::Link(LinkFault { kind, direction, share: f64::from(share) / 1e6, connection_scope })
        },
    );
    let process = proptest::sample::select(vec![FaultAction::Kill, FaultAction::Stop, FaultAction::Pause]);
    let process_victim =
        proptest::sample::select(vec![Victim::Redis, Victim::Postgres, Victim::App(None), Victim::App(Some(1))]);
    let server = proptest::sample::select(vec![Victim::Redis, Victim::Postgres]);
    let refuse = LinkFault {
        kind: LinkFaultKind::Refuse,
        direction: Direction::Both,
        share: 1.0,
        connection_scope: ConnectionScope::All,
    };
    let on_redis = proptest::sample::select(vec![
        FaultAction::Restart { keep_data: true },
        FaultAction::Restart { keep_data: false },
        FaultAction::Flush,
        FaultAction::FillMemory,
        FaultAction::FillClients,
        FaultAction::Link(refuse),
    ]);
    let word = "[^\\p{Cc}]*[a-z][^\\p{Cc}]*";
    let command = (word, prop::option::of(word), prop::option::of(word))
        .prop_map(|(run, undo, check)| FaultAction::Command { run, undo, check });
    let action = prop_oneof![
        (process, process_victim),
        (link, server),
        (on_redis, Just(Victim::Redis)),
        (Just(FaultAction::Partition), Just(Victim::App(Some(1)))),
        (command, Just(Victim::Custom)),
    ];
    (action, time(), prop::option::of(time()), any::<bool>()).prop_map(|((action, victim), after, lasts, repeated)| {
        let at_once = action.is_instantaneous();
        let lasts = lasts.filter(|_| !at_once);
        let every = (repeated && (at_once || lasts.is_some())).then_some(Duration::from_secs(2));
        FaultSpec { action, victim, after, lasts, every }
    })
}

#[test]
fn every_keyword_of_a_fault_is_read_and_none_as_another() {
    let sample = "fault = { kill = \"redis\", after = \"2s\", lasts = \"5s\" }";
    for (word, _) in parse_fault::FAULT_KEYWORDS {
        let victim = if word == "partition" { "app 1" } else { "redis" };
        let keys = match word {
            "latency" => ", delay = '50ms'",
            "bandwidth" => ", rate = '64kb'",
            "slice" => ", size = '10b', gap = '5ms'",
            _ => "",
        };
        let text = APP.replace(sample, &format!("fault = {{ {word} = '{victim}'{keys} }}"));
        match parse("app", &text) {
            Ok(scenario) => assert_eq!(scenario.phases[3].faults[0].action.as_str(), word),
            // The sample has no sentinels and no limit on memory.
            Err(errors) => assert!(["failover", "fill_memory"].contains(&word), "{}", shown(&errors)),
        }
    }
}

proptest! {
    #[test]
    fn a_fault_survives_being_written_and_read(faults in proptest::collection::vec(fault(), 1..4)) {
        let written: Vec<String> = faults.iter().map(FaultSpec::to_toml).collect();
        let sample = "fault = { kill = \"redis\", after = \"2s\", lasts = \"5s\" }";
        let postgres = "[stack.postgres]\nprovider = \"local\"\n[target]";
        let text = APP.replace(sample, &format!("faults = [{}]", written.join(", "))).replace("[target]", postgres);
        let scenario = parse("app", &text).unwrap_or_else(|errors| panic!("{}", shown(&errors)));
        prop_assert_eq!(&scenario.phases[3].faults, &faults);
        for fault in &faults {
            prop_assert!(fault.describe().starts_with(fault.action.as_str()));
        }
    }

    #[test]
    fn a_rule_survives_being_written_and_read(
        term in term(6),
        op in proptest::sample::select(vec![Op::Less, Op::AtMost, Op::Equal, Op::NotEqual, Op::AtLeast, Op::More]),
        limit in limit(6),
        odd in "[a-zA-Z0-9 <>=.%'ü]{1,12}",
    ) {
        let names = ["steady", "redis down", "of", "it's", "p95 < 1s", &format!("x{odd}x")].map(str::to_owned);
        let mut scenario = parse("app", APP).unwrap();
        scenario.phases = names
            .iter()
            .map(|name| Phase { name: name.clone(), ..scenario.phases[0].clone() })
            .collect();
        scenario.traffic.requests = names
            .iter()
            .map(|name| Request { name: name.clone(), ..scenario.traffic.requests[0].clone() })
            .collect();
        let mut rule = Rule { text: String::new(), term, op, limit };
        let text = rule.display(&scenario).to_string();
        rule.text = text;
        prop_assert_eq!(bound(&rule.text, &names), rule);
    }

    #[test]
    fn no_rule_makes_the_parser_panic(rule in "\\PC{0,40}") {
        let text = APP.replace("\"errors < 1%\"", &toml::Value::from(rule).to_string());
        if let Err(errors) = parse("app", &text) {
            shown(&errors);
        }
    }

    #[test]
    fn no_near_miss_of_a_rule_makes_the_parser_panic(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "p95", "hit_rate", "on", "cached", "in", "'redis down'", "for", "\"read item\"", "<", ">=", "40%", "2x",
                "of", "150ms", "0", "'", "ü", "=",
            ]),
            0..9,
        ),
    ) {
        let text = APP.replace("\"errors < 1%\"", &toml::Value::from(words.join(" ")).to_string());
        if let Err(errors) = parse("app", &text) {
            shown(&errors);
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,80}(\n\\PC{0,40}){0,6}") {
        if let Err(errors) = parse("app", &text) {
            shown(&errors);
        }
    }

    #[test]
    fn no_damage_to_a_file_makes_the_parser_panic(
        at in 0..APP.len(),
        length in 0_usize..60,
        instead in "([\\[\\]{}\"'=.,\\\\ü\n 0-9a-z]{0,8})",
    ) {
        let mut text = APP.to_owned();
        text.replace_range(at..(at + length).min(APP.len()), &instead);
        if let Err(errors) = parse("app", &text) {
            shown(&errors);
        }
    }

    #[test]
    fn no_override_makes_the_parser_panic(set in "([a-z]{1,8}|phase|traffic|steady|'|\"|\\.|=|\\[|\\{|0|ü){0,10}") {
        if let Err(errors) = load::load_text("app".into(), APP, &[set]) {
            shown(&errors);
        }
    }
}
