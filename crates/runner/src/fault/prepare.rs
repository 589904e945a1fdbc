//! From a fault as the scenario has it to one that can be injected: who is hit, and whether that is allowed. Only what
//! the run started itself may be broken, and what the scenario names.

use super::FaultError;
use super::act::Act;
use super::clients::FillClients;
use super::command::CommandFault;
use super::engine::Ground;
use super::failover::Failover;
use super::flush::Flush;
use super::holds::Holds;
use super::line::Tongue;
use super::link::{LinkAct, Way};
use super::memory::FillMemory;
use super::partition::Partition;
use super::process::{Patient, ProcessFault};
use super::restart::Restart;
use cacheproof_core::scenario::{FaultAction, FaultSpec, Provider, Topology, Victim};
use cacheproof_stack::{Break, Deployment, Node};
use cacheproof_supervise::Addresses;

/// Finds the victim as it is now.
///
/// # Errors
/// [`FaultError::NotAllowed`], [`FaultError::NobodyThere`].
pub(super) async fn prepare<'run>(
    spec: &FaultSpec,
    ground: Ground<'run>,
    holds: &Holds,
    addresses: &'run Addresses,
) -> Result<Box<dyn Act + 'run>, FaultError> {
    let is_postgres = spec.victim == Victim::Postgres;
    let max_fault = ground.scenario.safety.max_fault;
    let find = Finder { spec, ground };
    Ok(match &spec.action {
        FaultAction::Kill => Box::new(find.process(Break::Kill, holds).await?),
        FaultAction::Stop => Box::new(find.process(Break::Stop, holds).await?),
        FaultAction::Pause => Box::new(find.process(Break::Pause, holds).await?),
        FaultAction::Restart { keep_data } => {
            let patients = find.breakable().await?;
            if let Some(held) = patients.iter().find(|patient| holds.is_held(&patient.name())) {
                return Err(FaultError::NobodyThere(format!("{} is held broken by another fault", held.name())));
            }
            Box::new(Restart::new(patients, *keep_data, is_postgres).await)
        }
        FaultAction::Flush => {
            find.check_data_may_be_lost()?;
            let deployment = find.deployment()?;
            let servers = match deployment.topology() {
                Topology::Cluster => deployment.masters().await.into_iter().map(|node| &node.server).collect(),
                _ => vec![&find.node().await?.server],
            };
            Box::new(Flush { servers, marked: Vec::new() })
        }
        FaultAction::FillMemory => {
            find.check_data_may_be_lost()?;
            Box::new(FillMemory::new(&find.node().await?.server, max_fault))
        }
        FaultAction::FillClients => {
            find.check_data_may_be_lost()?;
            Box::new(FillClients::new(&find.node().await?.server, is_postgres))
        }
        FaultAction::Link(link) => {
            let way = find.way(find.node().await?)?;
            Box::new(LinkAct::new(way, link.clone()))
        }
        FaultAction::Partition => {
            let ways: Result<Vec<Way<'run>>, _> =
                find.deployment()?.nodes().iter().map(|node| find.way(node)).collect();
            let patients = find.patients().await?;
            let [Patient::App(number, app, _)] = patients.as_slice() else {
                return Err(find.not_allowed("a partition cuts one instance off", "write partition = \"app 1\""));
            };
            let group = app.pid().ok_or_else(|| {
                let help = "add start = [\"program\", \"argument\"] to [target]";
                find.not_allowed("only the connections of an app that cacheproof started are known", help)
            })?;
            Box::new(Partition::new(format!("app {number}"), group, ways?))
        }
        FaultAction::Failover { lagging } => {
            find.check_data_may_be_lost()?;
            let deployment = find.deployment()?;
            if deployment.topology() != Topology::Sentinel {
                let help = "write topology = \"sentinel\" in [stack.redis]";
                return Err(find.not_allowed("only Sentinels fail over, and there are none", help));
            }
            Box::new(Failover::new(deployment, *lagging))
        }
        FaultAction::Command { run, undo } => {
            let undo = undo.as_deref();
            if let Some(name) = std::iter::once(run.as_str()).chain(undo).find_map(|it| addresses.unknown_in(it)) {
                let names: Vec<&str> = addresses.iter().map(|(name, _)| name).collect();
                let why = format!("this run has no {name}");
                return Err(find.not_allowed(&why, &format!("what it has: {}", names.join(", "))));
            }
            Box::new(CommandFault::new(run, undo, ground.guard, addresses, max_fault))
        }
    })
}

struct Finder<'spec, 'run> {
    spec: &'spec FaultSpec,
    ground: Ground<'run>,
}

