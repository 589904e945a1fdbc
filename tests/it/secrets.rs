//! Fails if a secret is printed or kept, or is not used as it is.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{CACHEPROOF, CompletedRun, command, completed_run, eventually, root};

/// A part of every planted secret.
const PLANTED: &str = "HUSH";

/// The word as it is, percent-encoded, and within base64 wherever it begins there.
const FORMS: [&str; 6] = [PLANTED, "%48%55%53%48", "%48USH", "SFVTS", "hVU0", "IVVNI"];

/// Panics if a text holds a planted secret in any form.
fn assert_hushed(what: &str, text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    for form in FORMS {
        if let Some(line) = text.lines().find(|line| line.contains(form)) {
            panic!("{what} holds a secret ({form}): {line:.2000}");
        }
    }
}

/// The same for every file below a directory. Returns how many there are.
fn assert_files_hushed(directory: &Path) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(directory).expect("it reads") {
        let path = entry.expect("an entry").path();
        if path.is_symlink() {
        } else if path.is_dir() {
            count += assert_files_hushed(&path);
        } else {
            assert_hushed(&path.display().to_string(), &std::fs::read(&path).expect("it reads"));
            assert_hushed("a file's name", path.as_os_str().as_encoded_bytes());
            count += 1;
        }
    }
    count
}

fn assert_run_hushed(ran: &CompletedRun) {
    assert_hushed("stdout", ran.stdout.as_bytes());
    assert_hushed("stderr", ran.stderr.as_bytes());
    assert_files_hushed(ran.reports.path());
}

fn check(file: &Path, variables: &[(&str, &str)]) -> CompletedRun {
    let mut command = Command::new(CACHEPROOF);
    command.current_dir(root()).arg("check").arg(file).envs(variables.iter().copied());
    completed_run(command.output().expect("the program runs"), tempfile::tempdir().expect("a temporary directory"))
}

fn run(file: &Path, variables: &[(&str, &str)]) -> CompletedRun {
    let reports = tempfile::tempdir().expect("a temporary directory");
    let mut command = command(file, &[], reports.path());
    command.envs(variables.iter().copied()).env("CACHEPROOF_LOG", "debug");
    completed_run(command.output().expect("the program runs"), reports)
}

fn assert_case_passes(name: &str) -> CompletedRun {
    let file = root().join("tests/scenarios/secrets").join(name);
    let variables = [("CASE_TOKEN", "HUSH-by-the-environment")];
    let checked = check(&file, &variables);
    assert_eq!(checked.code, Some(0), "{}", checked.said());
    assert_run_hushed(&checked);
    let ran = run(&file, &variables);
    assert_eq!(ran.code, Some(0), "{}", ran.said());
    assert_run_hushed(&ran);
    ran
}

fn kept_scenario(ran: &CompletedRun) -> String {
    std::fs::read_to_string(ran.directory().join("scenario.toml")).expect("it reads")
}

#[test]
fn a_header_from_the_environment_is_sent_and_not_shown() {
    let ran = assert_case_passes("header-from-environment.toml");
    assert!(kept_scenario(&ran).contains("\"Bearer ${CASE_TOKEN}\""), "{}", kept_scenario(&ran));
    // Without the variable: one message, and nothing is started.
    let file = root().join("tests/scenarios/secrets/header-from-environment.toml");
    let unset = run(&file, &[]);
    assert_eq!(unset.code, Some(2), "{}", unset.said());
    assert!(unset.stderr.contains("environment variables that are not set: CASE_TOKEN"), "{}", unset.said());
    assert!(unset.stderr.contains("export CASE_TOKEN="), "{}", unset.said());
    assert_eq!(check(&file, &[]).code, Some(0), "check does not need it");
}

#[test]
fn a_header_that_is_written_out_is_not_shown() {
    let ran = assert_case_passes("header-written-out.toml");
    assert!(kept_scenario(&ran).contains("\"Bearer ***\""), "{}", kept_scenario(&ran));
}

#[test]
fn a_key_in_a_query_is_not_shown() {
    let ran = assert_case_passes("query-key.toml");
    assert!(kept_scenario(&ran).contains("/items/{item}?x=1&api_key=***"), "{}", kept_scenario(&ran));
}

