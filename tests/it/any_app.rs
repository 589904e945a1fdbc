//! Fails if testing a foreign app needs more than a scenario file.

use std::io::{Read as _, Write as _};

use cacheproof::journal::CachePath;
use cacheproof::journal::Outcome;

use crate::support::{START, edited, root, run_scenario};

#[test]
fn nginx_with_proxy_cache_needs_only_a_scenario_file() {
    let ran = run_scenario(&root().join("tests/scenarios/nginx.toml"), &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.said());
    let measurements = ran.measurements();
    let bypassed = measurements.count(|key| key.path == CachePath::Uncached && key.outcome == Outcome::Bypass);
    assert_eq!(
        bypassed,
        measurements.count(|key| key.path == CachePath::Uncached),
        "every uncached read must be a bypass"
    );
    // 200 items: each is missed once, or twice if two requests come at the same time.
    let misses = measurements.count(|key| key.outcome == Outcome::Miss);
    assert!((100..=260).contains(&misses), "{misses} misses for 200 items");
}

#[test]
fn an_app_behind_a_cache_that_mixes_up_items_is_caught() {
    // The cache key does not contain the item: every request gets the first cached item.
    let directory = tempfile::tempdir().expect("a temporary directory");
    for file in ["start.sh", "nginx.conf"] {
        let text = std::fs::read_to_string(root().join("tests/fixtures/nginx-cache").join(file)).expect("the fixture");
        let text = text.replace("proxy_cache_key $uri;", "proxy_cache_key items;");
        let mut copy = std::fs::File::create(directory.path().join(file)).expect("a file");
        copy.write_all(text.as_bytes()).expect("written");
    }
    let start = directory.path().join("start.sh").display().to_string();
    let sets = [format!("target.start=[\"sh\", {start:?}, \"{{port}}\", \"{{dir}}\"]")];
    let ran = run_scenario(&root().join("tests/scenarios/nginx.toml"), &sets);
    assert_eq!(ran.code, Some(1), "{}", ran.said());
    assert!(ran.stdout.contains("wrong answers of n"), "{}", ran.said());
    assert!(ran.measurements().examples.iter().any(|example| example.kind == "wrong"), "an example is kept");
}

/// A server that answers every request with this text.
fn answering(response: &'static str) -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = [0; 4096];
            let _read = stream.read(&mut request);
            let _written = stream.write_all(response.as_bytes());
        }
    });
    address
}

#[test]
fn a_body_that_is_not_json_is_reported_before_anything_is_measured() {
    let page = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>";
    let address = answering(page);
    let url = format!("url = \"http://{address}\"");
    let (_kept, file) = edited(&root().join("tests/scenarios/nginx.toml"), &[(START, &url)]);
    let ran = run_scenario(&file, &[]);
    assert_eq!(ran.code, Some(3), "{}", ran.said());
    assert!(ran.stderr.contains("isn't JSON") && ran.stderr.contains("target.identity"), "{}", ran.said());
}

#[test]
fn a_cache_header_without_a_known_word_is_reported_with_its_count() {
    let page = "HTTP/1.1 200 OK\r\nx-cache: LUKEWARM from hit-1\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    let scenario = format!(
        "title = \"Words\"\n[target]\nkind = \"http\"\nurl = \"http://{}\"\n[traffic]\nrate = \"50/s\"\n\
         [[traffic.request]]\nname = \"read\"\nget = \"/\"\n[[phase]]\nname = \"steady\"\nlasts = \"2s\"\n\
         [[criterion]]\nsays = \"It answers\"\nrules = [\"errors < 1%\"]\n",
        answering(page)
    );
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("words.toml");
    std::fs::write(&file, scenario).expect("written");
    let ran = run_scenario(&file, &[]);
    let measurements = ran.measurements();
    let plain = measurements.count(|key| key.outcome == Outcome::Plain);
    assert!(plain > 10, "{}", ran.said());
    let note = measurements.notes.iter().find(|note| note.contains("LUKEWARM")).expect("a note");
    assert!(note.contains(&format!("\"x-cache: LUKEWARM from hit-1\" ({plain} answers)")), "{note}");
    assert!(ran.said().contains("LUKEWARM"), "{}", ran.said());
}
