//! Redis as it is deployed: Sentinel, Cluster, TLS with ACL; real processes on loopback, gone when the value is.

use crate::support::{Redis, Server, free_port, patiently};
use cache_layer::{CacheConfig, TlsConfig};
use std::any::Any;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Where the servers of one deployment are, for as long as this value lives.
pub type Guard = Box<dyn Any + Send>;

/// Every deployment that the layer supports, each new and empty, with time to spare: where waiting is not the subject, a busy
/// machine must not look like an outage.
pub async fn deployments() -> Vec<(&'static str, CacheConfig, Guard)> {
    let start = || {
        let standalone = Redis::start();
        let (sentinels, cluster, tls) = (Sentinels::start(), Cluster::start(3, 0), TlsRedis::start());
        vec![
            ("standalone", standalone.patiently(), Box::new(standalone) as Guard),
            ("sentinel", patiently(&sentinels.url()), Box::new(sentinels)),
            ("cluster", patiently(&cluster.url()), Box::new(cluster)),
            ("tls and acl", tls.patiently(), Box::new(tls)),
        ]
    };
    tokio::task::spawn_blocking(start).await.expect("the deployments start")
}

/// A master with two replicas, watched by three sentinels under the name `mymaster`.
pub struct Sentinels {
    /// The first is the master at the start.
    pub servers: Vec<Redis>,
    pub sentinels: Vec<Sentinel>,
}

pub struct Sentinel {
    pub port: u16,
    process: Option<Server>,
    _dir: TempDir,
}

impl Sentinels {
    pub fn start() -> Self {
        let options = ["--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"];
        let master = Redis::start_with(&options);
        let of = format!("127.0.0.1 {}", master.port);
        let replica = || Redis::start_with(&[&options[..], &["--replicaof", &of]].concat());
        let servers = vec![master, replica(), replica()];
        eventually("the replicas are in step", || {
            servers[1..]
                .iter()
                .all(|replica| ask(replica.port, &["INFO", "replication"]).contains("master_link_status:up"))
        });
        let sentinels = (0..3).map(|_| Sentinel::start(servers[0].port)).collect::<Vec<_>>();
        eventually("the sentinels know all", || {
            sentinels.iter().all(|sentinel| {
                let info = ask(sentinel.port, &["INFO", "sentinel"]);
                info.contains("status=ok") && info.contains("slaves=2,sentinels=3")
            })
        });
        Self { servers, sentinels }
    }

    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
        format!("redis+sentinel://{}/mymaster", hosts.join(","))
    }

    /// The port of the master, as most sentinels see it.
    pub fn master(&self) -> Option<u16> {
        let told = self.sentinels.iter().filter(|sentinel| sentinel.process.is_some()).map(|sentinel| {
            let answer = ask(sentinel.port, &["SENTINEL", "get-master-addr-by-name", "mymaster"]);
            answer.lines().nth(1).and_then(|port| port.trim().parse().ok())
        });
        let told: Vec<Option<u16>> = told.collect();
        told.iter().copied().find(|one| told.iter().filter(|other| *other == one).count() > told.len() / 2)?
    }
}

impl Sentinel {
    fn start(master: u16) -> Self {
        let dir = TempDir::with_prefix("cache-layer-test-").expect("a directory");
        let port = free_port();
        let config = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor mymaster 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds mymaster 1000\nsentinel failover-timeout mymaster 5000\n"
        );
        std::fs::write(dir.path().join("sentinel.conf"), config).expect("a file");
        let process = Server::start(dir.path(), &["redis-server", "sentinel.conf", "--sentinel"]);
        eventually("the sentinel answers", || ask(port, &["PING"]).contains("PONG"));
        Self { port, process: Some(process), _dir: dir }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.take().expect("a running sentinel").signal("KILL");
    }
}

/// Masters that share the slots evenly, in order; then their replicas.
pub struct Cluster {
    pub masters: Vec<Redis>,
    pub replicas: Vec<Redis>,
}

pub const SLOTS: usize = 16_384;

