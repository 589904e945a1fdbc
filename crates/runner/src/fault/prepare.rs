//! From a fault in the scenario to an injector: finds the victim and checks that it may be broken. Faults are allowed on
//! what the run started, and on what the scenario names.

use super::FaultError;
use super::active_faults::ActiveFaults;
use super::command::CommandFault;
use super::engine::FaultContext;
use super::failover::Failover;
use super::fill_clients::FillClients;
use super::fill_memory::FillMemory;
use super::flush::Flush;
use super::injector::FaultInjector;
use super::link::{LinkFaultInjector, Route};
use super::partition::Partition;
use super::probe_connection::Protocol;
use super::process::{FaultTarget, ProcessFault};
use super::restart::Restart;
use cacheproof_core::scenario::{FaultAction, FaultSpec, Provider, Topology, Victim};
use cacheproof_stack::{Deployment, Node, ProcessFaultKind};
use cacheproof_supervise::Addresses;

/// Finds the current victim and creates the injector.
///
/// # Errors
/// [`FaultError::NotAllowed`], [`FaultError::NoTarget`].
pub(super) async fn prepare<'run>(
    spec: &FaultSpec,
    context: FaultContext<'run>,
    active_faults: &ActiveFaults,
    addresses: &'run Addresses,
) -> Result<Box<dyn FaultInjector + 'run>, FaultError> {
    let is_postgres = spec.victim == Victim::Postgres;
    let max_fault = context.scenario.safety.max_fault;
    let resolver = TargetResolver { spec, context };
    Ok(match &spec.action {
        FaultAction::Kill => Box::new(resolver.process(ProcessFaultKind::Kill, active_faults).await?),
        FaultAction::Stop => Box::new(resolver.process(ProcessFaultKind::Stop, active_faults).await?),
        FaultAction::Pause => Box::new(resolver.process(ProcessFaultKind::Pause, active_faults).await?),
        FaultAction::Restart { keep_data } => {
            let targets = resolver.breakable().await?;
            if let Some(faulted) = targets.iter().find(|target| active_faults.is_faulted(&target.name())) {
                return Err(FaultError::NoTarget(format!("another fault is active on {}", faulted.name())));
            }
            Box::new(Restart::new(targets, *keep_data, is_postgres).await)
        }
        FaultAction::Flush => {
            resolver.check_data_may_be_lost()?;
            let deployment = resolver.deployment()?;
            let servers = match deployment.topology() {
                Topology::Cluster => deployment.masters().await.into_iter().map(|node| &node.server).collect(),
                _ => vec![&resolver.node().await?.server],
            };
            Box::new(Flush { servers, marked_servers: Vec::new() })
        }
        FaultAction::FillMemory => {
            resolver.check_data_may_be_lost()?;
            Box::new(FillMemory::new(&resolver.node().await?.server, max_fault))
        }
        FaultAction::FillClients => {
            resolver.check_data_may_be_lost()?;
            Box::new(FillClients::new(&resolver.node().await?.server, is_postgres))
        }
        FaultAction::Link(link) => {
            let route = resolver.route(resolver.node().await?)?;
            Box::new(LinkFaultInjector::new(route, link.clone()))
        }
        FaultAction::Partition => {
            let routes: Result<Vec<Route<'run>>, _> =
                resolver.deployment()?.nodes().iter().map(|node| resolver.route(node)).collect();
            let targets = resolver.targets().await?;
            let [FaultTarget::App(number, app, _)] = targets.as_slice() else {
                return Err(resolver.not_allowed("a partition affects one instance", "write partition = \"app 1\""));
            };
            let group = app.pid().ok_or_else(|| {
                let help = "add start = [\"program\", \"argument\"] to [target]";
                resolver.not_allowed("it needs an app that cacheproof started, whose connections it knows", help)
            })?;
            Box::new(Partition::new(format!("app {number}"), group, routes?))
        }
        FaultAction::Failover { lagging } => {
            resolver.check_data_may_be_lost()?;
            let deployment = resolver.deployment()?;
            if deployment.topology() != Topology::Sentinel {
                let help = "write topology = \"sentinel\" in [stack.redis]";
                return Err(resolver.not_allowed("a failover needs Sentinels, and there are none", help));
            }
            Box::new(Failover::new(deployment, *lagging))
        }
        FaultAction::Command { run, undo, check } => {
            let (undo, check) = (undo.as_deref(), check.as_deref());
            if let Some(name) = std::iter::once(run.as_str())
                .chain(undo)
                .chain(check)
                .find_map(|text| addresses.find_undefined_variable(text))
            {
                let names: Vec<&str> = addresses.iter().map(|(name, _)| name).collect();
                let why = format!("this run has no {name}");
                return Err(resolver.not_allowed(&why, &format!("it has: {}", names.join(", "))));
            }
            Box::new(CommandFault::new([Some(run), undo, check], context.guard, addresses, max_fault))
        }
    })
}

