//! Secrets in a scenario: what is filled in, what is shown, what is kept.

use super::*;
use crate::secrets::Mask;

/// A scenario with `${NAME}` wherever it may stand.
const VARIABLES: &str = r#"
title = "variables"
[stack.redis]
url = "redis://:${REDIS_PW}@127.0.0.1:6379/0"
[target]
kind = "http"
start = ["app", "--token", "${START}", "{port}", "sh", "-c", "echo ${SCRIPT} ${not_set}"]
ready = "/health?sig=${READY}"
bypass = { query = "api_key=${BYPASS}" }
[data]
items = 5
posts = 5
[traffic]
rate = "10/s"
[[traffic.request]]
name = "read"
get = "/v${PATH_PART}/items/{item}?api_key=${QUERY}&x=1"
headers = { "Authorization" = "Bearer ${HEADER}", "X-User" = "{post}", "X-Post" = "${post}" }
owner = "post"
[[traffic.request]]
name = "write"
put = "/items/{item}"
body = '{"a": "x ${BODY}", "n": ${NUMBER}, "t": "{random}"}'
[[phase]]
name = "steady"
lasts = "1s"
"#;

fn value(name: &str) -> Option<String> {
    Some(
        match name {
            "REDIS_PW" => "a/b@c%2F",
            "PATH_PART" => "1 a",
            "QUERY" => "k+/=&x%y",
            "BODY" => "q\"uo\\te",
            "NUMBER" => "42",
            "not_set" => return None,
            other => return Some(format!("value-of-{other}")),
        }
        .to_owned(),
    )
}