impl Cluster {
    pub fn start(masters: usize, replicas_each: usize) -> Self {
        let node = || {
            let bus = free_port().to_string();
            let options = ["--save", "", "--cluster-enabled", "yes", "--cluster-port", &bus];
            // As a cache wants it: slots without a master do not take the others down.
            let options = [&options[..], &["--cluster-require-full-coverage", "no"]].concat();
            let options =
                [&options[..], &["--cluster-node-timeout", "1500", "--repl-diskless-sync-delay", "0"]].concat();
            (Redis::start_with(&options), bus)
        };
        let nodes: Vec<_> = (0..masters * (1 + replicas_each)).map(|_| node()).collect();
        for (i, (node, _)) in nodes.iter().enumerate() {
            ok(node.port, &["CLUSTER", "SET-CONFIG-EPOCH", &(i + 1).to_string()]);
            if i < masters {
                let (from, to) = (i * SLOTS / masters, (i + 1) * SLOTS / masters - 1);
                ok(node.port, &["CLUSTER", "ADDSLOTSRANGE", &from.to_string(), &to.to_string()]);
            }
        }
        let first = nodes[0].0.port;
        for (node, bus) in &nodes[1..] {
            ok(first, &["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string(), bus]);
        }
        let knows_all =
            |port| ask(port, &["CLUSTER", "INFO"]).contains(&format!("cluster_known_nodes:{}", nodes.len()));
        eventually("the nodes know each other", || nodes.iter().all(|(node, _)| knows_all(node.port)));
        for (i, (node, _)) in nodes.iter().enumerate().skip(masters) {
            let master = ask(nodes[i % masters].0.port, &["CLUSTER", "MYID"]);
            eventually("the replica knows its master", || {
                ask(node.port, &["CLUSTER", "REPLICATE", master.trim()]).contains("OK")
            });
        }
        eventually("the cluster is in order", || {
            nodes.iter().all(|(node, _)| ask(node.port, &["CLUSTER", "INFO"]).contains("cluster_state:ok"))
                && nodes[masters..]
                    .iter()
                    .all(|(node, _)| ask(node.port, &["INFO", "replication"]).contains("master_link_status:up"))
        });
        let mut nodes: Vec<_> = nodes.into_iter().map(|(node, _)| node).collect();
        let replicas = nodes.split_off(masters);
        Self { masters: nodes, replicas }
    }

    /// Names two of the nodes only: the others have to be found.
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.masters.iter().take(2).map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// Hands one slot, with its keys, to another master.
    pub fn migrate(&self, slot: u16, from: usize, to: usize) {
        let (from, to) = (self.masters[from].port, self.masters[to].port);
        let (from_id, to_id) = (ask(from, &["CLUSTER", "MYID"]), ask(to, &["CLUSTER", "MYID"]));
        let slot = slot.to_string();
        ok(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", from_id.trim()]);
        ok(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", to_id.trim()]);
        self.move_keys(&slot, from, to);
        for node in [to, from] {
            ok(node, &["CLUSTER", "SETSLOT", &slot, "NODE", to_id.trim()]);
        }
    }

    /// Begins to hand over a slot and leaves it there: its keys have moved, the slot has not.
    pub fn begin_migration(&self, slot: u16, from: usize, to: usize) {
        let (from, to) = (self.masters[from].port, self.masters[to].port);
        let (from_id, to_id) = (ask(from, &["CLUSTER", "MYID"]), ask(to, &["CLUSTER", "MYID"]));
        let slot = slot.to_string();
        ok(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", from_id.trim()]);
        ok(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", to_id.trim()]);
        self.move_keys(&slot, from, to);
    }

    fn move_keys(&self, slot: &str, from: u16, to: u16) {
        let keys = ask(from, &["CLUSTER", "GETKEYSINSLOT", slot, "1000"]);
        for key in keys.lines().filter(|key| !key.is_empty()) {
            ok(from, &["MIGRATE", "127.0.0.1", &to.to_string(), key, "0", "5000"]);
        }
    }
}

/// One server that speaks TLS only, and lets in nobody but the user `cache`.
pub struct TlsRedis {
    pub port: u16,
    dir: TempDir,
    process: Option<Server>,
}

impl TlsRedis {
    pub const USER: &str = "cache";
    pub const PASSWORD: &str = "p@ss:w/rd";

    pub fn start() -> Self {
        let dir = TempDir::with_prefix("cache-layer-test-").expect("a directory");
        certificates(dir.path());
        let port = free_port();
        // What the layer needs and no more; names outside its namespaces are out of its reach.
        let config = format!(
            "bind 127.0.0.1\nport 0\ntls-port {port}\nsave \"\"\n\
             tls-cert-file server.crt\ntls-key-file server.key\ntls-ca-cert-file ca.crt\ntls-auth-clients yes\n\
             user default off\n\
             user {} on >{} ~* &* +@read +@write +@connection +@transaction +@scripting +@pubsub +info +role +time -@dangerous +info +role\n",
            Self::USER,
            Self::PASSWORD
        );
        std::fs::write(dir.path().join("redis.conf"), config).expect("a file");
        let mut redis = Self { port, dir, process: None };
        redis.start_again();
        redis
    }

    pub fn start_again(&mut self) {
        self.process = Some(Server::start(self.dir.path(), &["redis-server", "redis.conf"]));
        eventually("the server answers", || self.ask(&["PING"]).contains("PONG"));
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.take().expect("a running server").signal("KILL");
    }

    /// The certificate in the server's is for `localhost`; user and password are percent-encoded.
    pub fn url(&self) -> String {
        format!("rediss://{}:p%40ss%3Aw%2Frd@localhost:{}", Self::USER, self.port)
    }

    /// The CA of this server, and a client certificate.
    pub fn tls(&self) -> TlsConfig {
        let file = |name: &str| Some(self.dir.path().join(name));
        TlsConfig { ca_file: file("ca.crt"), certificate_file: file("client.crt"), key_file: file("client.key") }
    }

    pub fn patiently(&self) -> CacheConfig {
        let mut config = patiently(&self.url());
        config.redis.as_mut().expect("redis").tls = self.tls();
        config
    }

    pub fn ask(&self, command: &[&str]) -> String {
        let port = self.port.to_string();
        let tls = ["--tls", "--cacert", "ca.crt", "--cert", "client.crt", "--key", "client.key", "--no-auth-warning"];
        let mut cli = Command::new("redis-cli");
        cli.current_dir(self.dir.path()).args(["-h", "localhost", "-p", &port, "--user", Self::USER]);
        cli.args(["--pass", Self::PASSWORD]).args(tls).args(command).stderr(Stdio::null());
        String::from_utf8_lossy(&cli.output().expect("redis-cli runs").stdout).into_owned()
    }
}

/// A CA of our own, and certificates of it for `localhost` and for a client.
fn certificates(dir: &std::path::Path) {
    std::fs::write(dir.join("server.ext"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
        .expect("a file");
    std::fs::write(dir.join("client.ext"), "extendedKeyUsage=clientAuth\nbasicConstraints=CA:FALSE\n").expect("a file");
    let openssl = |args: &str| {
        let done = Command::new("openssl").args(args.split(' ')).current_dir(dir).output().expect("openssl runs");
        assert!(done.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {key} -keyout ca.key -out ca.crt -days 30 -subj /CN=test-ca"));
    for name in ["server", "client"] {
        openssl(&format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile {name}.ext -out {name}.crt"
        ));
    }
}

/// What a server answers to a command, as text; nothing when it cannot be reached.
pub fn ask(port: u16, command: &[&str]) -> String {
    let run = Command::new("redis-cli").args(["-p", &port.to_string()]).args(command).stderr(Stdio::null()).output();
    String::from_utf8_lossy(&run.expect("redis-cli runs").stdout).into_owned()
}

fn ok(port: u16, command: &[&str]) {
    let answer = ask(port, command);
    assert!(answer.trim().ends_with("OK") || answer.trim() == "NOKEY", "{command:?}: {answer}");
}

fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(25));
    }
}
