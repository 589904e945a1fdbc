//! Fails if an external server that speaks TLS cannot be used, or is used although its certificate is not trusted.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{command, completed_run, eventually, root};

struct Redis(Child);

impl Drop for Redis {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// A Redis that speaks nothing but TLS, with a certificate that only the file `ca.pem` vouches for.
fn redis_with_tls(directory: &Path, port: u16) -> Redis {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
    std::fs::write(directory.join("ca.pem"), made.cert.pem()).expect("written");
    std::fs::write(directory.join("key.pem"), made.signing_key.serialize_pem()).expect("written");
    let server = Command::new("redis-server")
        .args(["--port", "0", "--bind", "127.0.0.1", "--save", "", "--tls-auth-clients", "no"])
        .args(["--tls-port", &port.to_string()])
        .args(["--tls-cert-file", "ca.pem", "--tls-key-file", "key.pem", "--tls-ca-cert-file", "ca.pem"])
        .current_dir(directory)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server starts");
    let server = Redis(server);
    eventually(Duration::from_secs(10), "redis listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    server
}

#[test]
fn an_external_redis_with_tls_is_used_if_its_certificate_is_trusted() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let port = cacheproof::stack::free_port().expect("a port");
    let _redis = redis_with_tls(directory.path(), port);
    let sets = [format!("stack.redis.url=rediss://127.0.0.1:{port}"), "phase.steady.lasts=3s".to_owned()];
    let run = |authorities: Option<&Path>| {
        let reports = tempfile::tempdir().expect("a temporary directory");
        let mut command = command(&root().join("tests/scenarios/shapes.toml"), &sets, reports.path());
        command.env_remove("SSL_CERT_DIR").env_remove("SSL_CERT_FILE");
        command.envs(authorities.map(|file| ("SSL_CERT_FILE", file)));
        completed_run(command.output().expect("the program runs"), reports)
    };
    let trusted = run(Some(&directory.path().join("ca.pem")));
    // This app keeps its cache in itself, and the verdict says so. No rule is about Redis.
    assert_eq!(trusted.code, Some(0), "{}", trusted.said());
    let words: String = trusted.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("does not use this Redis"), "{}", trusted.said());
    assert!(trusted.measurements().complete(), "{}", trusted.said());
    let redis = trusted.measurements().stack.and_then(|stack| stack.redis).expect("the server's facts");
    assert!(redis.version.starts_with(|c: char| c.is_ascii_digit()), "{redis:?}");
    let samples = trusted.measurements().samples;
    assert!(samples.iter().any(|(_, sample)| sample.redis.is_some()), "its statistics are read");

    let untrusted = run(None);
    assert_eq!(untrusted.code, Some(3), "{}", untrusted.said());
    assert!(untrusted.stderr.contains("certificate"), "{}", untrusted.said());
}
