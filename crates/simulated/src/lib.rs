//! A simulated run: a journal like that of a real run of scenarios/simulated.toml, from a fixed seed, so that verdict,
//! report and charts can be tested on every kind of run, also on those that a healthy machine never shows. Only for
//! tests of what comes after the journal; what comes before is tested on real servers.

mod freshness;
mod responses;
mod schedule;

use std::collections::BTreeMap;

use cacheproof_core::journal::*;
use cacheproof_core::scenario::*;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use self::schedule::{DeploymentState, PlannedFault, schedule};

/// The properties of a simulated run.
#[derive(Clone, Debug)]
pub struct SimulationPlan {
    /// Requests a second.
    pub rate: u64,
    /// Share of cached reads that hit when the cache is warm.
    pub hit_share: f64,
    /// Share of requests that fail while Redis is down.
    pub errors_down: f64,
    /// Median of a hit, seconds.
    pub hit_time: f64,
    /// Every how many cached reads is one stale; 0: none.
    pub stale_every: u64,
    /// Second at which the journal ends early.
    pub stop_at: Option<f64>,
    /// CPU time the harness uses a second.
    pub harness_cpu: f64,
    /// Whether a probe saw the effect of the fault.
    pub fault_seen: bool,
    /// Names and texts from a hostile app and scenario.
    pub hostile: bool,
    /// Whether it is the run of tests/scenarios/simulated-faults.toml.
    pub several: bool,
    /// Seconds until the app reconnects after Redis is up again.
    pub reconnect_after: u64,
    /// Whether the journal has fine slices, as it has since cacheproof 0.2.
    pub fine_slices: bool,
    /// How many stale reads are written as examples with their history, in the first judged cached phase.
    pub stale_examples: u64,
    /// The results of the tests that criteria name.
    pub proofs: BTreeMap<String, TestResult>,
}

impl Default for SimulationPlan {
    fn default() -> Self {
        Self {
            rate: 420,
            hit_share: 0.93,
            errors_down: 0.0008,
            hit_time: 0.0012,
            stale_every: 0,
            stop_at: None,
            harness_cpu: 0.31,
            fault_seen: true,
            hostile: false,
            several: false,
            reconnect_after: 0,
            fine_slices: true,
            stale_examples: 0,
            proofs: BTreeMap::new(),
        }
    }
}

/// Text that a hostile app or file might contain.
pub const HOSTILE: &str = "<script>alert(1)</script> ]]> | `x` **b** @team \u{202e}evil\u{1}\u{1b}[31m";

/// The scenario file of every simulated run.
pub const SCENARIO_TEXT: &str = include_str!("../scenarios/simulated.toml");

/// The scenario file of those with several faults.
pub const SEVERAL_TEXT: &str = include_str!("../scenarios/simulated-faults.toml");

fn file(plan: &SimulationPlan) -> (&'static str, &'static str) {
    match plan.several {
        false => ("tests/scenarios/simulated.toml", SCENARIO_TEXT),
        true => ("tests/scenarios/simulated-faults.toml", SEVERAL_TEXT),
    }
}

/// The scenario of a simulated run.
pub fn scenario(plan: &SimulationPlan) -> Scenario {
    let (name, text) = file(plan);
    let mut scenario = parse(name, text).expect("the scenario is right");
    if let LoadModel::Open { rate, .. } = &mut scenario.traffic.load_model {
        *rate = plan.rate as f64;
    }
    if plan.hostile {
        scenario.title = HOSTILE.to_owned();
        scenario.phases[2].name = HOSTILE.to_owned();
        scenario.traffic.requests[0].name = "x".repeat(10_000);
        scenario.criteria[0].says = HOSTILE.to_owned();
        scenario.criteria[0].rules[0].text = format!("{HOSTILE}{}", "y".repeat(10_000));
    }
    scenario
}

/// What the database had counted before the run.
const FIRST_QUERY: u64 = 51_000;

struct Simulator {
    plan: SimulationPlan,
    rng: ChaCha8Rng,
    limits: Vec<u64>,
    lines: Vec<JournalEntry>,
    phases: Vec<Phase>,
    queries: u64,
    redis: RedisSample,
    cached_reads: u64,
    requests: u64,
}

