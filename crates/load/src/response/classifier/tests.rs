use super::*;

fn classifier(hit: CacheStatusSpec) -> ResponseClassifier {
    ResponseClassifier {
        hit,
        identity: Some("id".into()),
        version: Some(VersionSpec::Json("version".into())),
        tokens: vec!["title".into(), "body".into()],
    }
}

fn get() -> Request {
    Request {
        name: "read".into(),
        method: Method::Get,
        path: "/posts/{post}".into(),
        body: None,
        weight: 1.0,
        cacheable: true,
        expect: vec![404],
        headers: Vec::new(),
        owner: None,
        list: None,
        item: None,
    }
}

fn item(id: u64) -> ExpectedIdentity {
    ExpectedIdentity { item: Some(id), name: Some(id.into()), owner: None }
}

#[test]
fn values_of_two_writes_in_one_response_are_torn_and_those_of_another_item_are_its() {
    let read = |title: &str, body: &str| {
        let body = serde_json::json!({ "id": 17, "title": title, "body": body }).to_string();
        let read = classifier(CacheStatusSpec::default()).classify(
            &get(),
            &item(17),
            StatusCode::OK,
            &HeaderMap::new(),
            body.as_bytes(),
        );
        (read.wrong, read.token.map(|token| token.number))
    };
    assert_eq!(read("title cp-0000beef-17-4", "cp-0000beef-17-4 body"), (None, Some(4)));
    assert_eq!(read("cp-0000beef-17-4", "cp-0000beef-17-3"), (Some(WrongKind::Torn), None));
    assert_eq!(read("cp-0000beef-17-4", "as loaded"), (Some(WrongKind::Torn), None));
    assert_eq!(read("cp-0000beef-18-4", "cp-0000beef-18-4"), (Some(WrongKind::OtherItem), None));
    assert_eq!(read("as loaded", "as loaded"), (None, None));
}

