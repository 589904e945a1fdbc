//! Starts the app under test, or finds it by its URL, and waits until it is ready.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::TargetError;
use crate::scenario::{CacheKind, FaultAction, Scenario, TargetKind, mask_passwords};
use crate::stack::{RUN_VARIABLE, free_port};

/// How long an app may take until it is ready. Loading the data belongs to it.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long a running app may take to answer for the first time.
const FIND_LIMIT: Duration = Duration::from_secs(10);

/// How long an app may take to stop when asked, before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// What the reference app can load; other key spaces (pages of a list, say) only fill in paths.
const REFERENCE_TABLES: [&str; 4] = ["posts", "profiles", "products", "courses"];

/// What an app gets to know of its surroundings.
#[derive(Clone, Copy)]
pub struct Surroundings<'run> {
    /// This program, for the reference app.
    pub cacheproof: &'run Path,
    /// A directory for the app's log, and its `{dir}`.
    pub directory: &'run Path,
    /// `redis://…`, its `{redis_url}` and `REDIS_URL`.
    pub redis_url: Option<&'run str>,
    /// `postgres://…`, its `{database_url}` and `DATABASE_URL`.
    pub database_url: Option<&'run str>,
    /// Marks the run's processes: the value of `CACHEPROOF_RUN`.
    pub token: &'run str,
    /// Told of every process that is started, so that it dies with the run.
    pub watch: &'run (dyn Fn(u32) + Send + Sync),
}

/// The app under test.
#[derive(Debug)]
pub struct App {
    url: String,
    ready: String,
    what: String,
    process: Option<Process>,
}

#[derive(Debug)]
struct Process {
    /// Program and arguments, environment: all that is needed to start it again. Holds URLs with passwords.
    command: Vec<String>,
    environment: Vec<(&'static str, String)>,
    shown: String,
    log: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    child: Child,
    /// Broken by us: its death is no surprise.
    broken: bool,
}

impl App {
    /// Starts or finds the scenario's app and waits until it is ready.
    pub async fn up(scenario: &Scenario, around: &Surroundings<'_>) -> Result<Self, TargetError> {
        let target = &scenario.target;
        let own_command = target.kind == TargetKind::Reference && target.url.is_none();
        if target.start.is_empty() && !own_command {
            let url = target.url.clone().unwrap_or_default().trim_end_matches('/').to_owned();
            if reqwest::Url::parse(&url).is_err() || !url.starts_with("http") {
                return Err(TargetError::BadUrl { url: mask_passwords(&url) });
            }
            let app = Self {
                what: "the app that was running already".into(),
                url,
                ready: target.ready.clone(),
                process: None,
            };
            app.wait_ready(FIND_LIMIT).await?;
            return Ok(app);
        }
        let port = free_port().map_err(|source| TargetError::NoPort { source })?;
        let data = scenario
            .data
            .iter()
            .filter(|(name, _)| target.kind == TargetKind::Http || REFERENCE_TABLES.contains(&name.as_str()))
            .map(|(name, size)| format!("{name}={size}"))
            .collect::<Vec<_>>()
            .join(",");
        let fill = |text: &str| {
            text.replace("{port}", &port.to_string())
                .replace("{dir}", &around.directory.display().to_string())
                .replace("{data}", &data)
                .replace("{redis_url}", around.redis_url.unwrap_or_default())
                .replace("{database_url}", around.database_url.unwrap_or_default())
        };
        let template = if target.start.is_empty() {
            vec![around.cacheproof.display().to_string(), "serve".to_owned()]
        } else {
            target.start.clone()
        };
        let cache = match target.cache {
            CacheKind::Redis => "redis",
            CacheKind::Memory => "memory",
            CacheKind::None => "none",
        };
        let mut environment = vec![
            ("PORT", port.to_string()),
            ("LISTEN", format!("127.0.0.1:{port}")),
            ("LOAD", data.clone()),
            ("CACHE", cache.to_owned()),
            (RUN_VARIABLE, around.token.to_owned()),
        ];
        environment.extend(around.redis_url.map(|url| ("REDIS_URL", url.to_owned())));
        environment.extend(around.database_url.map(|url| ("DATABASE_URL", url.to_owned())));
        let shown = template.join(" ");
        let log = around.directory.join("app.log");
        let command: Vec<String> = template.iter().map(|word| fill(word)).collect();
        let child = spawn(&command, &environment, &log)?;
        (around.watch)(child.id());
        let app = Self {
            url: fill(target.url.as_deref().unwrap_or("http://127.0.0.1:{port}")).trim_end_matches('/').to_owned(),
            ready: target.ready.clone(),
            what: match target.kind {
                TargetKind::Reference if target.start.is_empty() => format!("the reference app (cache: {cache})"),
                TargetKind::Reference => format!("another build of the reference app ({shown}, cache: {cache})"),
                TargetKind::Http => format!("the app ({shown})"),
            },
            process: Some(Process {
                command,
                environment,
                shown,
                log,
                state: Mutex::new(State { child, broken: false }),
            }),
        };
        match app.wait_ready(START_LIMIT).await {
            Ok(()) => Ok(app),
            Err(error) => {
                app.down().await;
                Err(error)
            }
        }
    }