impl<'run> Finder<'_, 'run> {
    fn not_allowed(&self, why: &str, help: &str) -> FaultError {
        FaultError::NotAllowed { what: format!("'{}'", self.spec.what()), why: why.into(), help: help.into() }
    }

    async fn process(&self, action: Break, holds: &Holds) -> Result<ProcessFault<'run>, FaultError> {
        Ok(ProcessFault::new(self.breakable().await?, action, holds.clone()).await)
    }

    /// Those whose processes or containers are hit: the run's own, and containers that the scenario names.
    async fn breakable(&self) -> Result<Vec<Patient<'run>>, FaultError> {
        let patients = self.patients().await?;
        for patient in &patients {
            if !patient.is_own() && patient.own_container().await.is_none() {
                let why = format!("{} is external, and the scenario names no container of it", patient.name());
                return Err(self.not_allowed(&why, "name it: container = \"shop-redis-1\" in its [stack] table"));
            }
        }
        Ok(patients)
    }

    /// Those who are hit.
    async fn patients(&self) -> Result<Vec<Patient<'run>>, FaultError> {
        let which = match self.spec.victim {
            Victim::App(which) => which,
            Victim::Sentinels => {
                let nodes = self.deployment()?.sentinels();
                return Ok(nodes.into_iter().map(|node| Patient::Server(&node.server)).collect());
            }
            _ => return Ok(vec![Patient::Server(&self.node().await?.server)]),
        };
        let nobody = || self.not_allowed("this run has no app", "add [target] to the scenario");
        let (app, around) = self.ground.app.ok_or_else(nobody)?;
        let first = which.unwrap_or(1);
        let instances = app.instances(which);
        if instances.is_empty() {
            return Err(FaultError::NobodyThere(format!("there is no {}", self.spec.victim)));
        }
        Ok(instances.iter().enumerate().map(|(index, one)| Patient::App(first + index, one, around)).collect())
    }

    fn deployment(&self) -> Result<&'run Deployment, FaultError> {
        let stack = self.ground.stack;
        let (found, table) = match self.spec.victim {
            Victim::Postgres => (stack.postgres.as_ref(), "postgres"),
            _ => (stack.redis.as_ref(), "redis"),
        };
        found.ok_or_else(|| self.not_allowed(&format!("this run has no {table}"), &format!("add [stack.{table}]")))
    }

    /// The one server that is hit.
    async fn node(&self) -> Result<&'run Node, FaultError> {
        let deployment = self.deployment()?;
        let found = match self.spec.victim {
            Victim::RedisReplica => deployment.replicas().await.into_iter().next(),
            Victim::Postgres => deployment.nodes().first(),
            _ => deployment.master().await,
        };
        found.ok_or_else(|| FaultError::NobodyThere(format!("no server says that it is the {}", self.spec.victim)))
    }

    fn way(&self, node: &'run Node) -> Result<Way<'run>, FaultError> {
        let proxy = node.proxy.as_ref().ok_or_else(|| {
            let why = "there is no proxy in front of this server: its certificate or its name does not go through one";
            self.not_allowed(why, "use a server that cacheproof starts, or one without TLS")
        })?;
        let tls = self.ground.scenario.stack.redis.as_ref().is_some_and(|redis| redis.tls);
        let tongue = if self.spec.victim == Victim::Postgres {
            Tongue::Postgres
        } else if tls {
            Tongue::Tls
        } else {
            let url = reqwest::Url::parse(node.server.url()).ok();
            let user = url.as_ref().map(|url| url.username().to_owned()).unwrap_or_default();
            let password = url.as_ref().and_then(|url| url.password()).unwrap_or_default().to_owned();
            Tongue::Redis(user, password)
        };
        Ok(Way { server: &node.server, proxy, tongue })
    }

    /// Whether an external server's data may be lost, or its places taken.
    fn check_data_may_be_lost(&self) -> Result<(), FaultError> {
        let stack = &self.ground.scenario.stack;
        let (provider, table) = match self.spec.victim {
            Victim::Postgres => (stack.postgres.as_ref().map(|postgres| postgres.provider), "postgres"),
            _ => (stack.redis.as_ref().map(|redis| redis.provider), "redis"),
        };
        if provider == Some(Provider::External) && !self.ground.scenario.safety.allow.contains(&self.spec.victim) {
            let help = format!("add allow = [\"{table}\"] to [safety] if what is in it may be lost");
            return Err(self.not_allowed(&format!("{table} is external"), &help));
        }
        Ok(())
    }
}