#[test]
fn a_response_for_another_user_is_wrong_also_where_it_is_the_right_item() {
    let request = Request { owner: Some("user".into()), ..get() };
    let read = |user: u64| {
        let body = format!(r#"{{"id":17,"user":{user}}}"#);
        let expected = ExpectedIdentity { owner: Some(5), ..item(17) };
        classifier(CacheStatusSpec::default()).classify(
            &request,
            &expected,
            StatusCode::OK,
            &HeaderMap::new(),
            body.as_bytes(),
        )
    };
    assert_eq!((read(5).outcome, read(5).wrong), (Outcome::Plain, None));
    assert_eq!((read(6).outcome, read(6).wrong), (Outcome::Wrong, Some(WrongKind::OtherUser)));
}

#[test]
fn the_items_of_a_list_are_read_with_their_versions() {
    let list = |items: Option<&str>| {
        Some(ListSpec {
            of: "/posts/{post}".into(),
            items: items.map(str::to_owned),
            id: "id".into(),
            version: Some("v".into()),
        })
    };
    let read = |list, body: &[u8]| {
        let request = Request { list, ..get() };
        classifier(CacheStatusSpec::default()).classify(
            &request,
            &ExpectedIdentity::default(),
            StatusCode::OK,
            &HeaderMap::new(),
            body,
        )
    };
    let body = br#"{"page":1,"items":[{"id":3,"v":7},{"id":"4"},{"name":"none"}]}"#;
    assert_eq!(read(list(Some("items")), body).listed, [(3, Some(7)), (4, None)]);
    assert_eq!(read(list(None), br#"[{"id":3,"v":7}]"#).listed, [(3, Some(7))]);
    assert_eq!(read(list(None), body).outcome, Outcome::Error, "an object is no list");
}

fn headers(name: &'static str, value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(reqwest::header::HeaderName::from_static(name), value.parse().unwrap())])
}

#[test]
fn the_body_of_another_item_is_wrong_even_when_it_is_a_hit() {
    let headers = headers("cache-status", "c; hit; ttl=5");
    let reading =
        classifier(CacheStatusSpec::default()).classify(&get(), &item(17), StatusCode::OK, &headers, br#"{"id":18}"#);
    assert_eq!(reading.outcome, Outcome::Wrong);
    assert!(reading.error_detail.unwrap().contains("got id 18"));
    let right = classifier(CacheStatusSpec::default()).classify(
        &get(),
        &item(18),
        StatusCode::OK,
        &headers,
        br#"{"id":"18","version":4}"#,
    );
    assert_eq!((right.outcome, right.version), (Outcome::Hit, VersionReading::Number(4)));
}

#[test]
fn an_unexpected_status_and_a_body_that_is_not_json_are_errors() {
    let classifier = classifier(CacheStatusSpec::default());
    let read = |status, body: &[u8]| classifier.classify(&get(), &item(1), status, &HeaderMap::new(), body).outcome;
    assert_eq!(read(StatusCode::INTERNAL_SERVER_ERROR, b"{}"), Outcome::Error);
    assert_eq!(read(StatusCode::NOT_FOUND, b"{}"), Outcome::Plain);
    assert_eq!(read(StatusCode::OK, b"<html>"), Outcome::Error);
    assert_eq!(read(StatusCode::OK, br#"{"name":1}"#), Outcome::Error);
}

#[test]
fn what_the_scenario_defines_comes_before_the_standard_headers() {
    let own =
        CacheStatusSpec { json: Some("meta.cached".into()), hit: vec!["true".into()], ..CacheStatusSpec::default() };
    let reading = classifier(own).classify(
        &get(),
        &item(1),
        StatusCode::OK,
        &headers("x-cache", "MISS"),
        br#"{"id":1,"meta":{"cached":true}}"#,
    );
    assert_eq!(reading.outcome, Outcome::Hit);
}

#[test]
fn an_app_without_cache_status_can_say_that_it_fell_back() {
    let own = CacheStatusSpec {
        header: Some("X-Cache-Status".into()),
        hit: vec!["HIT".into()],
        fallback: vec!["DOWN".into()],
        ..CacheStatusSpec::default()
    };
    let outcome = |value| {
        let headers = headers("x-cache-status", value);
        classifier(own.clone()).classify(&get(), &item(1), StatusCode::OK, &headers, br#"{"id":1}"#).outcome
    };
    assert_eq!([outcome("down"), outcome("HIT")], [Outcome::Fallback, Outcome::Hit]);
}

/// Outcome and what was not understood, of an answer with these header lines.
fn read_lines(hit: CacheStatusSpec, lines: &[&'static str]) -> (Outcome, Vec<String>) {
    let lines = lines.iter().map(|line| line.split_once(": ").unwrap());
    let headers = lines
        .map(|(name, value)| (name.parse::<reqwest::header::HeaderName>().unwrap(), value.parse().unwrap()))
        .fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        });
    let reading = classifier(hit).classify(&get(), &item(1), StatusCode::OK, &headers, br#"{"id":1}"#);
    (reading.outcome, reading.unread)
}

#[test]
fn the_words_of_the_scenario_are_whole_values_first_then_the_last_member_of_the_list() {
    let own = || CacheStatusSpec {
        header: Some("X-Own".into()),
        hit: vec!["hit,private".into(), "yes".into()],
        miss: vec!["no".into()],
        ..CacheStatusSpec::default()
    };
    let outcome = |lines: &[&'static str]| read_lines(own(), lines).0;
    assert_eq!(outcome(&["X-Own: HIT,Private"]), Outcome::Hit);
    assert_eq!(outcome(&["X-Own: no", "X-Own: hit,private"]), Outcome::Hit, "the last line as a whole");
    assert_eq!(outcome(&["X-Own: yes, no"]), Outcome::Miss);
    assert_eq!(outcome(&["X-Own: no", "X-Own: yes"]), Outcome::Hit);
    assert_eq!(outcome(&["X-Own: yes", "X-Cache: MISS"]), Outcome::Hit, "before the known headers");
    assert_eq!(outcome(&["X-Cache: MISS"]), Outcome::Miss, "without it, the known headers tell");
}

#[test]
fn a_value_that_the_scenario_does_not_list_is_read_by_the_table_or_reported() {
    let own = || CacheStatusSpec {
        header: Some("X-Cache-Status".into()),
        hit: vec!["HIT".into()],
        ..CacheStatusSpec::default()
    };
    assert_eq!(read_lines(own(), &["X-Cache-Status: UPDATING"]), (Outcome::StaleServed, vec![]));
    let unknown = read_lines(own(), &["X-Cache-Status: WARM", "X-Cache: HIT"]);
    assert_eq!(unknown, (Outcome::Plain, vec!["X-Cache-Status: WARM".to_owned()]), "another cache's word says nothing");
    let json = CacheStatusSpec { json: Some("id".into()), hit: vec!["true".into()], ..CacheStatusSpec::default() };
    assert_eq!(read_lines(json, &[]), (Outcome::Plain, vec!["id: 1".to_owned()]));
}

#[test]
fn an_answer_that_says_nothing_is_what_the_scenario_says() {
    let known = |absent| CacheStatusSpec { absent, ..CacheStatusSpec::default() };
    let outcome = |absent, lines: &[&'static str]| read_lines(known(absent), lines).0;
    for (absent, said) in
        [(Absent::Unknown, Outcome::Plain), (Absent::Miss, Outcome::Miss), (Absent::Hit, Outcome::Hit)]
    {
        assert_eq!(outcome(absent, &[]), said);
        assert_eq!(outcome(absent, &["Via: 1.1 proxy", "Age: 3"]), said, "these say nothing");
        assert_eq!(outcome(absent, &["X-Cache: MISS"]), Outcome::Miss);
        assert_eq!(outcome(absent, &["X-Cache: HIT"]), Outcome::Hit);
        assert_eq!(outcome(absent, &["X-Cache: WARM"]), Outcome::Plain, "an unknown word says something");
    }
    let only_hits = || CacheStatusSpec {
        header: Some("X-Served-From".into()),
        hit: vec!["cache".into()],
        absent: Absent::Miss,
        ..CacheStatusSpec::default()
    };
    assert_eq!(read_lines(only_hits(), &["X-Served-From: cache"]).0, Outcome::Hit);
    assert_eq!(read_lines(only_hits(), &["X-Served-From: memory"]).0, Outcome::Plain);
    assert_eq!(read_lines(only_hits(), &[]).0, Outcome::Miss);
    let write = Request { method: Method::Put, ..get() };
    let classified =
        classifier(known(Absent::Hit)).classify(&write, &item(1), StatusCode::OK, &HeaderMap::new(), br#"{"id":1}"#);
    assert_eq!(classified.outcome, Outcome::Plain, "a write comes from no cache");
}

#[test]
fn a_named_cache_counts_and_no_other() {
    let named = || CacheStatusSpec { cache: Some("Origin".into()), ..CacheStatusSpec::default() };
    let outcome = |lines: &[&'static str]| read_lines(named(), lines);
    assert_eq!(outcome(&["Cache-Status: \"Origin\"; hit, Edge; fwd=miss"]), (Outcome::Hit, vec![]));
    assert_eq!(outcome(&["Cache-Status: Origin; fwd=miss", "Cache-Status: Edge; hit"]).0, Outcome::Miss);
    let absent = outcome(&["Cache-Status: Edge; hit", "X-Cache: HIT"]);
    assert_eq!(absent, (Outcome::Plain, vec!["cache-status: Edge; hit".to_owned()]));
}
