//! A server in a container of the user: it gets faults only if the scenario names it, and runs again afterwards.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use cacheproof::scenario::{FaultPermission, Provider, RedisSpec, StackSpec};
use cacheproof::stack::{ProcessFaultKind, Stack, free_port};
use cacheproof::supervise::Guard;

use crate::stack::{PROGRAM, docker_answers, redis_image};

/// A container that cacheproof did not start; removed when dropped.
struct OwnContainer {
    id: String,
    url: String,
}

impl OwnContainer {
    /// With the labels that Compose gives its containers.
    fn start(project: &str) -> Self {
        let port = free_port().unwrap();
        let publish = format!("127.0.0.1:{port}:6379");
        let labels = [format!("com.docker.compose.project={project}"), "com.docker.compose.service=redis".to_owned()];
        let image = redis_image();
        let arguments = [
            "run",
            "-d",
            "-p",
            &publish,
            "-l",
            &labels[0],
            "-l",
            &labels[1],
            &image,
            "redis-server",
            "--appendonly",
            "yes",
        ];
        let done = Command::new("docker").args(arguments).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let id = String::from_utf8(done.stdout).unwrap().trim().to_owned();
        Self { id, url: format!("redis://127.0.0.1:{port}/") }
    }

    fn state(&self) -> String {
        let output = Command::new("docker").args(["inspect", "-f", "{{.State.Status}}", &self.id]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn answers(&self) -> bool {
        let port = self.url.trim_end_matches('/').rsplit(':').next().unwrap();
        let output = Command::new("redis-cli").args(["-p", port, "PING"]).output().unwrap();
        output.stdout.starts_with(b"PONG")
    }
}

impl Drop for OwnContainer {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "-f", "-v", &self.id]).output();
    }
}

fn spec(own: &OwnContainer, permission: Option<FaultPermission>) -> StackSpec {
    let (provider, url) = (Provider::External, Some(own.url.clone()));
    StackSpec { redis: Some(RedisSpec { provider, url, permission, ..RedisSpec::default() }), postgres: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_of_the_user_gets_faults_only_if_the_scenario_names_it_and_runs_again_afterwards() {
    if !docker_answers() {
        return;
    }
    let project = format!("cacheproof-test-{}", std::process::id());
    let own = OwnContainer::start(&project);
    let begun = Instant::now();
    while !own.answers() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the container does not answer");
        std::thread::sleep(Duration::from_millis(50));
    }
    let guard = Guard::start(Path::new(PROGRAM)).unwrap();

    // Not named: no faults.
    let stack = Stack::up(&spec(&own, None), 1, &guard, &|_| ()).await.unwrap();
    let server = stack.redis.as_ref().unwrap().first();
    for action in [ProcessFaultKind::Kill, ProcessFaultKind::Stop, ProcessFaultKind::Pause] {
        let error = server.inject_fault(action).await.unwrap_err().to_string();
        assert!(error.contains("is external"), "{error}");
    }
    assert!(server.restart(true).await.is_err());
    assert_eq!(own.state(), "running");
    stack.down().await.unwrap();

    let by_name = FaultPermission::Container(own.id.clone());
    let by_service = FaultPermission::Compose { project: project.clone(), service: "redis".into() };
    for permission in [by_name, by_service] {
        let stack = Stack::up(&spec(&own, Some(permission)), 1, &guard, &|_| ()).await.unwrap();
        let redis = stack.redis.as_ref().unwrap();
        let server = redis.first();
        assert_eq!(redis.facts().provider, "external");
        assert_eq!(server.container_id().await.as_deref(), Some(own.id.as_str()));
        assert_ne!(redis.app_url(), own.url, "the app goes through the proxy");
        for (action, state) in [
            (ProcessFaultKind::Kill, "exited"),
            (ProcessFaultKind::Stop, "exited"),
            (ProcessFaultKind::Pause, "paused"),
        ] {
            server.inject_fault(action).await.unwrap();
            assert_eq!(own.state(), state, "{action:?}");
            server.undo_fault(action).await.unwrap();
            assert_eq!(own.state(), "running");
            assert!(own.answers());
        }
        let error = server.restart(false).await.unwrap_err().to_string();
        assert!(error.contains("deletes only the data of a cache that it started itself"), "{error}");
        server.restart(true).await.unwrap();
        // A fault that is still open at the end is undone.
        server.inject_fault(ProcessFaultKind::Kill).await.unwrap();
        stack.down().await.unwrap();
        assert_eq!(own.state(), "running");
        assert!(own.answers());
    }

    let nobody = FaultPermission::Compose { project, service: "redos".into() };
    let error = Stack::up(&spec(&own, Some(nobody)), 1, &guard, &|_| ()).await.unwrap_err().to_string();
    assert!(error.starts_with("Docker has no container redos of the Compose project"), "{error}");
    guard.release().unwrap();
    assert_eq!(own.state(), "running", "the guard leaves it alone");
}
