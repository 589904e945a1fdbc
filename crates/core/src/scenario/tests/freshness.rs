//! Would break if a file could ask for a judgement of freshness that can never be made, or a right one was refused.

use super::*;

fn file(target: &str, requests: &str, rest: &str, rule: &str) -> String {
    format!(
        r#"
title = "freshness"
[target]
kind = "http"
url = "http://localhost:1"
identity = "id"
{target}
[data]
posts = 10
users = 3
[traffic]
rate = "10/s"
[[traffic.request]]
name = "read"
get = "/posts/{{post}}"
[[traffic.request]]
name = "list"
get = "/posts"
list = {{ of = "/posts/{{post}}", items = "items", id = "id", version = "version" }}
[[traffic.request]]
name = "write"
put = "/posts/{{post}}"
body = '{{"n": {{version}}, "title": "{{token}}"}}'
{requests}
[[phase]]
name = "steady"
lasts = "5s"
{rest}
[[criterion]]
says = "it"
rules = ["{rule}"]
"#
    )
}

const VERSION: &str = "version = \"n\"\ntokens = [\"title\", \"text\"]\nbypass = { query = \"fresh=1\" }";
const ME: &str =
    "[[traffic.request]]\nname = \"me\"\nget = \"/me\"\nheaders = { \"X-User\" = \"{user}\" }\nowner = \"user\"";

#[test]
fn what_can_be_judged_may_be_asked_for() {
    let ttl = "[freshness]\nsettle = \"200ms\"\nttl = \"3s\"\nprobes = \"0.5%\"";
    for rule in [
        "stale == 0",
        "stale for list < 1%",
        "stale.stuck == 0",
        "stale.transient < 1%",
        "stale.beyond_ttl in steady == 0",
        "stale.source == 0",
        "stale_age.p99 < 200ms",
        "stale_age.max < 2s",
        "wrong_answers == 0",
        "wrong_answers.other_item == 0",
        "wrong_answers.other_user for me == 0",
        "wrong_answers.never_written == 0",
        "wrong_answers.torn == 0",
        "wrong_answers.lost for read == 0",
    ] {
        let scenario =
            parse("it.toml", &file(VERSION, ME, ttl, rule)).unwrap_or_else(|errors| panic!("{}", shown(&errors)));
        assert_eq!(scenario.criteria[0].rules[0].display(&scenario).to_string(), rule);
        assert_eq!(scenario.freshness.probes, 0.005);
        let read = &scenario.traffic.requests[3];
        assert_eq!((read.owner.as_deref(), read.owner_key()), (Some("user"), Some("user")));
    }
    let at_quiescence = file("bypass = { query = \"fresh=1\" }", "", "", "stale == 0");
    assert!(parse("it.toml", &at_quiescence).is_ok_and(|scenario| scenario.compares_at_quiescence()));
}

#[test]
fn what_can_never_be_judged_is_refused_with_what_is_missing() {
    for (target, requests, rest, rule, help) in [
        ("", "", "", "stale == 0", "version ="),
        ("bypass = { query = \"a=1\" }", "", "", "stale.stuck == 0", "version ="),
        (VERSION, "", "", "stale.beyond_ttl == 0", "ttl ="),
        (VERSION, "", "[freshness]\nttl = \"60s\"", "stale.beyond_ttl == 0", "the timeline is 5 s long"),
        ("version = \"n\"", "", "", "stale.source == 0", "bypass ="),
        (VERSION, "", "", "wrong_answers.other_user == 0", "owner ="),
        ("version = \"n\"", "", "", "wrong_answers.torn == 0", "tokens ="),
        (VERSION, ME, "", "wrong_answers.lost for me == 0", "no answer to \"me\""),
        (VERSION, ME, "", "stale for me == 0", "never written by the same path"),
        (VERSION, "", "[freshness]\nprobes = \"3%\"", "stale == 0", "at most 2%"),
        (VERSION, "", "", "stale_age == 0", "stale_age.p99"),
        (VERSION, "", "", "stale_age.max == 0", "stale_age.max"),
        (VERSION, &ME.replace("{user}", "me"), "", "stale == 0", "\"owner\" has no user"),
        (VERSION, "[[traffic.request]]\nname = \"w\"\nget = \"/{token}\"", "", "stale == 0", "has no meaning here"),
        (
            VERSION,
            "[[traffic.request]]\nname = \"w\"\nget = \"/w\"\nlist = { of = \"/w/{post}\", id = \"id\" }",
            "",
            "stale == 0",
            "nothing writes \"/w/{post}\"",
        ),
    ] {
        match parse("it.toml", &file(target, requests, rest, rule)) {
            Err(errors) => {
                let shown = shown(&errors).split_whitespace().collect::<Vec<_>>().join(" ");
                assert!(shown.contains(help), "{rule}: {help} in {shown}");
            }
            Ok(_) => panic!("{rule} should be refused: {help}"),
        }
    }
}
