//! The app under test: one instance or several, all with the same servers.

use std::path::{Path, PathBuf};

use futures_util::future::join_all;

use super::{Instance, TargetError};
use cacheproof_core::scenario::Scenario;

/// What an app is started with.
#[derive(Clone, Copy)]
pub struct AppEnvironment<'run> {
    /// This program, for the reference app.
    pub cacheproof: &'run Path,
    /// A directory for the app's log, and its `{dir}`.
    pub directory: &'run Path,
    /// `redis://…`, its `{redis_url}` and `REDIS_URL`.
    pub redis_url: Option<&'run str>,
    /// The certificate authority of a Redis with TLS, a PEM file: its `{redis_ca}` and `REDIS_CA_FILE`.
    pub redis_ca: Option<&'run Path>,
    /// `postgres://…`, its `{database_url}` and `DATABASE_URL`.
    pub database_url: Option<&'run str>,
    /// Marks the run's processes: the value of `CACHEPROOF_RUN`.
    pub token: &'run str,
    /// Called with the pid of every process that is started, so that the guard ends it with the run.
    pub watch: &'run (dyn Fn(u32) + Send + Sync),
}

/// The app under test.
#[derive(Debug)]
pub struct App {
    /// At least one.
    instances: Vec<Instance>,
}

impl App {
    /// Starts or finds the scenario's app and waits until it is ready. The first instance is ready before the others
    /// start, because it creates the tables that they share.
    ///
    /// # Errors
    /// The first error of an instance; the other instances are stopped again.
    pub async fn up(scenario: &Scenario, app_environment: &AppEnvironment<'_>) -> Result<Self, TargetError> {
        let mut app = Self { instances: vec![Instance::up(scenario, app_environment, 1).await?] };
        let others = (2..=scenario.target.instances).map(|number| Instance::up(scenario, app_environment, number));
        let mut failed = None;
        for instance in join_all(others).await {
            match instance {
                Ok(instance) => app.instances.push(instance),
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        match failed {
            None => Ok(app),
            Some(error) => {
                app.down().await;
                Err(error)
            }
        }
    }

    /// Base URL of the first instance, without a slash at its end.
    pub fn url(&self) -> &str {
        self.instances[0].url()
    }

    /// Base URLs of all instances.
    pub fn urls(&self) -> Vec<String> {
        self.instances.iter().map(|instance| instance.url().to_owned()).collect()
    }

    /// A description of the app.
    pub fn what(&self) -> String {
        match self.instances.len() {
            1 => self.instances[0].what().to_owned(),
            several => format!("{several} instances of {}", self.instances[0].what()),
        }
    }

    /// The instances' pids, if cacheproof started them.
    pub fn pids(&self) -> Vec<u32> {
        self.instances.iter().filter_map(Instance::pid).collect()
    }

    /// The instances' logs, if cacheproof started them.
    pub fn logs(&self) -> Vec<PathBuf> {
        self.instances.iter().filter_map(Instance::log).map(Path::to_owned).collect()
    }

    /// Total size of the instances' logs in bytes, if cacheproof started them.
    pub fn log_bytes(&self) -> Option<u64> {
        self.instances.iter().map(Instance::log_bytes).sum()
    }

    /// One instance, counted from 1, or all of them.
    pub fn instances(&self, which: Option<usize>) -> &[Instance] {
        match which {
            None => &self.instances,
            Some(number) => self.instances.get(number.wrapping_sub(1)..number).unwrap_or_default(),
        }
    }

    /// A sentence if an instance died without a fault.
    pub fn died(&self) -> Option<String> {
        self.instances.iter().find_map(Instance::died)
    }

    /// Stops the instances that cacheproof started: SIGTERM, and SIGKILL for those that do not stop.
    pub async fn down(self) {
        join_all(self.instances.into_iter().map(Instance::down)).await;
    }
}
