//! The servers of docker-compose.yml start, become healthy, and are configured as they should be.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use sqlx::Connection as _;

use crate::stack::{docker_answers, postgres_image, redis_image};
use crate::support::{CACHEPROOF, command, completed_run, root};

/// A Compose project of the test; stopped and removed with its volumes when dropped.
struct Project {
    program: Vec<&'static str>,
    environment: Vec<(&'static str, String)>,
}

impl Project {
    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(self.program[0])
            .args(&self.program[1..])
            .args(arguments)
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .output()
            .unwrap()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        self.run(&["down", "--volumes", "--timeout", "2"]);
    }
}

/// `docker compose`, else `docker-compose`. `None` where there is neither, unless CACHEPROOF_TEST_CONTAINERS=required.
fn compose() -> Option<Vec<&'static str>> {
    if !docker_answers() {
        return None;
    }
    let works = |program: &[&str]| {
        let version = Command::new(program[0]).args(&program[1..]).arg("version").output();
        version.is_ok_and(|version| version.status.success())
    };
    let found = [vec!["docker", "compose"], vec!["docker-compose"]].into_iter().find(|program| works(program));
    if found.is_none() {
        let required = std::env::var("CACHEPROOF_TEST_CONTAINERS").is_ok_and(|value| value == "required");
        assert!(!required, "neither `docker compose` nor docker-compose works: install one");
        eprintln!("no docker compose here: docker-compose.yml is not tested");
    }
    found
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn the_compose_servers_become_healthy_and_are_configured() {
    let Some(program) = compose() else { return };
    let (redis_port, postgres_port) = (free_port(), free_port());
    let project = Project {
        program,
        environment: vec![
            ("COMPOSE_PROJECT_NAME", format!("cacheproof-test-{}", std::process::id())),
            ("REDIS_IMAGE", redis_image()),
            ("POSTGRES_IMAGE", postgres_image()),
            ("REDIS_PORT", redis_port.to_string()),
            ("POSTGRES_PORT", postgres_port.to_string()),
            ("POSTGRES_PASSWORD", "of-the-test".into()),
        ],
    };
    let up = project.run(&["up", "-d", "redis", "postgres"]);
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));

    let ids = String::from_utf8(project.run(&["ps", "-q"]).stdout).unwrap();
    let ids: Vec<_> = ids.lines().collect();
    assert_eq!(ids.len(), 2, "redis and postgres");
    let begun = Instant::now();
    let health = || {
        let arguments = ["inspect", "--format", "{{.State.Health.Status}}"];
        let output = Command::new("docker").args(arguments).args(&ids).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    while health() != "healthy\nhealthy\n" {
        assert!(begun.elapsed() < Duration::from_secs(120), "not healthy: {}", health());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    let client = redis::Client::open(format!("redis://:cacheproof@127.0.0.1:{redis_port}/")).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    for (name, wanted) in [("appendonly", "yes"), ("appendfsync", "everysec"), ("maxmemory-policy", "allkeys-lru")] {
        let answer: Vec<String> = redis::cmd("CONFIG").arg("GET").arg(name).query_async(&mut connection).await.unwrap();
        assert_eq!(answer, [name, wanted]);
    }
    let url = format!("postgres://app:of-the-test@127.0.0.1:{postgres_port}/app");
    let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("CREATE EXTENSION pg_stat_statements").execute(&mut connection).await.unwrap();
    sqlx::raw_sql("SELECT 1").execute(&mut connection).await.unwrap();
    let counted: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_stat_statements").fetch_one(&mut connection).await.unwrap();
    assert!(counted > 0, "statements are counted");
    // Published on this machine only.
    let ports =
        Command::new("docker").args(["inspect", "--format", "{{json .HostConfig.PortBindings}}"]).args(&ids).output();
    let ports = String::from_utf8(ports.unwrap().stdout).unwrap();
    assert_eq!(ports.matches("\"HostIp\":\"127.0.0.1\"").count(), 2, "{ports}");
    assert_eq!(ports.matches("HostIp").count(), 2, "{ports}");
}

#[tokio::test]
async fn the_compose_deployment_comes_up_healthy_and_is_benched_as_it_stands() {
    let Some(program) = compose() else { return };
    let image = Command::new("sh")
        .args(["scripts/offline-images.sh", "app", CACHEPROOF])
        .current_dir(root())
        .output()
        .expect("there is a shell");
    assert!(image.status.success(), "{}", String::from_utf8_lossy(&image.stderr));
    let (redis, postgres, app) = (free_port(), free_port(), free_port());
    let project = Project {
        program,
        environment: vec![
            ("COMPOSE_PROJECT_NAME", format!("cacheproof-bench-{}", std::process::id())),
            ("REDIS_IMAGE", redis_image()),
            ("POSTGRES_IMAGE", postgres_image()),
            ("APP_IMAGE", "cacheproof-standin/app".into()),
            ("LOAD", "posts=2000,profiles=500,products=100,courses=100".into()),
            ("REDIS_PORT", redis.to_string()),
            ("POSTGRES_PORT", postgres.to_string()),
            ("APP_PORT", app.to_string()),
        ],
    };
    let up = project.run(&["up", "-d"]);
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    // The app waits for its servers' health checks and loads its data before it answers.
    let health = format!("http://127.0.0.1:{app}/health");
    let begun = Instant::now();
    while !reqwest::get(&health).await.is_ok_and(|answer| answer.status().is_success()) {
        assert!(
            begun.elapsed() < Duration::from_secs(180),
            "the app isn't ready: {}",
            String::from_utf8_lossy(&project.run(&["logs", "--tail", "20"]).stdout)
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    let reports = tempfile::tempdir().expect("a temporary directory");
    let target = format!("target.url=\"http://127.0.0.1:{app}\"");
    let mut command = command(&root().join("scenarios/compose.toml"), &[target], reports.path());
    command.env("REDIS_URL", format!("redis://:cacheproof@127.0.0.1:{redis}/"));
    command.env("DATABASE_URL", format!("postgres://app:cacheproof@127.0.0.1:{postgres}/app"));
    let completed_run = completed_run(command.output().expect("the program runs"), reports);
    assert_eq!(completed_run.code, Some(0), "{}", completed_run.said());
    let stack = completed_run.measurements().stack.expect("the servers are named");
    for server in [stack.redis, stack.postgres].into_iter().flatten() {
        assert_eq!(server.provider, "external");
        assert!(!server.url.contains(":cacheproof@"), "{}", server.url);
    }
    let journal = std::fs::read_to_string(completed_run.directory().join("events.jsonl")).expect("it reads");
    assert!(!journal.contains(":cacheproof@"), "the journal holds a password");
}
