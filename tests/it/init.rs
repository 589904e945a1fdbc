//! `init` against a foreign app: nginx with proxy_cache, and its upstream on a Unix socket.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cacheproof::cli::{Exit, check, init};
use cacheproof::scenario::{BypassSpec, load};
use cacheproof::stack::free_port;

struct Nginx {
    child: Child,
    port: u16,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Nginx {
    fn start(directory: &Path) -> Self {
        let home = directory.display();
        // Another process may take the port before nginx does; then the next one is tried.
        for _ in 0..5 {
            let port = free_port().expect("loopback has a free port");
            let config = format!(
                "daemon off; master_process off; pid {home}/pid; error_log {home}/error.log;
                events {{}}
                http {{
                    access_log off;
                    client_body_temp_path {home}/a; proxy_temp_path {home}/b; fastcgi_temp_path {home}/c;
                    uwsgi_temp_path {home}/d; scgi_temp_path {home}/e;
                    proxy_cache_path {home}/cache keys_zone=items:1m;
                    server {{
                        listen unix:{home}/upstream;
                        default_type application/json;
                        location / {{ return 200 '{{\"id\": 17, \"version\": 3}}'; }}
                    }}
                    server {{
                        listen 127.0.0.1:{port};
                        location / {{
                            proxy_pass http://unix:{home}/upstream;
                            proxy_cache items;
                            proxy_cache_valid 200 1m;
                            proxy_cache_bypass $http_cache_control;
                            add_header X-Cache-Status $upstream_cache_status;
                        }}
                    }}
                }}"
            );
            std::fs::write(directory.join("nginx.conf"), config).expect("the directory is ours");
            let child = Command::new("nginx")
                .args(["-e", "stderr", "-p", &home.to_string(), "-c", "nginx.conf"])
                .stdin(Stdio::null())
                .spawn()
                .expect("nginx must be installed: scripts/setup.sh does it");
            let mut nginx = Self { child, port };
            if nginx.is_up() {
                return nginx;
            }
        }
        panic!("nginx does not start; see its output above");
    }

    fn is_up(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

#[test]
fn init_detects_nginxs_cache_headers_and_its_scenario_is_valid() {
    let directory = tempfile::tempdir().unwrap();
    let nginx = Nginx::start(directory.path());
    let out = directory.path().join("scenario.toml");
    let url = format!("http://127.0.0.1:{}/items/17", nginx.port);
    assert_eq!(init::run(init::InitArgs { url, out: out.clone() }).unwrap(), Exit::Pass);
    assert_eq!(
        check::run(check::CheckArgs { file: out.clone(), set: Vec::new(), proofs: Vec::new() }).unwrap(),
        Exit::Pass
    );
    let target = load(&out, &[]).unwrap().scenario.target;
    assert_eq!(target.hit.header.as_deref(), Some("x-cache-status"));
    assert_eq!(target.bypass, Some(BypassSpec::Header("Cache-Control".into(), "no-store".into())));
    assert_eq!(target.identity.as_deref(), Some("id"));
    let text = std::fs::read_to_string(&out).unwrap();
    assert!(text.contains("again: status 200, JSON, x-cache-status: HIT"), "{text}");
}
