//! `cacheproof init URL`: sends a few requests to an app and writes a commented scenario for it.

use std::io::Write as _;
use std::path::PathBuf;

use super::detected::{DetectedTraits, HitSign};
use super::probe::{ProbeAnswer, ProbeError, probe};
use super::{CommandResult, Exit, Failure, scenario_template, terminal};
use crate::scenario;

/// Writes a commented scenario for an HTTP app
#[derive(Clone, Debug, clap::Args)]
pub struct InitArgs {
    /// URL of a page that the app may cache, e.g. http://localhost:8080/items/1
    pub url: String,
    /// The file to write; a file that exists is never overwritten
    #[arg(long, value_name = "FILE", default_value = "scenario.toml")]
    pub out: PathBuf,
}

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum InitError {
    #[error("\"{url}\" is not an HTTP URL: {why}")]
    #[diagnostic(help("give the whole URL of a page of the app: cacheproof init http://localhost:8080/items/1"))]
    Url { url: String, why: String },
    #[error("{} already exists", path.display())]
    #[diagnostic(help("cacheproof never overwrites a scenario: name another file with --out, or move this one"))]
    Exists { path: PathBuf },
    #[error("{} cannot be written: {source}", path.display())]
    #[diagnostic(help("name a file in an existing, writable directory: --out FILE"))]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{url} does not answer: {source}")]
    #[diagnostic(help(
        "start the app, check host and port with `curl -i {url}`, and run init again; no file was written"
    ))]
    Unreachable { url: String, source: ProbeError },
    #[error("cacheproof could not start its async runtime: {0}")]
    Runtime(std::io::Error),
}

/// Probes the URL and writes the scenario.
///
/// # Errors
/// An invalid URL or an existing file (usage); an app that does not answer or a file that cannot be written
/// (environment). No file is left behind.
pub fn run(args: InitArgs) -> CommandResult {
    let url = parse_url(&args.url).map_err(Failure::usage)?;
    if args.out.exists() {
        return Err(Failure::usage(InitError::Exists { path: args.out }));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::environment(InitError::Runtime(source)))?;
    let answers = runtime.block_on(probe(&url)).map_err(|source| {
        let url = scenario::mask_passwords(url.as_str());
        Failure::environment(InitError::Unreachable { url, source })
    })?;
    let detected = DetectedTraits::of(&url, &answers);
    // The file must pass `check`; otherwise it is not written.
    let name = args.out.display().to_string();
    let write = |traits: &DetectedTraits| {
        let text = scenario_template::scenario(&url, &answers, traits);
        scenario::parse(&name, &text).map(|written| (written, text)).map_err(Failure::environment)
    };
    // A value that was seen may be one that a scenario can't hold.
    let fitting = write(&detected).ok().filter(|(written, _)| detected.hold_for(written, &answers));
    let holds = fitting.is_some();
    let (written, text) = match fitting {
        Some(fitting) => fitting,
        None => write(&detected.clone().without_hits())?,
    };
    write_new(&args.out, &text)?;
    let told = hits_message(&detected, holds);
    terminal::print(&format!("{}\n{told}\n", success_message(&args, &answers, written.criteria.len())));
    Ok(Exit::Pass)
}

/// How hits show, or that they don't.
fn hits_message(detected: &DetectedTraits, holds: bool) -> String {
    match &detected.hits {
        HitSign::Known(name) | HitSign::Words(name, _) if holds => format!("Hits show in the header {name}."),
        HitSign::Json(name) if holds => format!("Hits show in the JSON field {name}."),
        HitSign::None => "No header or field told a hit from a miss, so there is no rule on the hit rate: the file says how to \
                          add one."
            .to_owned(),
        HitSign::Known(_) | HitSign::Words(..) | HitSign::Json(_) => {
            "A header or field seemed to show hits, but a run would read these answers differently, or a scenario can't hold \
             their values. So there is no rule on the hit rate: describe the hits in [target.hit]."
                .to_owned()
        }
    }
}

