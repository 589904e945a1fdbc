//! Properties of the parser.

use proptest::prelude::*;

use super::*;

fn metric() -> impl Strategy<Value = Metric> {
    let percentile = (1_u32..99_999).prop_map(|thousandths| format!("{thousandths}e-5").parse::<f64>().unwrap());
    prop_oneof![
        percentile.clone().prop_map(Metric::ResponsePercentile),
        percentile.prop_map(Metric::ServicePercentile),
        proptest::sample::select(show::METRICS.map(|(_, metric)| metric).to_vec()),
    ]
}

fn term(names: usize) -> impl Strategy<Value = Term> {
    let path = prop::option::of(prop_oneof![Just(Path::Cached), Just(Path::Uncached)]);
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

proptest! {
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
