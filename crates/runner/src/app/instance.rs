//! One instance of the app under test: started or found by its URL, checked, faulted, stopped.

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use reqwest::StatusCode;
use reqwest::header::HeaderValue;

use super::process::{AppProcess, LaunchSpec, PORT_VARIABLE, signal_each};
use super::{AppEnvironment, TargetError};
use cacheproof_core::journal::NotSentReason;
use cacheproof_core::scenario::{CacheKind, Scenario, TargetKind, mask_passwords};
use cacheproof_load::response::{client, client_failure, root_cause, shorten};
use cacheproof_stack::{ProcessFaultKind, free_port};
use cacheproof_supervise::{RUN_VARIABLE, is_process_alive};

/// How long an app may take until it is ready, including loading its data.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long a running app may take to answer for the first time.
const FIND_LIMIT: Duration = Duration::from_secs(10);

/// How long an app may take to stop when asked, before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// The tables that the reference app can fill. Other key spaces (pages of a list, for example) only fill in paths.
pub const REFERENCE_TABLES: [&str; 13] = [
    "posts",
    "profiles",
    "products",
    "courses",
    "users",
    "workspaces",
    "projects",
    "requirements",
    "features",
    "schemas",
    "notes",
    "devices",
    "regions",
];

/// One instance of the app: a process that cacheproof started, or an app that was running already.
#[derive(Debug)]
pub struct Instance {
    url: String,
    ready: String,
    follow_redirects: bool,
    what: String,
    process: Option<AppProcess>,
}

/// The key with which the reference app encrypts sessions and values: random, and the same for all instances of this run.
fn session_keys() -> &'static str {
    static KEYS: OnceLock<String> = OnceLock::new();
    // 32 bytes in base64 without padding: 42 letters and one of those whose last two bits are 0.
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    KEYS.get_or_init(|| {
        let letter = |step: usize| char::from(ALPHABET[rand::random_range(0..64 / step) * step]);
        let letters: String = (0..42).map(|_| letter(1)).chain([letter(4)]).collect();
        format!("run:{letters}")
    })
}

impl Instance {
    /// Starts or finds the scenario's app and waits until it is ready. `number` counts from 1.
    pub(super) async fn up(
        scenario: &Scenario,
        app_environment: &AppEnvironment<'_>,
        number: usize,
    ) -> Result<Self, TargetError> {
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
                follow_redirects: target.follow_redirects,
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
                .replace("{instance}", &number.to_string())
                .replace("{dir}", &app_environment.directory.display().to_string())
                .replace("{data}", &data)
                .replace("{redis_url}", app_environment.redis_url.unwrap_or_default())
                .replace(
                    "{redis_ca}",
                    &app_environment.redis_ca.map(|path| path.display().to_string()).unwrap_or_default(),
                )
                .replace("{database_url}", app_environment.database_url.unwrap_or_default())
        };
        let template = if target.start.is_empty() {
            let own = [app_environment.cacheproof.display().to_string(), "serve".to_owned()];
            own.into_iter().chain(target.args.iter().cloned()).collect()
        } else {
            target.start.clone()
        };
        let cache = match target.cache {
            CacheKind::Redis => "redis",
            CacheKind::Memory => "memory",
            CacheKind::TwoTier => "two-tier",
            CacheKind::None => "none",
        };
        let mut environment = vec![
            (PORT_VARIABLE, port.to_string()),
            ("INSTANCE", number.to_string()),
            ("LISTEN", format!("127.0.0.1:{port}")),
            ("LOAD", data.clone()),
            ("CACHE", cache.to_owned()),
            (RUN_VARIABLE, app_environment.token.to_owned()),
        ];
        let has_own_keys = target.args.iter().any(|word| word.starts_with("--session-keys"));
        if own_command && !has_own_keys && std::env::var_os("SESSION_KEYS").is_none() {
            environment.push(("SESSION_KEYS", session_keys().to_owned()));
        }
        environment.extend(app_environment.redis_url.map(|url| ("REDIS_URL", url.to_owned())));
        environment.extend(app_environment.redis_ca.map(|path| ("REDIS_CA_FILE", path.display().to_string())));
        environment.extend(app_environment.database_url.map(|url| ("DATABASE_URL", url.to_owned())));
        let shown = template.join(" ");
        let name = if number == 1 { "app.log".to_owned() } else { format!("app-{number}.log") };
        let log = app_environment.directory.join(name);
        let command: Vec<String> = template.iter().map(|word| fill(word)).collect();
        let start = LaunchSpec { command, environment, shown: shown.clone(), log };
        let child = start.spawn()?;
        (app_environment.watch)(child.id());
        let app = Self {
            url: fill(target.url.as_deref().unwrap_or("http://127.0.0.1:{port}")).trim_end_matches('/').to_owned(),
            ready: target.ready.clone(),
            follow_redirects: target.follow_redirects,
            what: match target.kind {
                TargetKind::Reference if target.start.is_empty() => {
                    let args: String = target.args.iter().map(|arg| format!(" {arg}")).collect();
                    format!("the reference app (cache: {cache}){args}")
                }
                TargetKind::Reference => format!("another build of the reference app ({shown}, cache: {cache})"),
                TargetKind::Http => format!("the app ({shown})"),
            },
            process: Some(AppProcess::new(start, child)),
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

    /// A description of it.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Its pid, if cacheproof started it.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.state().child.id())
    }