/// The journal of a simulated run.
pub fn journal(plan: &SimulationPlan) -> Vec<JournalEntry> {
    let scenario = scenario(plan);
    let mut sim = Simulator {
        rng: ChaCha8Rng::seed_from_u64(31),
        limits: scenario.latency_limits(),
        lines: Vec::new(),
        phases: scenario.phases.clone(),
        queries: FIRST_QUERY,
        redis: RedisSample {
            run_id: "a".repeat(40),
            role: "master".to_owned(),
            hits: Some(0),
            misses: Some(0),
            evicted: Some(0),
            expired: Some(0),
            max_memory: Some(64 << 20),
            clients: Some(12),
            memory: Some(1_100_000),
            keys: Some(0),
            ..RedisSample::default()
        },
        cached_reads: 0,
        requests: 0,
        plan: plan.clone(),
    };
    sim.start(&scenario);
    let mut at = 1.5;
    for phase in 0..scenario.phases.len() {
        at = sim.phase(phase, at);
    }
    let statement = |text: &str, calls: u64| (text.to_owned(), calls);
    let statements = StatementCounts {
        all: sim.queries - FIRST_QUERY,
        by_pools: (sim.queries - FIRST_QUERY) / 9,
        most_frequent: vec![
            statement("SELECT id, title, body, version FROM posts WHERE id = $1", (sim.queries - FIRST_QUERY) / 2),
            statement("BEGIN", (sim.queries - FIRST_QUERY) / 9),
            statement(if plan.hostile { HOSTILE } else { "UPDATE posts SET title = $2 WHERE id = $1" }, 812),
        ],
    };
    sim.push(at + 0.2, Event::Statements(statements));
    let end = RunEnded {
        how: RunStatus::Completed,
        why: None,
        goose_requests: Some(sim.requests),
        unsent: 0,
        steady_after: Some(SteadyAfter { seconds: 10.0, requests: plan.rate * 10, broken: None }),
        labels: None,
    };
    sim.push(at + 0.4, Event::RunEnded(end));
    let mut lines = sim.lines;
    lines.sort_by(|a, b| a.at.total_cmp(&b.at));
    if let Some(stop) = plan.stop_at {
        lines.retain(|line| line.at <= stop);
    }
    lines
}

impl Simulator {
    fn push(&mut self, at: f64, event: Event) {
        self.lines.push(JournalEntry { at: (at * 1e6).round() / 1e6, event });
    }

    fn start(&mut self, scenario: &Scenario) {
        let start = RunStarted {
            journal: JOURNAL_VERSION,
            cacheproof: "0.1.0".to_owned(),
            started_at: "2026-03-14T09:26:53Z".to_owned(),
            run_id: "20260314T092653Z-story-3.1".to_owned(),
            scenario_name: file(&self.plan).0.to_owned(),
            scenario: file(&self.plan).1.to_owned(),
            command: format!("cacheproof run {}", file(&self.plan).0),
            limits: scenario.latency_limits(),
            host: Host {
                cpu: "AMD EPYC 7763 64-Core Processor".to_owned(),
                cores: 2,
                memory: 8_322_000_000,
                kernel: "Linux 6.1.0-28-amd64".to_owned(),
            },
            git: "5f2c1d90ab34".to_owned(),
            proofs: self.plan.proofs.clone(),
        };
        self.push(0.0, Event::RunStarted(start));
        let facts = |version: &str, url: &str, settings: &[(&str, &str)]| ServerFacts {
            provider: "local".to_owned(),
            why: "Docker answers but has no image redis:7-alpine and can't pull it".to_owned(),
            version: version.to_owned(),
            url: url.to_owned(),
            image: None,
            settings: settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ..ServerFacts::default()
        };
        let stack = StackReady {
            redis: Some(facts(
                "7.0.15",
                "redis://127.0.0.1:40711",
                &[("maxmemory", "67108864"), ("maxmemory-policy", "allkeys-lru"), ("appendonly", "no")],
            )),
            postgres: Some(facts(
                "15.14",
                "postgres://127.0.0.1:40712/cacheproof",
                &[("shared_buffers", "128MB"), ("max_connections", "100"), ("synchronous_commit", "on")],
            )),
        };
        self.push(0.9, Event::StackReady(stack));
        self.push(0.95, Event::ProxyCost(ProxyCost { round_trips: 300, direct: 41_300, added: 21_800 }));
        let target = TargetReady {
            what: "the reference app, caching in Redis".to_owned(),
            url: "http://127.0.0.1:40713".to_owned(),
            pid: Some(4711),
        };
        self.push(1.3, Event::TargetReady(target));
    }