    /// Base URL, without a slash at its end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it is, in words.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Its process, where cacheproof started it.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.state().child.id())
    }

    /// A sentence, when it ended although nobody broke it.
    pub fn died(&self) -> Option<String> {
        let process = self.process.as_ref()?;
        let mut state = process.state();
        if state.broken {
            return None;
        }
        let status = state.child.try_wait().ok().flatten()?;
        Some(format!("the app ended by itself ({status}); its last lines:\n{}", process.last_lines()))
    }

    /// Breaks it. Gives back what was done.
    pub fn break_it(&self, action: FaultAction) -> Result<String, TargetError> {
        let process = self.started(action.as_str())?;
        let mut state = process.state();
        state.broken = true;
        let (signal, name) = match action {
            FaultAction::Kill => (Signal::SIGKILL, "SIGKILL"),
            FaultAction::Pause => (Signal::SIGSTOP, "SIGSTOP"),
        };
        let pid = state.child.id();
        killpg(group(pid), signal)
            .map_err(|error| TargetError::Fault { what: action.as_str(), why: error.to_string() })?;
        if action == FaultAction::Kill {
            let _reaped = state.child.wait();
        }
        Ok(format!("{name} to process group {pid}"))
    }

    /// Takes back what [`Self::break_it`] did.
    pub async fn mend(&self, action: FaultAction, around: &Surroundings<'_>) -> Result<String, TargetError> {
        let process = self.started(action.as_str())?;
        let done = {
            let mut state = process.state();
            let pid = state.child.id();
            let done = match action {
                FaultAction::Pause => {
                    killpg(group(pid), Signal::SIGCONT)
                        .map_err(|error| TargetError::Fault { what: "continue", why: error.to_string() })?;
                    format!("SIGCONT to process group {pid}")
                }
                FaultAction::Kill => {
                    state.child = spawn(&process.command, &process.environment, &process.log)?;
                    (around.watch)(state.child.id());
                    format!("started again as process {}", state.child.id())
                }
            };
            state.broken = false;
            done
        };
        self.wait_ready(START_LIMIT).await?;
        Ok(done)
    }

    /// Whether it answers its ready path with 2xx within 300 ms.
    pub async fn answers(&self) -> bool {
        let url = format!("{}{}", self.url, self.ready);
        client(Duration::from_millis(300)).get(url).send().await.is_ok_and(|answer| answer.status().is_success())
    }