fn parse_url(text: &str) -> Result<reqwest::Url, InitError> {
    // Without a scheme nothing else shows where the password is.
    let shown = match text.rsplit_once('@') {
        Some((_, rest)) if !text.contains("://") => format!("***@{rest}"),
        _ => text.to_owned(),
    };
    let error = |why: &str| InitError::Url { url: scenario::mask_passwords(&shown), why: why.to_owned() };
    let url = reqwest::Url::parse(text).map_err(|source| error(&source.to_string()))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err(error("it does not begin with http:// or https://")),
    }
}

fn write_new(path: &PathBuf, text: &str) -> Result<(), Failure> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).open(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::usage(InitError::Exists { path: path.clone() }),
        _ => Failure::environment(InitError::Write { path: path.clone(), source }),
    })?;
    file.write_all(text.as_bytes()).map_err(|source| {
        // An incomplete file would block the next try.
        let _ = std::fs::remove_file(path);
        Failure::environment(InitError::Write { path: path.clone(), source })
    })
}

fn success_message(args: &InitArgs, answers: &[ProbeAnswer], criteria: usize) -> String {
    let out = args.out.display();
    let statuses: Vec<String> = answers.iter().map(|answer| answer.status.to_string()).collect();
    let asked = answers.len();
    let criteria = if criteria == 1 { "1 criterion".to_owned() } else { format!("{criteria} criteria") };
    let failed = answers.iter().any(|answer| !(200..300).contains(&answer.status));
    let failed = if failed {
        "A status other than 2xx counts as an error: no run can pass until the request names a page that answers with 2xx.\n"
    } else {
        ""
    };
    format!(
        "Wrote {out} with {criteria} ({asked} requests were answered with {}).\n{failed}\
         Read its comments, then: cacheproof check {out} && cacheproof run {out}",
        statuses.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use super::*;

    /// A server on a free port that gives each of these answers once. Returns the requests.
    fn app(answers: &'static [&'static str]) -> (u16, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = String::new();
                for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                    let line = line.unwrap();
                    if line.is_empty() {
                        break;
                    }
                    request.push_str(&line.to_lowercase());
                    request.push('\n');
                }
                asked.push(request);
                stream.write_all(answer.replace('\n', "\r\n").replace("⏎", "\r\n\r\n").as_bytes()).unwrap();
            }
            asked
        });
        (port, thread)
    }

    /// What `init` writes for an app with these answers, the port replaced by 8080, and the requests that it sent.
    fn written(path: &str, answers: &'static [&'static str]) -> (String, Vec<String>) {
        let (port, thread) = app(answers);
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("scenario.toml");
        let url = format!("http://127.0.0.1:{port}{path}");
        assert_eq!(run(InitArgs { url, out: out.clone() }).unwrap(), Exit::Pass);
        let asked = thread.join().unwrap();
        scenario::load(&out, &[]).unwrap();
        (std::fs::read_to_string(out).unwrap().replace(&port.to_string(), "8080"), asked)
    }

    #[test]
    fn an_app_behind_a_caching_proxy_gets_a_complete_scenario() {
        let (text, asked) = written(
            "/items/17",
            &[
                "HTTP/1.1 200 OK\ncontent-type: application/json\nx-cache-status: MISS\nconnection: close⏎{\"id\": 17, \"version\": 3}",
                "HTTP/1.1 200 OK\ncontent-type: application/json\nx-cache-status: HIT\nage: 2\nconnection: close⏎{\"id\": 17, \"version\": 3}",
                "HTTP/1.1 200 OK\ncontent-type: application/json\nx-cache-status: BYPASS\nconnection: close⏎{\"id\": 17, \"version\": 3}",
            ],
        );
        assert_eq!(asked.len(), 3);
        assert!(asked.iter().all(|request| request.starts_with("get /items/17 http/1.1\n")), "{asked:?}");
        assert!(asked[2].contains("cache-control: no-store\n") && !asked[0].contains("no-store"), "{asked:?}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn an_app_without_cache_headers_gets_a_scenario_that_says_what_to_fill_in() {
        let page = "HTTP/1.1 200 OK\ncontent-type: text/html\nconnection: close⏎<p>hello</p>";
        let (text, _) = written("/?q={\"a\":1}&b='", Box::leak(Box::new([page, page, page])));
        insta::assert_snapshot!(text);
    }

    #[test]
    fn an_app_with_cache_status_needs_no_hit_table() {
        let (text, _) = written(
            "/",
            &[
                "HTTP/1.1 301 Moved\nlocation: /home\ncache-status: edge; fwd=miss\nconnection: close⏎",
                "HTTP/1.1 301 Moved\nlocation: /home\ncache-status: edge; hit\nconnection: close⏎",
                "HTTP/1.1 301 Moved\nlocation: /home\ncache-status: edge; fwd=bypass\nconnection: close⏎",
            ],
        );
        assert!(!text.contains("\n[target.hit]"), "{text}");
        assert!(text.contains("hit_rate in steady"), "{text}");
    }

    /// The scenario for an app whose first answer has these header lines, the second these, and the one past the cache
    /// these.
    fn scenario_of(path: &str, lines: [&[&str]; 3]) -> (scenario::Scenario, String) {
        let answers = lines.map(|lines| {
            let answer =
                format!("HTTP/1.1 200 OK\n{}\nconnection: close⏎{{\"id\": 1, \"version\": 1}}", lines.join("\n"));
            &*Box::leak(answer.into_boxed_str())
        });
        let (text, _) = written(path, Box::leak(Box::new(answers)));
        (scenario::parse("written", &text).unwrap(), text)
    }

    /// Header, hit words, miss words, bypass words.
    fn hit(scenario: &scenario::Scenario) -> (Option<&str>, Vec<&str>, Vec<&str>, Vec<&str>) {
        let hit = &scenario.target.hit;
        (
            hit.header.as_deref(),
            hit.hit.iter().map(String::as_str).collect(),
            hit.miss.iter().map(String::as_str).collect(),
            hit.bypass.iter().map(String::as_str).collect(),
        )
    }

    #[test]
    fn only_a_header_that_changed_and_holds_a_caches_word_is_written_with_the_words_that_were_seen() {
        let policy = "CDN-Cache-Control: max-age=60, stale-while-revalidate=30";
        let (of, _) = scenario_of(
            "/items/1",
            [
                &[policy, "CF-Cache-Status: MISS"],
                &[policy, "CF-Cache-Status: HIT"],
                &[policy, "CF-Cache-Status: BYPASS"],
            ],
        );
        assert_eq!(hit(&of), (Some("cf-cache-status"), vec!["HIT"], vec!["MISS"], vec!["BYPASS"]));
        assert!(of.target.bypass.is_some());

        let key = "X-Cache-Key: /items/white-shirt";
        let past = &[key, "X-Proxy-Cache: HIT"];
        let (of, _) = scenario_of("/items/1", [&[key, "X-Proxy-Cache: MISS"], past, past]);
        assert_eq!(hit(&of), (Some("x-proxy-cache"), vec!["HIT"], vec!["MISS"], vec![]));
        assert_eq!(of.target.bypass, None, "the third answer came from the cache");

        let own = &["X-LiteSpeed-Cache: hit,private"];
        let (of, _) = scenario_of("/items/1", [&["X-LiteSpeed-Cache: miss"], own, own]);
        assert_eq!(hit(&of), (Some("x-litespeed-cache"), vec!["hit,private"], vec!["miss"], vec![]));

        let status = ["X-Cache-Status: MISS", "X-Cache-Status: HIT", "X-Cache-Status: BYPASS"];
        let (of, text) = scenario_of("/items/1", [&[status[0]], &[status[1]], &[status[2]]]);
        assert_eq!(hit(&of), (Some("x-cache-status"), vec!["HIT"], vec!["MISS"], vec!["BYPASS"]));
        assert!(text.contains("\nrules = [\"hit_rate in steady"), "{text}");

        let (of, _) = scenario_of("/", [&["X-Own: MISS from a"], &["X-Own: HIT from a"], &["X-Own: HIT from b"]]);
        assert_eq!(hit(&of), (Some("x-own"), vec!["HIT from a", "HIT from b"], vec!["MISS from a"], vec![]));
    }

    #[test]
    fn the_ready_path_keeps_its_query_and_is_written_only_if_it_was_answered_with_2xx() {
        let (of, text) = scenario_of("/item?id=1", [&["X-Cache: MISS"], &["X-Cache: HIT"], &["X-Cache: HIT"]]);
        assert_eq!(of.target.ready, "/item?id=1");
        assert_eq!(of.target.hit.header, None, "X-Cache needs no [target.hit]");
        assert!(text.contains("\nrules = [\"hit_rate in steady"), "{text}");
        let moved = "HTTP/1.1 301 Moved\nlocation: /home\nconnection: close⏎";
        let (text, _) = written("/", Box::leak(Box::new([moved, moved, moved])));
        assert!(!text.contains("\nready"), "{text}");
    }

    #[test]
    fn where_the_words_cannot_tell_there_is_no_rule_on_the_hit_rate() {
        for lines in [
            [&["X-Cache: HIT"], &["X-Cache: HIT"], &["X-Cache: HIT"]],
            [&["X-Cache: MISS"], &["X-Cache: MISS"], &["X-Cache: BYPASS"]],
            [&["X-Proxy-Cache: WARM"], &["X-Proxy-Cache: COLD"], &["X-Proxy-Cache: WARM"]],
            [&["Cache-Control: no-store"], &["Cache-Control: hit"], &["Cache-Control: no-store"]],
            [&["X-Request-Id: 1"], &["X-Request-Id: 2"], &["X-Request-Id: 3"]],
        ] {
            let (of, text) = scenario_of("/", lines.map(|lines| &lines[..]));
            assert_eq!(of.target.hit, scenario::CacheStatusSpec::default(), "{text}");
            assert!(!text.contains("\nrules = [\"hit_rate"), "{text}");
            assert!(text.contains("Nothing in these answers distinguishes a hit from a miss"), "{text}");
        }
    }

    #[test]
    fn a_scenario_that_reads_the_answers_differently_does_not_hold() {
        let url = reqwest::Url::parse("http://localhost/").unwrap();
        let answers = ["MISS", "HIT"].map(|word| {
            let headers = [("x-proxy-cache".parse().unwrap(), word.parse().unwrap())].into_iter().collect();
            ProbeAnswer { status: 200, headers, json: None }
        });
        let detected = DetectedTraits::of(&url, &answers);
        let text = scenario_template::scenario(&url, &answers, &detected);
        let holds = |text: &str| detected.hold_for(&scenario::parse("test", text).unwrap(), &answers);
        assert!(holds(&text), "{text}");
        let swapped =
            text.replace("[\"HIT\"]", "[\"?\"]").replace("[\"MISS\"]", "[\"HIT\"]").replace("[\"?\"]", "[\"MISS\"]");
        assert!(!holds(&swapped), "{swapped}");
        assert!(hits_message(&detected, false).contains("read these answers differently"));
        let without = scenario_template::scenario(&url, &answers, &detected.without_hits());
        assert!(!without.contains("\n[target.hit]") && !without.contains("\nrules = [\"hit_rate"), "{without}");
    }

    #[test]
    fn values_that_a_scenario_cannot_hold_are_left_out() {
        for [miss, hit] in [
            ["X-Own: MISS (a|b)", "X-Own: HIT (a|b)"],
            ["X-Own: MISS from *", "X-Own: HIT from *"],
            ["X-Own: MISS from ${NO_SUCH_VARIABLE}", "X-Own: HIT from ${NO_SUCH_VARIABLE}"],
        ] {
            let (of, text) = scenario_of("/", [&[miss], &[hit], &[hit]]);
            assert_eq!(of.target.hit, scenario::CacheStatusSpec::default(), "{text}");
            assert!(!text.contains("\nrules = [\"hit_rate"), "{text}");
        }
        let (of, _) = scenario_of("/", [&["X-Own: MISS", "X-Own: "], &["X-Own: ", "X-Own: HIT"], &["X-Own: HIT"]]);
        assert_eq!(hit(&of), (Some("x-own"), vec!["HIT"], vec!["MISS"], vec![]), "an empty line is no value");
    }

    #[test]
    fn a_status_that_is_no_2xx_is_told() {
        let args = InitArgs { url: "http://localhost/".into(), out: "scenario.toml".into() };
        let told = |status| success_message(&args, &[ProbeAnswer { status, ..ProbeAnswer::default() }], 1);
        for (status, is_told) in [(200, false), (204, false), (301, true), (304, true), (404, true), (500, true)] {
            assert_eq!(told(status).contains("counts as an error"), is_told, "{status}");
        }
        for (status, offered) in [(302, true), (404, false), (200, false)] {
            let answers = [ProbeAnswer { status, ..ProbeAnswer::default() }];
            let url = reqwest::Url::parse("http://localhost/").unwrap();
            let text = scenario_template::scenario(&url, &answers, &DetectedTraits::of(&url, &answers));
            assert_eq!(text.contains("\n# follow_redirects = true"), offered, "{text}");
        }
    }

    #[test]
    fn an_app_that_does_not_answer_leaves_no_file() {
        let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("scenario.toml");
        let url = format!("http://user:s3cret@127.0.0.1:{unused}/");
        let failure = run(InitArgs { url, out: out.clone() }).unwrap_err();
        assert_eq!(failure.exit, Exit::Environment);
        assert!(!out.exists());
        let text = format!("{:?}", failure.report);
        assert!(text.contains("does not answer") && !text.contains("s3cret"), "{text}");
    }

    #[test]
    fn an_app_that_accepts_and_never_answers_is_a_timeout() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("scenario.toml");
        let url = format!("http://{}/", silent.local_addr().unwrap());
        let failure = run(InitArgs { url, out: out.clone() }).unwrap_err();
        assert_eq!(failure.exit, Exit::Environment);
        assert!(failure.report.to_string().contains("took longer"), "{:?}", failure.report);
        assert!(!out.exists());
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_environment_error() {
        let page = "HTTP/1.1 200 OK\nconnection: close⏎";
        let (port, thread) = app(Box::leak(Box::new([page, page, page])));
        let out = tempfile::tempdir().unwrap().path().join("gone/scenario.toml");
        let failure = run(InitArgs { url: format!("http://127.0.0.1:{port}/"), out }).unwrap_err();
        thread.join().unwrap();
        assert_eq!(failure.exit, Exit::Environment);
    }

    #[test]
    fn an_existing_file_and_an_invalid_url_are_usage_errors() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("scenario.toml");
        std::fs::write(&out, "mine").unwrap();
        let init = |url: &str, out: &PathBuf| run(InitArgs { url: url.to_owned(), out: out.clone() }).unwrap_err().exit;
        assert_eq!(init("http://127.0.0.1:9/", &out), Exit::Usage);
        assert_eq!(std::fs::read_to_string(&out).unwrap(), "mine");
        let other = directory.path().join("other.toml");
        for url in ["localhost:8080", "ftp://localhost/", "", "http://"] {
            assert_eq!(init(url, &other), Exit::Usage, "{url}");
        }
    }
}