    /// What all its processes have in their environment, if cacheproof started it.
    pub fn marks(&self) -> Vec<(&str, &str)> {
        self.process.as_ref().map(AppProcess::marks).unwrap_or_default()
    }

    /// The ports of this machine on which it should listen, if cacheproof started it: the one that it was given, and the one of its
    /// URL.
    pub fn ports(&self) -> Vec<u16> {
        let given = self.process.iter().flat_map(AppProcess::marks).find(|(name, _)| *name == PORT_VARIABLE);
        let given = given.and_then(|(_, port)| port.parse().ok());
        let url = reqwest::Url::parse(&self.url).ok().filter(|url| url.host_str().is_some_and(is_this_machine));
        given.into_iter().chain(url.and_then(|url| url.port_or_known_default())).collect()
    }

    /// Its log, if cacheproof started it.
    pub fn log(&self) -> Option<&Path> {
        self.process.as_ref().map(|process| process.start.log.as_path())
    }

    /// Size of its log in bytes, if cacheproof started it. The log continues over restarts of the app.
    pub fn log_bytes(&self) -> Option<u64> {
        std::fs::metadata(&self.process.as_ref()?.start.log).ok().map(|log| log.len())
    }

    /// A sentence if it died without a fault.
    pub fn died(&self) -> Option<String> {
        let process = self.process.as_ref()?;
        let mut state = process.state();
        if state.faulted {
            return None;
        }
        let status = state.child.try_wait().ok().flatten()?;
        Some(format!("the app ended unexpectedly ({status}); its last lines:\n{}", process.last_lines()))
    }

    /// Injects a fault. Returns what was done. A stop waits up to 3 s for its end; then it is killed.
    ///
    /// # Errors
    /// cacheproof did not start it, or the operating system refuses.
    pub async fn inject_fault(&self, action: ProcessFaultKind) -> Result<String, TargetError> {
        let process = self.started(action.as_str())?;
        let (signal, name) = match action {
            ProcessFaultKind::Kill => (Signal::SIGKILL, "SIGKILL"),
            ProcessFaultKind::Stop => (Signal::SIGTERM, "SIGTERM"),
            ProcessFaultKind::Pause => (Signal::SIGSTOP, "SIGSTOP"),
        };
        let (pid, outside) = {
            let mut state = process.state();
            state.faulted = true;
            let pid = state.child.id();
            // Its pid may be reused.
            if state.is_reaped() {
                return Ok(format!("process {pid} had ended already"));
            }
            let outside = process.outside_its_group(pid);
            state
                .signal(signal)
                .map_err(|error| TargetError::Fault { what: action.as_str(), why: error.to_string() })?;
            signal_each(&outside, signal);
            (pid, outside)
        };
        if action == ProcessFaultKind::Stop {
            wait_for_exit(pid, Duration::from_millis(5)).await;
        }
        if action != ProcessFaultKind::Pause {
            process.state().kill();
            signal_each(&outside, Signal::SIGKILL);
        }
        Ok(format!("{name} to process group {pid}"))
    }

    /// Undoes [`Self::inject_fault`]. A process that is already running is only waited for: a second one could not bind the
    /// port, and the first one would no longer be watched.
    pub async fn undo_fault(
        &self,
        action: ProcessFaultKind,
        app_environment: &AppEnvironment<'_>,
    ) -> Result<String, TargetError> {
        let process = self.started(action.as_str())?;
        let done = {
            let mut state = process.state();
            let pid = state.child.id();
            let done = match action {
                ProcessFaultKind::Pause if state.is_reaped() => {
                    return Err(TargetError::Fault { what: "continue", why: format!("process {pid} has ended") });
                }
                ProcessFaultKind::Pause => {
                    state
                        .signal(Signal::SIGCONT)
                        .map_err(|error| TargetError::Fault { what: "continue", why: error.to_string() })?;
                    signal_each(&process.outside_its_group(pid), Signal::SIGCONT);
                    format!("SIGCONT to process group {pid}")
                }
                ProcessFaultKind::Kill | ProcessFaultKind::Stop if !state.is_reaped() => {
                    format!("process {pid} is already running")
                }
                ProcessFaultKind::Kill | ProcessFaultKind::Stop => {
                    state.child = process.start.spawn()?;
                    (app_environment.watch)(state.child.id());
                    format!("started again as process {}", state.child.id())
                }
            };
            state.faulted = false;
            done
        };
        self.wait_ready(START_LIMIT).await?;
        Ok(done)
    }