    /// Stops it where cacheproof started it: asked first, killed when it does not listen.
    pub async fn down(self) {
        let Some(process) = &self.process else { return };
        let pid = process.state().child.id();
        // SIGCONT first: a paused process cannot stop.
        let _gone = killpg(group(pid), Signal::SIGCONT);
        let _gone = killpg(group(pid), Signal::SIGTERM);
        let deadline = Instant::now() + STOP_LIMIT;
        while Instant::now() < deadline {
            if matches!(process.state().child.try_wait(), Ok(Some(_)) | Err(_)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The whole group, also when its first process has ended: workers may live on.
        let _gone = killpg(group(pid), Signal::SIGKILL);
        let _reaped = process.state().child.wait();
    }

    fn started(&self, what: &'static str) -> Result<&Process, TargetError> {
        self.process.as_ref().ok_or(TargetError::Fault {
            what,
            why: "cacheproof didn't start it; give target.start so that it does".into(),
        })
    }

    async fn wait_ready(&self, limit: Duration) -> Result<(), TargetError> {
        let url = format!("{}{}", self.url, self.ready);
        let begun = Instant::now();
        let mut last = "no answer".to_owned();
        let client = client(Duration::from_secs(2));
        let shown = mask_passwords(&url);
        while begun.elapsed() < limit {
            match client.get(&url).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => last = format!("status {}", answer.status()),
                Err(error) if error.is_builder() => return Err(TargetError::BadUrl { url: shown }),
                Err(error) => last = root_cause(&error),
            }
            if let Some(process) = &self.process {
                let ended = process.state().child.try_wait().ok().flatten();
                if let Some(status) = ended {
                    return Err(TargetError::EndedEarly {
                        status: status.to_string(),
                        log: process.last_lines(),
                        command: process.shown.clone(),
                    });
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(TargetError::NotReady { url: shown, waited: limit, last })
    }
}

impl Process {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_lines(&self) -> String {
        let secrets: Vec<&str> = self
            .environment
            .iter()
            .filter(|(name, _)| name.ends_with("_URL"))
            .map(|(_, value)| value.as_str())
            .collect();
        last_lines(&self.log, &secrets)
    }
}

/// What every client that speaks to the app is built from. It never goes through a proxy: HTTP_PROXY is not meant
/// for an app under test, and measuring the proxy would be worse than failing.
pub fn client_builder(timeout: Duration) -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy().timeout(timeout).user_agent(concat!("cacheproof/", env!("CARGO_PKG_VERSION")))
}

/// A client for asking the app by hand.
pub fn client(timeout: Duration) -> reqwest::Client {
    client_builder(timeout).build().unwrap_or_default()
}

/// The deepest cause of an error: what the system said.
pub fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

fn group(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX))
}

fn spawn(command: &[String], environment: &[(&'static str, String)], log: &Path) -> Result<Child, TargetError> {
    let log_error = |source| TargetError::Log { path: log.into(), source };
    let out = File::options().create(true).append(true).open(log).map_err(log_error)?;
    let err = out.try_clone().map_err(log_error)?;
    let program = command.first().map_or("", String::as_str);
    Command::new(program)
        .args(command.iter().skip(1))
        .envs(environment.iter().map(|(name, value)| (name, value.as_str())))
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        // Its own group: Ctrl-C at the terminal is ours to handle, and its workers are found again.
        .process_group(0)
        .spawn()
        .map_err(|source| TargetError::Spawn { program: program.into(), source })
}

/// The end of a log, with URLs that may hold passwords struck out.
fn last_lines(log: &Path, secrets: &[&str]) -> String {
    const BYTES: u64 = 4096;
    const LINES: usize = 8;
    let text = File::open(log).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    });
    let mut text = text.unwrap_or_default();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "***");
        // The app may have taken the URL apart.
        let password = reqwest::Url::parse(secret).ok().and_then(|url| url.password().map(str::to_owned));
        if let Some(password) = password.filter(|password| password.len() > 3) {
            text = text.replace(&password, "***");
        }
    }
    let text = mask_passwords(&text);
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return "(it wrote nothing)".into();
    }
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
