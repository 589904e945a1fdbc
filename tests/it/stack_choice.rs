//! Which provider `auto` chooses, what the user reads about it, and the output of `doctor`.

use std::path::Path;
use std::process::Command;

use cacheproof::scenario::Provider;
use cacheproof::stack::Stack;
use cacheproof::supervise::Guard;

use crate::stack::{PROGRAM, docker_answers, spec};

#[tokio::test]
async fn auto_takes_a_container_where_the_image_is_and_says_so() {
    if !docker_answers() {
        return;
    }
    let guard = Guard::start(Path::new(PROGRAM)).unwrap();
    let mut spec = spec(Provider::Container);
    spec.postgres = None;
    let redis = spec.redis.as_mut().unwrap();
    redis.provider = Provider::Auto;
    let image = redis.image.clone();
    let stack = Stack::up(&spec, 1, &guard, &|_| ()).await.unwrap();
    let facts = stack.facts().redis.unwrap();
    assert_eq!((facts.provider.as_str(), facts.image.as_deref()), ("container", Some(image.as_str())));
    assert_eq!(facts.why, format!("Docker answers and has image {image}"));
    // Reached from this machine only.
    let id = stack.redis.as_ref().unwrap().first().container_id().await.unwrap();
    let ports = Command::new("docker").args(["port", &id]).output().unwrap();
    let ports = String::from_utf8(ports.stdout).unwrap();
    assert!(ports.lines().count() > 0 && ports.lines().all(|line| line.contains("-> 127.0.0.1:")), "{ports}");
    stack.down().await.unwrap();
    guard.release().unwrap();
}

/// The scenario names an image that can't be pulled. The environment must not override it.
#[tokio::test]
#[ignore = "started by the test below with a clean environment"]
async fn auto_without_an_image() {
    let guard = Guard::start(Path::new(PROGRAM)).unwrap();
    let mut spec = spec(Provider::Auto);
    spec.redis.as_mut().unwrap().image = "127.0.0.1:1/nobody/redis:7".into();
    spec.postgres = None;
    let stack = Stack::up(&spec, 1, &guard, &|_| ()).await.unwrap();
    let facts = stack.facts().redis.unwrap();
    assert_eq!(facts.provider, "local");
    let why = "Docker answers but has no image 127.0.0.1:1/nobody/redis:7 and can't pull it (";
    let docker_host = std::env::var("DOCKER_HOST").ok();
    if docker_host.as_ref().is_some_and(|host| host.starts_with("tcp://")) {
        assert!(facts.why.starts_with("DOCKER_HOST is not a unix socket, "), "{}", facts.why);
    } else if docker_host.is_some() || !docker_answers() {
        assert!(facts.why.starts_with("Docker does not answer: "), "{}", facts.why);
    } else {
        assert!(facts.why.starts_with(why), "{}", facts.why);
    }
    assert!(facts.why.ends_with(&format!("; using local redis-server {}", facts.version)), "{}", facts.why);

    spec.redis.as_mut().unwrap().provider = Provider::Container;
    let error = Stack::up(&spec, 1, &guard, &|_| ()).await.unwrap_err();
    let help = miette::Diagnostic::help(&error).unwrap().to_string();
    assert!(help.contains("provider = \"local\""), "{error}: {help}");
    stack.down().await.unwrap();
    guard.release().unwrap();
}

#[test]
fn auto_falls_back_to_local_servers_and_says_why() {
    for docker_host in [None, Some("unix:///nonexistent.sock"), Some("tcp://127.0.0.1:1")] {
        let mut test = Command::new(std::env::current_exe().unwrap());
        test.args(["--exact", "stack_choice::auto_without_an_image", "--ignored", "--nocapture"]);
        test.env_remove("CACHEPROOF_REDIS_IMAGE").env_remove("DOCKER_HOST");
        if let Some(docker_host) = docker_host {
            test.env("DOCKER_HOST", docker_host);
        }
        let output = test.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("1 passed"), "{docker_host:?}: {said}");
    }
}

#[test]
fn doctor_reports_what_is_missing_and_sets_the_exit_code() {
    let doctor = |name: &str, value: &str| {
        let output = Command::new(PROGRAM).arg("doctor").env(name, value).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = doctor("DOCKER_HOST", "unix:///nonexistent.sock");
    assert_eq!(code, Some(0), "local servers are enough: {said}");
    assert!(said.contains("✓ redis-server ") && said.contains("✓ postgres "), "{said}");
    assert!(said.contains("✗ Docker does not answer: "), "{said}");
    assert!(said.contains("provider = \"auto\" takes them"), "{said}");
    assert!(said.contains("valkey-server"), "whether server = \"valkey\" can be used: {said}");
    let (code, said) = doctor("TMPDIR", "/nonexistent");
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("✗ temporary directory /nonexistent: "), "{said}");
    assert!(said.contains("Neither containers nor local processes"), "{said}");
}

/// Valkey is a drop-in replacement. Here Redis takes its place, under the name valkey-server.
#[test]
fn valkey_is_started_where_it_is_installed() {
    let directory = tempfile::tempdir().unwrap();
    let has = |name: &str| {
        let path = std::env::var_os("PATH").unwrap();
        std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.is_file())
    };
    if has("valkey-server").is_none() {
        std::os::unix::fs::symlink(has("redis-server").unwrap(), directory.path().join("valkey-server")).unwrap();
    }
    let mut test = Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", "stack_choice::valkey_comes_up", "--ignored", "--nocapture"]);
    let path = std::env::var("PATH").unwrap();
    let output = test.env("PATH", format!("{path}:{}", directory.path().display())).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
#[ignore = "started by the test above, which has a valkey-server in its PATH"]
async fn valkey_comes_up() {
    let guard = Guard::start(Path::new(PROGRAM)).unwrap();
    let mut spec = spec(Provider::Local);
    spec.postgres = None;
    spec.redis.as_mut().unwrap().server = cacheproof::scenario::CacheServer::Valkey;
    let stack = Stack::up(&spec, 1, &guard, &|_| ()).await.unwrap();
    let server = stack.redis.as_ref().unwrap().first();
    assert_eq!(server.name(), "Valkey");
    let pid = server.pid().await.unwrap();
    let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(command.contains("valkey-server"), "{command}");
    stack.down().await.unwrap();
    guard.release().unwrap();
}