#[test]
fn a_password_with_a_slash_is_not_shown_and_the_help_says_to_encode_it() {
    let file = root().join("tests/scenarios/secrets/slash-in-password.toml");
    for ran in [check(&file, &[]), run(&file, &[])] {
        assert_eq!(ran.code, Some(2), "{}", ran.said());
        assert_run_hushed(&ran);
        assert!(ran.stderr.contains("percent-encode user and password: / as %2F"), "{}", ran.said());
        assert!(ran.stderr.contains("url = \"redis://:********@127.0.0.1:6399\""), "{}", ran.said());
    }
}

/// What an app has received: request line, headers and body of each request.
type Received = Arc<Mutex<Vec<String>>>;

/// An app that answers reads well, and writes with an error that repeats what it was sent: once as it is, once
/// percent-encoded, once in base64.
fn app() -> (u16, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let received = Received::default();
    let all = Arc::clone(&received);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let all = Arc::clone(&all);
            std::thread::spawn(move || serve(&stream, &all));
        }
    });
    (port, received)
}

fn serve(stream: &TcpStream, received: &Received) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut request = String::new();
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line == "\r\n" {
                break;
            }
            request += &line;
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        request += &String::from_utf8_lossy(&body);
        let count = {
            let mut received = received.lock().expect("no panic");
            received.push(request.clone());
            received.len()
        };
        let header = |name: &str| {
            let line = request.lines().find(|line| line.to_ascii_lowercase().starts_with(name));
            line.and_then(|line| line.split_once(": ")).map(|(_, value)| value.to_owned()).unwrap_or_default()
        };
        let (status, body) = if request.starts_with("GET") {
            let id = request.split([' ', '?']).nth(1).and_then(|path| path.rsplit('/').next()).unwrap_or_default();
            ("200 OK", format!("{{\"id\": {}}}", if id.is_empty() || id == "health" { "1" } else { id }))
        } else {
            let told = match count % 6 {
                0 => request.lines().next_back().unwrap_or_default().to_owned(),
                1 => request.lines().next().unwrap_or_default().to_owned(),
                2 => header("authorization:"),
                3 => header("cookie:").bytes().map(|byte| format!("%{byte:02X}")).collect(),
                4 => base64(&format!("token {}", header("x-api-key:"))),
                _ => format!("{{\"error\": {:?}}}", header("x-auth-token:")),
            };
            ("500 Oops", told)
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let mut stream = stream;
        stream.write_all(answer.as_bytes()).ok()?;
    }
}

fn base64(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letters = |three: &[u8]| {
        let bits = (0..3).fold(0_usize, |bits, at| bits << 8 | usize::from(three.get(at).copied().unwrap_or(0)));
        let letter = |at: usize| char::from(LETTERS[bits >> (18 - 6 * at) & 63]);
        (0..4).map(|at| if at <= three.len() { letter(at) } else { '=' }).collect::<String>()
    };
    text.as_bytes().chunks(3).map(letters).collect()
}