    /// Whether it answers its ready path with 2xx within 300 ms.
    pub async fn answers(&self) -> bool {
        let url = format!("{}{}", self.url, self.ready);
        client(Duration::from_millis(300), self.follow_redirects)
            .get(url)
            .send()
            .await
            .is_ok_and(|answer| answer.status().is_success())
    }

    /// Stops it, if cacheproof started it: SIGTERM, and SIGKILL if it does not stop.
    pub(super) async fn down(self) {
        let Some(process) = &self.process else { return };
        let (pid, outside) = {
            let mut state = process.state();
            if state.is_reaped() {
                process.kill_workers();
                return;
            }
            let outside = process.outside_its_group(state.child.id());
            // SIGCONT first: a paused process does not handle SIGTERM.
            for signal in [Signal::SIGCONT, Signal::SIGTERM] {
                let _gone = state.signal(signal);
                signal_each(&outside, signal);
            }
            (state.child.id(), outside)
        };
        wait_for_exit(pid, Duration::from_millis(20)).await;
        // The whole group, even if its first process has ended: workers may still run. So may those outside it.
        process.state().kill();
        signal_each(&outside, Signal::SIGKILL);
        process.kill_workers();
    }

    fn started(&self, what: &'static str) -> Result<&AppProcess, TargetError> {
        self.process.as_ref().ok_or(TargetError::Fault {
            what,
            why: "cacheproof didn't start it; set target.start so that it does".into(),
        })
    }

    async fn wait_ready(&self, limit: Duration) -> Result<(), TargetError> {
        let url = format!("{}{}", self.url, self.ready);
        let start = Instant::now();
        let mut last = "no answer".to_owned();
        let client = client(Duration::from_secs(2), self.follow_redirects);
        let shown = mask_passwords(&url);
        while start.elapsed() < limit {
            match client.get(&url).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => last = unready(answer.status(), answer.headers().get("location"), self.follow_redirects),
                Err(error) if error.is_builder() => return Err(TargetError::BadUrl { url: shown }),
                // A name may be known later, when the app's network is up.
                Err(error) => match client_failure(&error).filter(|reason| *reason != NotSentReason::Name) {
                    Some(reason) => return Err(TargetError::NotSent { reason }),
                    None => last = root_cause(&error),
                },
            }
            if let Some(process) = &self.process {
                let ended = process.state().child.try_wait().ok().flatten();
                if let Some(status) = ended {
                    return Err(TargetError::EndedEarly {
                        status: status.to_string(),
                        log: process.last_lines(),
                        command: process.start.shown.clone(),
                    });
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(TargetError::NotReady { url: shown, waited: limit, last })
    }
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// What an answer says that is no 2xx, and what to do about a redirect.
fn unready(status: StatusCode, location: Option<&HeaderValue>, follow_redirects: bool) -> String {
    let Some(location) = location.filter(|_| status.is_redirection()) else { return format!("status {status}") };
    let follow = if follow_redirects { "" } else { ", or follow_redirects = true" };
    let location = mask_passwords(&shorten(location.as_bytes()));
    format!("status {status}, a redirect to {location} (set ready to a path that answers 2xx{follow})")
}

/// Waits until a child has ended, at most [`STOP_LIMIT`], without reaping it: so its pid is not reused, and its group can
/// still be killed.
async fn wait_for_exit(pid: u32, interval: Duration) {
    let deadline = Instant::now() + STOP_LIMIT;
    while is_process_alive(pid) && Instant::now() < deadline {
        tokio::time::sleep(interval).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_that_redirects_is_told_with_what_to_set() {
        let location = HeaderValue::from_static("/login");
        let told = |status, location, follow| unready(StatusCode::from_u16(status).unwrap(), location, follow);
        let text = told(302, Some(&location), false);
        assert!(text.contains("to /login") && text.contains("or follow_redirects = true"), "{text}");
        let text = told(302, Some(&location), true);
        assert!(text.contains("set ready to a path") && !text.contains("follow_redirects"), "{text}");
        assert_eq!(told(503, None, false), "status 503 Service Unavailable");
    }
}
