use reqwest::header::{HeaderMap, HeaderName};

use super::Meaning::{Is, Silent, Unknown};
use super::*;
use cacheproof_core::journal::Outcome::{Bypass, Fallback, Hit, Miss, StaleServed};

fn headers(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    headers
}

/// What the lines of one header say.
fn meaning_of_lines(lines: &[&str]) -> Meaning {
    let reading = read(&headers(lines), None);
    match (reading.outcome, reading.unread.is_empty()) {
        (Some(outcome), _) => Is(outcome),
        (None, true) => Silent,
        (None, false) => Unknown,
    }
}

fn check(cases: &[(&[&str], Meaning)]) {
    let wrong: Vec<String> = cases
        .iter()
        .map(|(lines, right)| (lines, meaning_of_lines(lines), right))
        .filter(|(_, said, right)| said != *right)
        .map(|(lines, said, right)| format!("{lines:?} is {said:?}, not {right:?}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_header_is_a_list_of_words_in_their_places() {
    check(&[
        (&["X-Cache: HIT"], Is(Hit)),
        (&["X-Cache: Miss from cloudfront"], Is(Miss)),
        (&["Cache-Status: Origin; fwd=uri-miss; stored, Edge; hit; ttl=30"], Is(Hit)),
        (&["Cache-Status: Origin; hit, Edge; fwd=miss"], Is(Miss)),
        (&["Cache-Status: Origin; fwd=uri-miss; stored", "Cache-Status: Edge; hit; ttl=30"], Is(Hit)),
        (&["Cache-Status: Origin; hit; ttl=30", "Cache-Status: Edge; fwd=uri-miss; stored"], Is(Miss)),
        (&["X-Cache: hit-for-pass"], Is(Bypass)),
        (&["X-Cache: hit-for-miss"], Is(Bypass)),
        (&["X-Cache: no-hit"], Is(Miss)),
        (&["X-Cache: RefreshHit from cloudfront"], Is(Hit)),
        (&["X-Cache: pass"], Is(Bypass)),
        (&["X-Cache: UNCACHEABLE"], Is(Bypass)),
        (&["X-Cache: SKIP"], Is(Bypass)),
        (&["X-Cache: MISS from hit-cache-1"], Is(Miss)),
        (&["X-Cache: HIT from miss-1"], Is(Hit)),
        (&["X-Cache: hit-stale"], Is(StaleServed)),
        (&["Cache-Status: Edge; hit=?0; fwd=miss"], Is(Miss)),
        (&["Cache-Status: Edge; hit=?0"], Is(Miss)),
        (&["Cache-Status: HIT"], Is(Hit)),
        (&["X-Cache: HIT, MISS"], Is(Miss)),
        (&["X-Cache: MISS, HIT"], Is(Hit)),
        (&["Cache-Status: edge; hit; ttl=-3"], Is(StaleServed)),
        (&["Cache-Status: edge; fwd=bypass"], Is(Bypass)),
        (&["X-Cache: TCP_MEM_HIT from a1"], Is(Hit)),
    ]);
}

#[test]
fn every_reason_of_rfc_9211_is_read() {
    let cases = [
        ("reference; hit; ttl=291", Is(Hit)),
        ("reference; hit=?1", Is(Hit)),
        ("reference; ttl=-3; hit", Is(StaleServed)),
        ("reference; ttl=0; hit", Is(Hit)),
        ("reference; fwd=uri-miss; stored", Is(Miss)),
        ("reference; fwd=vary-miss", Is(Miss)),
        ("reference; stored; collapsed; fwd=miss", Is(Miss)),
        ("reference; fwd=partial", Is(Miss)),
        ("reference; fwd=stale", Is(Miss)),
        ("reference; fwd=stale; fwd-status=200", Is(Miss)),
        ("reference; fwd=stale; fwd-status=304", Is(Hit)),
        ("reference; fwd-status=503; fwd=stale", Is(StaleServed)),
        ("reference; fwd=request", Is(Bypass)),
        ("reference; fwd=method", Is(Bypass)),
        ("reference; fwd=bypass", Is(Bypass)),
        ("reference; fwd=bypass; detail=fallback", Is(Fallback)),
        ("reference; detail=\"Fallback\"; fwd=bypass", Is(Fallback)),
        ("reference; fwd=partial-miss", Is(Miss)),
        ("reference; hit; fwd=miss", Is(Miss)),
        ("Origin; hit, \"CDN, edge\"; fwd=uri-miss", Is(Miss)),
        ("Origin; fwd=miss, \"a \\\"quoted\\\", name; hit\"; hit", Is(Hit)),
        ("Edge; detail=\"hit, HIT\"; fwd=miss", Is(Miss)),
        ("Edge; key=\"/hit;hit\"; fwd=miss", Is(Miss)),
        ("reference", Unknown),
        ("reference; stored", Unknown),
    ];
    for (value, right) in cases {
        assert_eq!(meaning_of_lines(&[&format!("Cache-Status: {value}")]), right, "{value}");
    }
}

#[test]
fn a_cache_status_that_is_no_structured_field_is_read_as_far_as_it_goes() {
    let cases = [
        ("HIT", Is(Hit)),
        ("miss", Is(Miss)),
        ("MISS, HIT", Is(Hit)),
        ("STALE", Is(StaleServed)),
        ("hit; ttl=-4", Is(StaleServed)),
        ("Edge; HIT; TTL=30", Is(Hit)),
        ("Edge; Hit=false", Is(Miss)),
        ("edge 1; hit", Is(Hit)),
        ("10.0.0.1; fwd=miss", Is(Miss)),
        ("Souin; hit; ttl=3; key=GET-http-x-/a b; detail=DEFAULT", Is(Hit)),
        ("Souin; hit; ttl=3; key=GET-/; detail=DEFAULT; fwd=stale", Is(StaleServed)),
        ("Souin; fwd=uri-miss; stored; key=GET-http-localhost:80-/; detail=x", Is(Miss)),
        ("MISS from hit-1", Is(Miss)),
        ("\"open; hit", Is(Hit)),
        ("error", Silent),
        ("whitehall", Unknown),
        (";;;", Unknown),
        (",", Unknown),
    ];
    for (value, right) in cases {
        assert_eq!(meaning_of_lines(&[&format!("Cache-Status: {value}")]), right, "{value}");
    }
}

#[test]
fn the_documented_words_of_each_product_are_known() {
    check(&[
        // Squid
        (&["X-Cache: HIT from proxy.example"], Is(Hit)),
        (&["X-Cache: MISS from hit.example:3128"], Is(Miss)),
        (&["X-Cache: TCP_HIT"], Is(Hit)),
        (&["X-Cache: TCP_MISS/200"], Is(Miss)),
        (&["X-Cache: TCP_INM_HIT"], Is(Hit)),
        (&["X-Cache: TCP_NEGATIVE_HIT"], Is(Hit)),
        (&["X-Cache: TCP_OFFLINE_HIT"], Is(Hit)),
        (&["X-Cache: TCP_REFRESH_UNMODIFIED"], Is(Hit)),
        (&["X-Cache: TCP_REFRESH_MODIFIED"], Is(Miss)),
        (&["X-Cache: TCP_REFRESH_FAIL_OLD"], Is(StaleServed)),
        (&["X-Cache: TCP_REFRESH_FAIL_ERR"], Is(Miss)),
        (&["X-Cache: TCP_REF_FAIL_HIT"], Is(StaleServed)),
        (&["X-Cache: TCP_CLIENT_REFRESH_MISS"], Is(Miss)),
        (&["X-Cache: TCP_SWAPFAIL_MISS"], Is(Miss)),
        (&["X-Cache: TCP_DENIED"], Silent),
        (&["X-Cache: TCP_NOVELTY"], Unknown),
        // Apache's mod_cache
        (&["X-Cache: REVALIDATE from www.example"], Is(Hit)),
        // CloudFront
        (&["X-Cache: Hit from cloudfront"], Is(Hit)),
        (&["X-Cache: LambdaGeneratedResponse from cloudfront"], Is(Bypass)),
        (&["X-Cache: Redirect from cloudfront"], Is(Bypass)),
        (&["X-Cache: Error from cloudfront"], Silent),
        // Fastly
        (&["X-Cache: MISS-CLUSTER"], Is(Miss)),
        (&["X-Cache: HIT-WAIT-CLUSTER"], Is(Hit)),
        (&["X-Cache: HIT-STALE-CLUSTER"], Is(StaleServed)),
        (&["X-Cache: HITPASS"], Is(Bypass)),
        (&["X-Cache: HIT, MISS", "X-Cache-Hits: 7, 0"], Is(Miss)),
        (&["X-Cache-Hits: 0, 7"], Is(Hit)),
        (&["X-Cache-Hits: 7, 0"], Is(Miss)),
        // Akamai, Edgecast, Azure
        (&["X-Cache: TCP_MEM_HIT from a69-174-50-208 (AkamaiGHost/5.7.2-5726413) (-)"], Is(Hit)),
        (&["X-Cache: TCP_REFRESH_HIT from a1.hit.example"], Is(Hit)),
        (&["X-Cache: TCP_REFRESH_MISS from a1"], Is(Miss)),
        (&["X-Cache: TCP_REFRESH_FAIL_HIT from a1"], Is(StaleServed)),
        (&["X-Cache: TCP_IMS_HIT from a1"], Is(Hit)),
        (&["X-Cache: TCP_EXPIRED_HIT"], Is(Hit)),
        (&["X-Cache: TCP_EXPIRED_MISS"], Is(Miss)),
        (&["X-Cache: TCP_REMOTE_HIT"], Is(Hit)),
        (&["X-Cache: PARTIAL_HIT"], Is(Miss)),
        (&["X-Cache: TCP_PARTIAL_HIT"], Is(Miss)),
        (&["X-Cache: CONFIG_NOCACHE"], Is(Bypass)),
        (&["X-Cache: PRIVATE_NOSTORE"], Is(Bypass)),
        (&["X-Cache: N/A"], Silent),
        // Varnish
        (&["X-Cache: hit graced cached"], Is(StaleServed)),
        (&["X-Cache: miss uncacheable"], Is(Miss)),
        (&["X-Cache: pass uncacheable"], Is(Bypass)),
        (&["X-Cache: HIT (grace)"], Is(StaleServed)),
        (&["X-Cache: cp1048 miss, cp3061 hit/5"], Is(Hit)),
        (&["X-Cache: hit-1 miss"], Is(Miss)),
        (&["X-Varnish: 32770 32769", "Age: 12"], Is(Hit)),
        (&["X-Varnish: 32770", "Age: 0"], Is(Miss)),
        (&["X-Varnish: 5 3", "X-Varnish: 98305"], Is(Miss)),
        (&["X-Varnish-Cache: HIT"], Is(Hit)),
        // Apache Traffic Server
        (&["Via: http/1.1 edge (ApacheTrafficServer/9.2 [uScHs f p eN:t cCHp s ])"], Is(Hit)),
        (&["Via: http/1.1 edge (ApacheTrafficServer/9.2 [uScRs f p eN:t cCHp s ])"], Is(Hit)),
        (&["Via: http/1.1 hit (ApacheTrafficServer/9.2 [uScMsSfWpSeN:t cCMp sS])"], Is(Miss)),
        (&["Via: http/1.1 edge (ATS [uScSsNfUpNeN:t cCSp sS])"], Is(Hit)),
        (&["Via: http/1.1 edge (ATS [uScSsSfUpSeN:t cCSp sS])"], Is(Miss)),
        (&["Via: http/1.1 edge (ATS [uNc sSf p eN:t cCp sS])"], Is(Bypass)),
        (&["Via: http/1.1 edge (ATS [cHs f ])"], Is(Hit)),
        (&["Via: http/1.1 a (ATS [cMsSf ]), http/1.1 b (ATS [cHs f ]), 1.1 nginx"], Is(Hit)),
        (&["Via: 1.1 varnish, 1.1 hit.example"], Silent),
        (&["Via: 1.1 gateway (build [2024-01])"], Silent),
        // nginx, Kong, SiteGround
        (&["X-Cache-Status: BYPASS"], Is(Bypass)),
        (&["X-Cache-Status: EXPIRED"], Is(Miss)),
        (&["X-Cache-Status: STALE"], Is(StaleServed)),
        (&["X-Cache-Status: UPDATING"], Is(StaleServed)),
        (&["X-Cache-Status: REVALIDATED"], Is(Hit)),
        (&["X-Cache-Status: Refresh"], Is(Miss)),
        (&["X-Proxy-Cache: HIT"], Is(Hit)),
        // Cloudflare, Vercel
        (&["CF-Cache-Status: DYNAMIC"], Is(Bypass)),
        (&["CF-Cache-Status: NONE/UNKNOWN"], Is(Bypass)),
        (&["CF-Cache-Status: REVALIDATED"], Is(Hit)),
        (&["CF-Cache-Status: DYNAMIC", "X-Cache: HIT"], Is(Bypass)),
        (&["X-Vercel-Cache: PRERENDER"], Is(Hit)),
        (&["X-Vercel-Cache: REVALIDATED"], Is(Miss)),
        (&["X-Vercel-Cache: HIT"], Is(Hit)),
        (&["X-Nextjs-Cache: REVALIDATED"], Is(Miss)),
        (&["X-Nextjs-Cache: STALE"], Is(StaleServed)),
        (&["X-Vercel-Cache: STALE"], Is(StaleServed)),
        // LiteSpeed, Drupal, Symfony, FastAPI
        (&["X-LiteSpeed-Cache: hit,private"], Is(Hit)),
        (&["X-LiteSpeed-Cache: miss"], Is(Miss)),
        (&["X-LiteSpeed-Cache: bkd"], Is(Bypass)),
        (&["X-Drupal-Cache: HIT"], Is(Hit)),
        (&["X-Drupal-Dynamic-Cache: UNCACHEABLE (poor cacheability)"], Is(Bypass)),
        (&["X-Drupal-Dynamic-Cache: UNCACHEABLE (404, sub-request: HIT)"], Is(Bypass)),
        (&["X-Symfony-Cache: GET /hit/1: fresh"], Is(Hit)),
        (&["X-Symfony-Cache: GET /: stale, valid, store"], Is(Hit)),
        (&["X-Symfony-Cache: GET /: stale, invalid, store"], Is(Miss)),
        (&["X-Symfony-Cache: GET /: miss, store; GET /fragment: fresh"], Is(Miss)),
        (&["X-Symfony-Cache: stale/valid/store"], Is(Hit)),
        (&["X-Symfony-Cache: GET /: stale, stale-if-error"], Is(StaleServed)),
        (&["X-Symfony-Cache: GET /: pass"], Is(Bypass)),
        (&["X-Rack-Cache: miss, store"], Is(Miss)),
        (&["X-FastAPI-Cache: HIT"], Is(Hit)),
    ]);
}

#[test]
fn the_cache_nearest_to_the_user_is_believed() {
    let inner_via = "Via: http/1.1 o (ApacheTrafficServer [cMsSf ]), 1.1 varnish";
    check(&[
        (&["X-Drupal-Cache: MISS", "X-Varnish: 5 3"], Is(Hit)),
        (&["X-Symfony-Cache: GET /: miss", "X-Varnish: 5 3"], Is(Hit)),
        (&["X-Rack-Cache: miss, store", "X-Varnish: 5 3"], Is(Hit)),
        (&["X-Nextjs-Cache: MISS", "Via: http/1.1 e (ApacheTrafficServer [cHs f ])"], Is(Hit)),
        (&["Cache-Status: origin; fwd=miss", "CF-Cache-Status: HIT"], Is(Hit)),
        (&["Cache-Status: origin; hit", "CF-Cache-Status: MISS"], Is(Miss)),
        (&["Cache-Status: app; fwd=uri-miss", "X-Cache: Hit from cloudfront"], Is(Hit)),
        (&["Cache-Status: edge; hit", "X-Cache: MISS"], Is(Hit)),
        (&[inner_via, "X-Varnish: 32770 3"], Is(Hit)),
        (&["Via: 1.1 varnish, http/1.1 e (ApacheTrafficServer [cHs f ])", "X-Varnish: 32770"], Is(Hit)),
        (&["Via: http/1.1 o (ApacheTrafficServer [cMsSf ])", "X-Cache: MISS, HIT", "X-Cache-Hits: 0, 3"], Is(Hit)),
        // Two words that are no one's.
        (&["X-Cache: HIT/MISS"], Unknown),
        (&["X-Cache: MISS -> HIT"], Unknown),
        (&["X-Cache: hit-fresh"], Is(Hit)),
        (&["X-Cache: CACHE_NOCONFIG"], Is(Bypass)),
        (&["Cache-Status: nginx; MISS"], Is(Miss)),
        (&["Cache-Status: Souin; fwd=uri-miss; key=GET-http-h-/x?a=1,hit; detail=X"], Is(Miss)),
        (&["Cache-Status: Souin; hit; ttl=3; key=GET-http-h-/x?a=1,2; detail=DEFAULT"], Is(Hit)),
    ]);
}

#[test]
fn a_part_of_a_word_a_negation_or_a_host_is_no_word() {
    check(&[
        (&["X-Cache: whitehall"], Unknown),
        (&["X-Cache: permission"], Unknown),
        (&["X-Cache: no-miss"], Unknown),
        (&["X-Cache: no miss"], Unknown),
        (&["X-Cache: from hit"], Unknown),
        (&["X-Cache: hit=false"], Is(Miss)),
        (&["X-Cache: not cached"], Is(Miss)),
        (&["X-Cache: NOT A HIT"], Is(Miss)),
        (&["X-Cache: hit for pass"], Is(Bypass)),
        (&["X-Cache: HIT@miss-1"], Is(Hit)),
        (&["X-Cache: MISS (hit-1)"], Is(Miss)),
        (&["X-Cache: HIT:3"], Is(Hit)),
        (&["X-Cache: HIT,"], Is(Hit)),
        (&["X-Cache: HIT", "X-Cache: what"], Unknown),
        (&["X-Cache-Key: HIT", "CDN-Cache-Control: stale-while-revalidate=30"], Silent),
    ]);
}

#[test]
fn a_word_that_is_denied_is_no_hit() {
    let value = |value: &str| meaning_of_lines(&[&format!("X-Cache: {value}")]);
    for denied in [
        "hit: false",
        "hit:no",
        "hit = false",
        "hit=\"no\"",
        "\"hit\": false",
        "hit false",
        "HIT no",
        "hit not",
        "hit/0",
        "hit=0",
        "hit=?0; ttl=3",
        "cached: no",
        "cached = false",
        "cached=off (debug)",
        "fresh: false",
        "cp1048 hit false",
        "cp1048 hit=false",
        "no hit",
        "not cached",
        "miss cached",
        "cp1048 miss cached",
    ] {
        assert_eq!(value(denied), Is(Miss), "{denied}");
    }
    for unknown in [
        "0 hit",
        "0.5 hit",
        "99% hit",
        "false hit",
        "no-1 hit",
        "not-yet cached",
        "being cached",
        "to be cached",
        "cached later",
        "cached miss",
        "stale: false",
        "stale no",
        "miss=false",
        "false",
    ] {
        assert_eq!(value(unknown), Unknown, "{unknown}");
    }
    for hit in [
        "cached",
        "CACHED from a",
        "cached: true",
        "cached=yes",
        "cached=1",
        "hit = true",
        "hit=\"yes\"",
        "hit cached",
        "hit/5",
        "cp1048 hit",
        "edge.example HIT",
        "10.0.0.1 hit",
        "HIT from a:0",
        "HIT, ",
    ] {
        assert_eq!(value(hit), Is(Hit), "{hit}");
    }
}

#[test]
fn the_first_header_that_tells_is_believed_and_what_was_not_understood_before_it_is_kept() {
    let reading = read(&headers(&["X-Cache: what", "Cache-Status: edge", "X-Proxy-Cache: HIT"]), None);
    let unread = vec!["cache-status: edge".to_owned(), "x-cache: what".to_owned()];
    assert_eq!(reading, CacheReading { outcome: Some(Hit), unread });
}

#[test]
fn the_documentation_names_every_header_that_is_read() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/scenario.md");
    let page = std::fs::read_to_string(page).unwrap().to_lowercase();
    let missing: Vec<&str> =
        HEADERS.iter().map(|(name, _)| *name).filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

proptest::proptest! {
    #[test]
    fn nothing_that_a_server_sends_makes_the_reader_panic(
        name in proptest::sample::select(HEADERS.iter().map(|(name, _)| *name).collect::<Vec<_>>()),
        lines in proptest::collection::vec(
            "([ -~\t]{0,40}|((hit|miss|fwd|TCP_|\"|\\(|\\[c|, |; |=|: |from ){0,8}))|\\PC{0,10}", 0..4),
    ) {
        let lines: Vec<Cow<'_, str>> = lines.iter().map(|line| Cow::Borrowed(line.as_str())).collect();
        meaning_of(name, &lines);
        cache_status::meaning(&lines, Some("edge"));
    }
}