#[test]
fn variables_are_filled_in_wherever_they_stand_and_as_the_place_needs_it() {
    let mut scenario = parse("v", VARIABLES).unwrap_or_else(|errors| panic!("{}", shown(&errors)));
    let mask = Mask::default();
    resolve_env(&mut scenario, &mask, value).unwrap();
    assert_eq!(scenario.stack.redis.as_ref().unwrap().url.as_deref(), Some("redis://:a%2Fb%40c%2F@127.0.0.1:6379/0"));
    let start = ["app", "--token", "value-of-START", "{port}", "sh", "-c", "echo ${SCRIPT} ${not_set}"];
    assert_eq!(scenario.target.start, start, "a shell fills in its own variables");
    assert_eq!(scenario.target.ready, "/health?sig=value-of-READY");
    assert_eq!(scenario.target.bypass, Some(BypassSpec::Query("api_key=value-of-BYPASS".into())));
    let [read, write] = &scenario.traffic.requests[..] else { panic!("two requests") };
    assert_eq!(read.path, "/v1%20a/items/{item}?api_key=k%2B/=%26x%25y&x=1");
    assert_eq!(read.headers[0].1, "Bearer value-of-HEADER");
    assert_eq!(read.headers[1].1, "value-of-post", "a variable is no key space, whatever its name");
    assert_eq!(read.owner_key(), Some("post"));
    assert_eq!(write.body.as_deref(), Some(r#"{"a": "x q\"uo\\te", "n": 42, "t": "{random}"}"#));
    let said = mask.text("a/b@c/ value-of-START value-of-SCRIPT k+/=&x%y value-of-HEADER 127.0.0.1");
    assert_eq!(said, "*** *** *** *** *** 127.0.0.1");
}

#[test]
fn variables_that_are_not_set_are_one_message() {
    let mut scenario = parse("v", VARIABLES).unwrap();
    let error = resolve_env(&mut scenario, &Mask::default(), |_| None).unwrap_err();
    let message = "the scenario needs environment variables that are not set: REDIS_PW, READY, BYPASS, START, PATH_PART, \
         QUERY, HEADER, post, BODY, NUMBER";
    assert_eq!(error.to_string(), message);
}

#[test]
fn a_value_that_does_not_fit_is_refused_without_being_shown() {
    for (name, bad, words) in [
        ("HEADER", "HUSH\n", "environment variable HEADER doesn't fit into a header: it has a line break"),
        ("NUMBER", "HUSH", "doesn't fit into a JSON body"),
    ] {
        let mut scenario = parse("v", VARIABLES).unwrap();
        let get = |asked: &str| if asked == name { Some(bad.to_owned()) } else { value(asked) };
        let error = resolve_env(&mut scenario, &Mask::default(), get).unwrap_err();
        assert!(error.to_string().contains(words) && !error.to_string().contains("HUSH"), "{error}");
    }
    let mut scenario = parse("v", &VARIABLES.replace("redis://:${REDIS_PW}@127.0.0.1:6379/0", "${WHOLE}")).unwrap();
    let get = |name: &str| if name == "WHOLE" { Some("redis://:4/HUSH@h".into()) } else { value(name) };
    let error = resolve_env(&mut scenario, &Mask::default(), get).unwrap_err().to_string();
    assert!(error.contains("WHOLE doesn't fit into a url: its password has a /"), "{error}");
}

#[test]
fn a_wrong_variable_is_refused_in_every_place() {
    for (from, to) in [
        ("Bearer ${HEADER}", "Bearer ${HEADER"),
        ("Bearer ${HEADER}", "Bearer ${MY-HEADER}"),
        ("/v${PATH_PART}", "/v${PATH-PART}"),
        ("x ${BODY}", "x ${}"),
        ("${REDIS_PW}", "${REDIS-PW}"),
    ] {
        let errors = parse("v", &VARIABLES.replace(from, to)).unwrap_err();
        assert_eq!(errors.problems().len(), 1, "{to}: {}", shown(&errors));
        assert!(shown(&errors).contains("write ${NAME} for an environment variable"), "{}", shown(&errors));
    }
}

/// A scenario with a secret written out wherever one may stand. Each contains HUSH.
fn written_out() -> String {
    VARIABLES
        .replace("${not_set}", "--password 'HUSH 1'")
        .replace("${REDIS_PW}", "HU%53H")
        .replace("\"${START}\"", "\"HUSH-2\"")
        .replace("${READY}", "HUSH-3")
        .replace("${BYPASS}", "HUSH-4")
        .replace("${QUERY}", "HUSH-5")
        .replace("${HEADER}", "HUSH-6")
        .replace("${NUMBER}, ", "1, \"password\": \"HUSH-7\", \"pin_token\": 4711, ")
        .replace("title = \"variables\"", "title = \"HUSH-6 and HUSH%2D5\" # api_key = \"HUSH-8\"")
        .replace(
            "lasts = \"1s\"",
            "lasts = \"1s\"\nfault = { run = \"redis-cli -a HUSH-9 PING; curl -H 'Cookie: a=HUSH-10' h\" }",
        )
}

#[test]
fn the_file_as_run_holds_no_secret_and_can_be_read_and_run_again() {
    let loaded = load::load_text("v".into(), &written_out(), &[]).unwrap_or_else(|errors| panic!("{}", shown(&errors)));
    let kept = &loaded.text;
    assert!(!kept.contains("HUSH") && !kept.contains("HU%53H") && !kept.contains("4711"), "{kept}");
    for stays in ["${BODY}", "${SCRIPT}", "Bearer ***", "?api_key=***&x=1", "\"{port}\"", "title = \"*** and ***\""] {
        assert!(kept.contains(stays), "{stays}: {kept}");
    }
    let again = parse("again", kept).unwrap_or_else(|errors| panic!("{}", shown(&errors)));
    assert_eq!(again.criteria, loaded.scenario.criteria);
    assert_eq!(again.traffic.requests.len(), loaded.scenario.traffic.requests.len());
    assert_eq!(strike_out_of_file("again", kept, &loaded.mask).unwrap(), *kept, "a second time nothing changes");
}

#[test]
fn a_variable_stays_a_variable_in_the_file_as_run() {
    let mut loaded = load::load_text("v".into(), VARIABLES, &[]).unwrap();
    assert_eq!(loaded.text, VARIABLES);
    let mask = Mask::default();
    resolve_env(&mut loaded.scenario, &mask, value).unwrap();
    let said = VARIABLES.replace("title = \"variables\"", "title = \"value-of-HEADER\"");
    let expected = VARIABLES.replace("title = \"variables\"", "title = \"***\"");
    assert_eq!(strike_out_of_file("v", &said, &mask).unwrap(), expected);
}

#[test]
fn a_message_about_a_line_with_a_secret_shows_no_secret_and_points_at_the_same_place() {
    let text =
        written_out().replace("url = \"redis://:HU%53H@127.0.0.1:6379/0\"", "url = \"redis://:4/HUSH@h\", provder = 1");
    let errors = shown(&parse("v", &text).unwrap_err());
    assert!(!errors.contains("HUSH"), "{errors}");
    for (from, to, words) in [
        ("[stack.redis]\n", "[stack.redis]\nprovider = \"auto\"\n", "not used by this provider"),
        ("redis://:HU%53H@", "redis://:4/HUSH@", "percent-encode user and password: / as %2F"),
        ("Bearer HUSH-6", "Bearer HUSH-6 {unknown}", "{unknown} has no key space"),
        ("{ \"Authorization\"", "{ \"X-Key\" = 12345, \"Authorization\"", "should be a string"),
        ("[target]\n", "[target]\npassword = \"HUSH-0\"\n", "has no key \"password\""),
        ("api_key=HUSH-5", "api_key=HUSH-5 x", "a path cannot have this character"),
        ("name = \"write\"", "name = \"write\" HUSH-6", "this is not TOML"),
    ] {
        let text = written_out();
        assert!(text.contains(from), "{from}");
        let problems = shown(&parse("v", &text.replace(from, to)).unwrap_err());
        assert!(!problems.contains("HUSH") && !problems.contains("12345"), "{problems}");
        assert!(problems.contains(words), "{words}: {problems}");
    }
}

#[test]
fn a_message_about_an_override_shows_no_secret() {
    for set in [
        "traffic.request.9.headers.Authorization=Bearer HUSH",
        "traffic.request.0.headers={ \"X-Api-Key\" = \"HUSH\", x = { } }",
        "stack.redis.url.x=redis://:4/HUSH@h",
        "stack.reddis.password=\"HUSH",
    ] {
        let errors = load::load_text("v".into(), VARIABLES, &[set.to_owned()]);
        if let Err(errors) = errors {
            assert!(!shown(&errors).contains("HUSH"), "{}", shown(&errors));
        } else {
            assert!(set.contains("X-Api-Key"), "{set}");
        }
    }
}

#[test]
fn a_secret_that_is_also_a_name_leaves_the_names_alone() {
    let text = VARIABLES.replace("${HEADER}", "steady")
        + "[[criterion]]\nsays = \"is steady\"\nrules = [\"errors in steady < 1%\"]\n";
    let loaded = load::load_text("v".into(), &text, &[]).unwrap_or_else(|errors| panic!("{}", shown(&errors)));
    assert!(loaded.text.contains("says = \"is ***\"") && loaded.text.contains("name = \"steady\""), "{}", loaded.text);
    assert_eq!(loaded.scenario.criteria[0].rules, parse("again", &loaded.text).unwrap().criteria[0].rules);
}

#[test]
fn what_a_script_takes_from_variables_is_learned_but_for_usual_ones() {
    let script = "echo $PWD ${PWD} $PORT; ${A} ${B:-x} ${C-x} ${D:=x} ${E:?x} ${F:+x} $G_TOKEN $H";
    let mut scenario = parse("v", &VARIABLES.replace("echo ${SCRIPT} ${not_set}", script)).unwrap();
    let mask = Mask::default();
    resolve_env(&mut scenario, &mask, value).unwrap();
    for name in ["A", "B", "C", "D", "E", "F", "G_TOKEN"] {
        assert_eq!(mask.text(&format!("a value-of-{name} b")), "a *** b");
    }
    for name in ["PWD", "PORT", "H"] {
        assert_eq!(mask.text(&format!("value-of-{name}/x")), format!("value-of-{name}/x"));
    }
}

#[test]
fn the_default_of_a_variable_is_a_secret_where_its_value_is_one() {
    let command = "redis-cli -a \\\"${REDIS_PASSWORD:-hush-hush}\\\" DEL session:1234";
    let text = VARIABLES.replace("lasts = \"1s\"", &format!("lasts = \"1s\"\nfault = {{ run = \"{command}\" }}"));
    let loaded = load::load_text("v".into(), &text, &[]).unwrap_or_else(|errors| panic!("{}", shown(&errors)));
    assert_eq!(loaded.text, text.replace("hush-hush", "***"));
    assert_eq!(loaded.mask.text("hush-hush is in session:1234"), "*** is in session:1234");
}