struct TargetResolver<'spec, 'run> {
    spec: &'spec FaultSpec,
    context: FaultContext<'run>,
}

impl<'run> TargetResolver<'_, 'run> {
    fn not_allowed(&self, why: &str, help: &str) -> FaultError {
        FaultError::NotAllowed { what: format!("'{}'", self.spec.describe()), why: why.into(), help: help.into() }
    }

    async fn process(
        &self,
        action: ProcessFaultKind,
        active_faults: &ActiveFaults,
    ) -> Result<ProcessFault<'run>, FaultError> {
        Ok(ProcessFault::new(self.breakable().await?, action, active_faults.clone()).await)
    }

    /// The victims of a fault on processes: the run's own, and containers that the scenario names.
    async fn breakable(&self) -> Result<Vec<FaultTarget<'run>>, FaultError> {
        let targets = self.targets().await?;
        for target in &targets {
            if !target.is_managed() && target.user_container().await.is_none() {
                let why = format!("{} is external, and the scenario does not name its container", target.name());
                return Err(self.not_allowed(&why, "name it: container = \"shop-redis-1\" in its [stack] table"));
            }
        }
        Ok(targets)
    }

    /// The victims.
    async fn targets(&self) -> Result<Vec<FaultTarget<'run>>, FaultError> {
        let which = match self.spec.victim {
            Victim::App(which) => which,
            Victim::Sentinels => {
                let nodes = self.deployment()?.sentinels();
                return Ok(nodes.into_iter().map(|node| FaultTarget::Server(&node.server)).collect());
            }
            _ => return Ok(vec![FaultTarget::Server(&self.node().await?.server)]),
        };
        let no_app = || self.not_allowed("this run has no app", "add [target] to the scenario");
        let (app, app_environment) = self.context.app.ok_or_else(no_app)?;
        let first = which.unwrap_or(1);
        let instances = app.instances(which);
        if instances.is_empty() {
            return Err(FaultError::NoTarget(format!("there is no {}", self.spec.victim)));
        }
        Ok(instances
            .iter()
            .enumerate()
            .map(|(index, one)| FaultTarget::App(first + index, one, app_environment))
            .collect())
    }

    fn deployment(&self) -> Result<&'run Deployment, FaultError> {
        let stack = self.context.stack;
        let (found, table) = match self.spec.victim {
            Victim::Postgres => (stack.postgres.as_ref(), "postgres"),
            _ => (stack.redis.as_ref(), "redis"),
        };
        found.ok_or_else(|| self.not_allowed(&format!("this run has no {table}"), &format!("add [stack.{table}]")))
    }

    /// The victim, if it is one server.
    async fn node(&self) -> Result<&'run Node, FaultError> {
        let deployment = self.deployment()?;
        let found = match self.spec.victim {
            Victim::RedisReplica => deployment.replicas().await.into_iter().next(),
            Victim::Postgres => deployment.nodes().first(),
            _ => deployment.master().await,
        };
        found.ok_or_else(|| FaultError::NoTarget(format!("no server reports that it is the {}", self.spec.victim)))
    }

    fn route(&self, node: &'run Node) -> Result<Route<'run>, FaultError> {
        let proxy = node.proxy.as_ref().ok_or_else(|| {
            let why = "there is no proxy in front of this server: its certificate or host name does not allow one";
            self.not_allowed(why, "use a server that cacheproof starts, or one without TLS")
        })?;
        let tls = self.context.scenario.stack.redis.as_ref().is_some_and(|redis| redis.tls);
        let protocol = if self.spec.victim == Victim::Postgres {
            Protocol::Postgres
        } else if tls {
            Protocol::Tls
        } else {
            let url = reqwest::Url::parse(node.server.url()).ok();
            let user = url.as_ref().map(|url| url.username().to_owned()).unwrap_or_default();
            let password = url.as_ref().and_then(|url| url.password()).unwrap_or_default().to_owned();
            Protocol::Redis(user, password)
        };
        Ok(Route { server: &node.server, proxy, protocol })
    }

    /// Checks that the data of an external server may be lost, or its connections exhausted.
    fn check_data_may_be_lost(&self) -> Result<(), FaultError> {
        let stack = &self.context.scenario.stack;
        let (provider, table) = match self.spec.victim {
            Victim::Postgres => (stack.postgres.as_ref().map(|postgres| postgres.provider), "postgres"),
            _ => (stack.redis.as_ref().map(|redis| redis.provider), "redis"),
        };
        if provider == Some(Provider::External) && !self.context.scenario.safety.allow.contains(&self.spec.victim) {
            let help = format!("add allow = [\"{table}\"] to [safety] if its data may be lost");
            return Err(self.not_allowed(&format!("{table} is external"), &help));
        }
        Ok(())
    }
}