    fn phase(&mut self, index: usize, from: f64) -> f64 {
        let seconds = self.phases[index].lasts.as_secs();
        self.push(from, Event::PhaseStarted { phase: index });
        self.sample(from, true);
        let faults = schedule(&self.phases[index]);
        for second in 0..seconds {
            let at = from + second as f64;
            for fault in &faults {
                if second == fault.from {
                    self.inject(index, at, fault);
                }
                if Some(second) == fault.to {
                    self.fault(index, at + 0.02, fault, FaultStage::Undone, fault.undone);
                    self.fault(index, at + 0.41, fault, FaultStage::SeenUndone, fault.back);
                }
            }
            let state = DeploymentState::of(&faults, index, second, self.plan.reconnect_after);
            let slice = self.coarse_slice(index, second, &state);
            self.push(at + 1.0 - 1e-3, Event::CoarseSlice(slice));
            self.sample(at + 1.0 - 5e-4, !state.dead);
        }
        for fault in faults.iter().filter(|fault| fault.to == Some(seconds)) {
            self.fault(index, from + seconds as f64 + 0.02, fault, FaultStage::Undone, fault.undone);
        }
        let reason = if self.phases[index].warm_up { "the hit rate is stable" } else { "its time was up" };
        self.push(from + seconds as f64, Event::PhaseEnded { phase: index, reason: reason.to_owned() });
        from + seconds as f64
    }

    fn inject(&mut self, index: usize, at: f64, fault: &PlannedFault) {
        self.fault(index, at + 0.012, fault, FaultStage::Injected, fault.done);
        if self.plan.fault_seen {
            self.fault(index, at + 0.034, fault, FaultStage::Seen, fault.seen);
        }
        if fault.empties && fault.to.is_none() {
            (self.redis.memory, self.redis.keys) = (Some(1_100_000), Some(0));
        }
    }

    fn fault(&mut self, phase: usize, at: f64, fault: &PlannedFault, stage: FaultStage, detail: &str) {
        let detail = if self.plan.hostile { HOSTILE } else { detail };
        let connections = fault.connections.filter(|_| stage == FaultStage::Injected);
        let (what, detail) = (fault.what.clone(), detail.to_owned());
        // As much as a request to Redis for each of the app's.
        let app_bytes = (stage == FaultStage::Begun).then_some(60 * self.requests);
        let event =
            FaultEvent { phase, fault: fault.number, round: fault.round, what, stage, detail, connections, app_bytes };
        self.push(at, Event::Fault(event));
        if stage == FaultStage::Undone && fault.empties {
            (self.redis.memory, self.redis.keys) = (Some(1_100_000), Some(0));
            (self.redis.hits, self.redis.misses) = (Some(0), Some(0));
            self.redis.run_id = "b".repeat(40);
        }
    }

    /// When a second of a phase begins.
    fn second_of(&self, phase: usize, second: u64) -> f64 {
        1.5 + self.phases[..phase].iter().map(|phase| phase.lasts.as_secs_f64()).sum::<f64>() + second as f64
    }

    fn sample(&mut self, at: f64, redis_up: bool) {
        let sample = Sample {
            redis: redis_up.then(|| self.redis.clone()),
            postgres: Some(PostgresSample {
                queries: self.queries,
                exact: true,
                busy: Some(self.queries as f64 * 0.0004),
                connections: Some(16),
                ..PostgresSample::default()
            }),
            app: Some(ProcessSample {
                cpu: at * 0.22,
                memory: 31_000_000 + (at * 20_000.0) as u64,
                files: Some(84),
                log: Some(2_400),
            }),
            harness: Some(ProcessSample {
                cpu: at * self.plan.harness_cpu,
                memory: 58_000_000,
                files: Some(92),
                ..ProcessSample::default()
            }),
            machine: Some(MachineSample {
                lag: 0.0021,
                cpus: 8,
                busy: at * (self.plan.harness_cpu + 0.5),
                stolen: at * 0.002,
            }),
        };
        self.push(at, Event::Sample(sample));
    }
}
