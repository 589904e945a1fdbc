//! `cacheproof init URL`: sends a few requests to an app and writes a commented scenario for it.

use std::io::Write as _;
use std::path::PathBuf;

use super::probe::{ProbeAnswer, ProbeError, probe};
use super::{CommandResult, Exit, Failure, scenario_template};
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
    let text = scenario_template::scenario(&url, &answers);
    // The file must pass `check`; otherwise it is not written.
    let written = scenario::parse(&args.out.display().to_string(), &text).map_err(Failure::environment)?;
    write_new(&args.out, &text)?;
    println!("{}", success_message(&args, &answers, written.criteria.len()));
    Ok(Exit::Pass)
}

fn parse_url(text: &str) -> Result<reqwest::Url, InitError> {
    let error = |why: &str| InitError::Url { url: scenario::mask_passwords(text), why: why.to_owned() };
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
    let failed = answers.iter().any(|answer| answer.status >= 400);
    let failed = if failed {
        "That is an error status: no run can pass until the request names a page that answers with 2xx.\n"
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