/// A Redis server with a password.
struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    fn start(password: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--save", "", "--requirepass", password])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        eventually(Duration::from_secs(50), "redis answers", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { child, port }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// A secret in every place that a scenario has. `{app}` and `{redis}` are ports.
const EVERYWHERE: &str = r#"
title = "Secrets everywhere, HUSH-written-header too"    # and here: HUSH-written-header
seed = 7

[stack.redis]
url = "redis://:42%2F${PLANTED_REDIS}@127.0.0.1:{redis}"

[target]
kind = "http"
url = "http://me:HUSH%2Dbasic-auth@127.0.0.1:{app}"
start = ["sh", "-c", "sleep 600", "app", "--token", "${PLANTED_ARG}", "--api-key=HUSH-in-an-option", "${PLANTED_REDIS}"]
ready = "/health?token=HUSH-when-ready"
identity = "id"
bypass = { header = "Cookie: bypass=HUSH-past-the-cache" }

[data]
items = 20

[traffic]
rate = "60/s"

[[traffic.request]]
name = "read"
get = "/items/{item}?x=1&api_key=HUSH-in-a-query&sig=${PLANTED_QUERY}"

[[traffic.request]]
name = "write"
post = "/${PLANTED_PATH}/items?access_token=HUSH-in-a-post"
body = '{"password": "HUSH-in-a-body", "note": "${PLANTED_BODY}", "token": "{random}"}'
headers = { "Authorization" = "Bearer HUSH-written-header", "Cookie" = "a=HUSH-in-a-cookie; b=x", "X-Api-Key" = "${PLANTED_HEADER}", "X-Auth-Token" = "HUSH \"quoted\" token" }

[[phase]]
name = "uncached"
path = "uncached"
# The steady state is judged on whole seconds before the first fault.
lasts = "3s"

[[phase]]
name = "one"
lasts = "2s"
faults = [{ run = "true redis-cli -a HUSH-in-a-run ${PLANTED_RUN}", undo = "true --password HUSH-in-an-undo $PLANTED_TOKEN", lasts = "1s" }]

[[phase]]
name = "two"
lasts = "2s"
fault = { run = "echo $PLANTED_TOKEN >&2; exit 1" }

[safety]
steady = ["errors < 90%"]

[[criterion]]
says = "It answers"
rules = ["errors < 100%"]
"#;

const VARIABLES: [(&str, &str); 8] = [
    ("PLANTED_REDIS", "HUSH@redis/"),
    ("PLANTED_ARG", "HUSH-in-an-argument"),
    ("PLANTED_QUERY", "HUSH+/=&sig"),
    ("PLANTED_PATH", "HUSH-in-a-path"),
    ("PLANTED_BODY", "HUSH \"in a\\body"),
    ("PLANTED_HEADER", "HUSH-in-a-header"),
    ("PLANTED_RUN", "HUSH-in-a-run-variable"),
    ("PLANTED_TOKEN", "HUSH-by-the-shell"),
];

#[test]
fn planted_secrets_are_used_and_appear_nowhere() {
    let redis = Redis::start("42/HUSH@redis/");
    let (port, received) = app();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("everywhere.toml");
    let text = EVERYWHERE.replace("{app}", &port.to_string()).replace("{redis}", &redis.port.to_string());
    std::fs::write(&file, text).expect("written");
    let checked = check(&file, &VARIABLES);
    assert_eq!(checked.code, Some(0), "{}", checked.said());
    assert_run_hushed(&checked);

    let ran = run(&file, &VARIABLES);
    assert!(ran.stdout.contains("Report"), "it ran to its end: {}", ran.said());
    assert_run_hushed(&ran);
    assert!(assert_files_hushed(&ran.directory()) > 10, "all files of a report are there");
    let kept = kept_scenario(&ran);
    for stays in [
        "redis://:***${PLANTED_REDIS}@",
        "sig=${PLANTED_QUERY}",
        "\"${PLANTED_ARG}\"",
        "Bearer ***",
        "title = \"Secrets everywhere, ***",
    ] {
        assert!(kept.contains(stays), "{stays}: {kept}");
    }
    let journal = std::fs::read_to_string(ran.directory().join("events.jsonl")).expect("it reads");
    assert!(journal.contains("status 500"), "the app's errors are in it");
    assert!(journal.contains("ran `true redis-cli -a *** ${PLANTED_RUN}`"), "the fault was injected: {}", ran.said());
    let ledger = std::fs::read_to_string(ran.directory().join("faults.ndjson")).expect("it reads");
    assert!(ledger.contains("true --password *** $PLANTED_TOKEN"), "{ledger}");
    let examples = ran.measurements().examples;
    assert!(
        examples.iter().filter(|example| example.detail.contains("***")).count() >= 5,
        "{examples:#?}{}",
        ran.said()
    );

    // The app got what was written, and not stars.
    let received = received.lock().expect("no panic");
    let some = |words: &[&str]| received.iter().any(|request| words.iter().all(|word| request.contains(word)));
    assert!(some(&["GET /items/", "?x=1&api_key=HUSH-in-a-query&sig=HUSH%2B/=%26sig "]), "{:?}", received.first());
    assert!(some(&["GET /health?token=HUSH-when-ready "]));
    assert!(some(&["bypass=HUSH-past-the-cache"]));
    let writes = received.iter().find(|request| request.starts_with("POST")).expect("a write");
    for word in [
        "POST /HUSH-in-a-path/items?access_token=HUSH-in-a-post ",
        "Bearer HUSH-written-header",
        "a=HUSH-in-a-cookie; b=x",
        "HUSH-in-a-header",
        "HUSH \"quoted\" token",
        r#"{"password": "HUSH-in-a-body", "note": "HUSH \"in a\\body", "token": ""#,
    ] {
        assert!(writes.contains(word), "{word}: {writes}");
    }
    assert!(!received.iter().any(|request| request.contains("***")));

    // What was kept is enough for the report, and for another run.
    let again = Command::new(CACHEPROOF).arg("report").arg(ran.directory()).output().expect("the program runs");
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert_hushed("report", &again.stdout);
    assert_files_hushed(&ran.directory());
    assert_eq!(check(&ran.directory().join("scenario.toml"), &[]).code, Some(0));
}

#[test]
fn errors_at_the_start_show_no_secret() {
    let redis = Redis::start("other");
    let nginx = std::fs::read_to_string(root().join("tests/scenarios/nginx.toml")).expect("it reads");
    let target = "[target]\nkind = \"http\"\nstart = [\"sh\", \"tests/fixtures/nginx-cache/start.sh\", \"{port}\", \"{dir}\"]\nready = \"/up\"\n";
    assert!(nginx.contains(target), "the scenario has its target");
    let (port, _) = app();
    let cases = [
        // The server's error, and the URL that a library may repeat.
        (format!("[stack.redis]\nurl = \"redis://:HUSH%20a@127.0.0.1:{}\"\n{target}", redis.port), 3, "Redis at redis://"),
        (format!("[stack.postgres]\nurl = \"postgres://HUSHER:HUSH@127.0.0.1:{}/db?sslpassword=HUSH-too\"\n{target}", redis.port).replace("HUSHER", "app"), 3, "Postgres at postgres://app@"),
        ("[stack.postgres]\nurl = \"postgres://app:${SHOP_PW}@127.0.0.1:1/db\"\n".to_owned() + target, 3, "Postgres"),
        ("[stack.redis]\nurl = \"${SHOP_URL}\"\n".to_owned() + target, 2, "SHOP_URL doesn't fit into a url"),
        // The app's last words.
        ("[target]\nkind = \"http\"\nstart = [\"sh\", \"-c\", \"echo lost: $0 $1 $2; echo SFVTSC1hcmc=; exit 7\", \"--key=HUSH-arg\", \"${SHOP_PW}\", \"HUSH-arg\"]\nready = \"/up\"\n".to_owned(), 3, "lost: --key=***"),
        ("[target]\nkind = \"http\"\nstart = [\"/no/such/${SHOP_PW}\"]\nready = \"/up\"\n".to_owned(), 3, "can't start the app"),
        // Its URL.
        ("[target]\nkind = \"http\"\nurl = \"http://me:HUSH-9@127.0.0.1:1\"\nready = \"/up?key=HUSH-8\"\n".to_owned(), 3, "gave no 2xx answer"),
        // Its answer before the run.
        (format!("[target]\nkind = \"http\"\nurl = \"http://127.0.0.1:{port}\"\nready = \"/up?key=${{SHOP_PW}}\"\n"), 3, "doesn't fit the scenario"),
    ];
    for (tables, code, words) in cases {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("start.toml");
        std::fs::write(&file, nginx.replace(target, &tables).replace("/items/{item}", "/items/{item}?api_key=HUSH-q"))
            .expect("written");
        let ran = run(&file, &[("SHOP_PW", "HUSH/by@variable"), ("SHOP_URL", "redis://:HUSH/by@127.0.0.1:1")]);
        assert_eq!(ran.code, Some(code), "{}", ran.said());
        assert!(ran.stderr.contains(words), "{words}: {}", ran.said());
        assert_run_hushed(&ran);
    }
}

#[test]
fn arguments_that_cannot_be_used_are_shown_without_secrets() {
    let file = root().join("tests/scenarios/nginx.toml");
    let file = file.to_str().expect("a path");
    for arguments in [
        &["check", file, "redis://:HUSH@h"][..],
        &["check", file, "--set", "target.url.x=http://me:4/HUSH@h"],
        &["check", file, "--set", "traffic.request.7.headers.Authorization=Bearer HUSH"],
        &["run", file, "--reprts=http://h/?token=HUSH"],
        &["init", "ftp://me:HUSH@h/?key=HUSH"],
        &["init", "http://me:HUSH@127.0.0.1:1/?key=HUSH"],
    ] {
        let output = Command::new(CACHEPROOF).args(arguments).output().expect("the program runs");
        assert!(!output.status.success(), "{arguments:?}");
        assert_hushed("stderr", &output.stderr);
        assert_hushed("stdout", &output.stdout);
    }
}
