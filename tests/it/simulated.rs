//! A run made up by code: a journal as a real run of tests/scenarios/simulated.toml writes it, from a fixed seed, so
//! that verdict, report and charts can be tested on every kind of run, also those that a healthy machine never
//! shows. Only for tests of what comes after the journal; what comes before is tested on real servers.

use std::collections::BTreeMap;

use cacheproof::observe::*;
use cacheproof::scenario::*;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, LogNormal};

/// What kind of run it is.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Requests a second.
    pub rate: u64,
    /// Share of cached reads that hit, once warm.
    pub hit_share: f64,
    /// Share of requests that fail while Redis is down.
    pub errors_down: f64,
    /// Median of a hit, seconds.
    pub hit_time: f64,
    /// Every how many cached reads is one stale; 0: none.
    pub stale_every: u64,
    /// Second at which the journal breaks off.
    pub stop_at: Option<f64>,
    /// CPU time the harness uses a second.
    pub harness_cpu: f64,
    /// Whether a probe saw the fault work.
    pub fault_seen: bool,
    /// Names and texts from a hostile app and scenario.
    pub hostile: bool,
}

impl Default for Plan {
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
        }
    }
}

/// What a hostile app or file might say.
pub const HOSTILE: &str = "<script>alert(1)</script> ]]> | `x` **b** @team \u{202e}evil\u{1}\u{1b}[31m";

/// The scenario file of every simulated run.
pub const SCENARIO_TEXT: &str = include_str!("../scenarios/simulated.toml");

/// The scenario of a simulated run.
pub fn scenario(plan: &Plan) -> Scenario {
    let mut scenario = parse("tests/scenarios/simulated.toml", SCENARIO_TEXT).expect("the scenario is right");
    if let Drive::Open { rate, .. } = &mut scenario.traffic.drive {
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

struct Sim {
    plan: Plan,
    rng: ChaCha8Rng,
    limits: Vec<u64>,
    lines: Vec<Line>,
    phases: Vec<Phase>,
    queries: u64,
    redis: RedisSample,
    cached_reads: u64,
    requests: u64,
}

/// The journal of a simulated run.
pub fn journal(plan: &Plan) -> Vec<Line> {
    let scenario = scenario(plan);
    let mut sim = Sim {
        rng: ChaCha8Rng::seed_from_u64(31),
        limits: scenario.latency_limits(),
        lines: Vec::new(),
        phases: scenario.phases.clone(),
        queries: 51_000,
        redis: RedisSample {
            run_id: "a".repeat(40),
            role: "master".to_owned(),
            max_memory: 64 << 20,
            clients: 12,
            memory: 1_100_000,
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
    let end = RunEnded { how: Ending::Completed, why: None, goose_requests: Some(sim.requests), unsent: 0 };
    sim.push(at + 0.4, Event::RunEnded(end));
    let mut lines = sim.lines;
    if let Some(stop) = plan.stop_at {
        lines.retain(|line| line.at <= stop);
    }
    lines
}

impl Sim {
    fn push(&mut self, at: f64, event: Event) {
        self.lines.push(Line { at: (at * 1e6).round() / 1e6, event });
    }

    fn start(&mut self, scenario: &Scenario) {
        let start = RunStarted {
            journal: JOURNAL_VERSION,
            cacheproof: "0.1.0".to_owned(),
            started_at: "2026-03-14T09:26:53Z".to_owned(),
            run_id: "20260314T092653Z-story-3.1".to_owned(),
            scenario_name: "tests/scenarios/simulated.toml".to_owned(),
            scenario: SCENARIO_TEXT.to_owned(),
            command: "cacheproof run tests/scenarios/simulated.toml".to_owned(),
            limits: scenario.latency_limits(),
            host: Host {
                cpu: "AMD EPYC 7763 64-Core Processor".to_owned(),
                cores: 2,
                memory: 8_322_000_000,
                kernel: "Linux 6.1.0-28-amd64".to_owned(),
            },
            git: "5f2c1d90ab34".to_owned(),
        };
        self.push(0.0, Event::RunStarted(start));
        let facts = |version: &str, url: &str, settings: &[(&str, &str)]| ServerFacts {
            provider: "local".to_owned(),
            why: "Docker answers but has no image redis:7-alpine and can't pull it".to_owned(),
            version: version.to_owned(),
            url: url.to_owned(),
            image: None,
            settings: settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
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
        let faulty = self.phases[index].fault.is_some();
        for second in 0..seconds {
            let at = from + second as f64;
            let down = faulty && (3..13).contains(&second);
            if faulty && second == 3 {
                self.fault(index, at + 0.012, FaultStage::Injected, "sent SIGKILL to redis-server (pid 4702)");
                if self.plan.fault_seen {
                    self.fault(index, at + 0.034, FaultStage::Seen, "PING: connection refused");
                }
            }
            if faulty && second == 13 {
                self.fault(index, at + 0.02, FaultStage::Undone, "started redis-server again");
                self.fault(index, at + 0.41, FaultStage::SeenUndone, "PING answered");
            }
            let window = self.window(index, second, down);
            self.push(at + 1.0 - 1e-3, Event::Window(window));
            self.sample(at + 1.0 - 5e-4, !down);
        }
        let reason = if self.phases[index].warm_up { "the hit rate is level" } else { "its time was up" };
        self.push(from + seconds as f64, Event::PhaseEnded { phase: index, reason: reason.to_owned() });
        from + seconds as f64
    }

    fn fault(&mut self, phase: usize, at: f64, stage: FaultStage, detail: &str) {
        let detail = if self.plan.hostile { HOSTILE } else { detail };
        let event = FaultEvent { phase, what: "kill redis".to_owned(), stage, detail: detail.to_owned() };
        self.push(at, Event::Fault(event));
        if stage == FaultStage::Undone {
            (self.redis.memory, self.redis.keys) = (1_100_000, 0);
            (self.redis.hits, self.redis.misses) = (0, 0);
            self.redis.run_id = "b".repeat(40);
        }
    }

    fn window(&mut self, phase: usize, second: u64, down: bool) -> Window {
        let spec = self.phases[phase].clone();
        let mut cells: BTreeMap<(usize, Outcome), Cell> = BTreeMap::new();
        let noise: f64 = self.rng.random_range(-0.06..0.06);
        let count = (self.plan.rate as f64 * (1.0 + noise)) as u64;
        // A cold cache fills: after the start, and again after Redis came back empty.
        let since_cold = match phase {
            1 => Some(second as f64),
            3 if second >= 13 => Some((second - 13) as f64),
            _ => None,
        };
        let warmth = since_cold.map_or(1.0, |since| 1.0 - 0.75 * (-since / 2.5).exp());
        for _ in 0..count {
            let roll: f64 = self.rng.random();
            let request = if roll < 0.90 {
                0
            } else if roll < 0.96 {
                1
            } else {
                2
            };
            let first_second_down = down && second == 3;
            let outcome = if down && self.rng.random_bool(self.plan.errors_down) {
                Outcome::Error
            } else if request == 2 {
                Outcome::Plain
            } else if spec.path == Path::Uncached {
                Outcome::Bypass
            } else if down {
                Outcome::Fallback
            } else if self.rng.random_bool(self.plan.hit_share * warmth) {
                Outcome::Hit
            } else {
                Outcome::Miss
            };
            let (median, spread) = match outcome {
                Outcome::Hit => (self.plan.hit_time, 0.45),
                Outcome::Error => (0.4, 0.3),
                Outcome::Plain => (0.0052, 0.4),
                Outcome::Fallback if first_second_down => (0.041, 0.5),
                _ if request == 1 => (0.0180, 0.45),
                _ => (0.0105, 0.5),
            };
            let service = LogNormal::new(f64::ln(median), spread).expect("a spread above 0").sample(&mut self.rng);
            let wait: f64 = if self.rng.random_bool(0.02) { self.rng.random_range(0.0..0.004) } else { 0.0 };
            let (service, response) = ((service * 1e9) as u64, ((service + wait) * 1e9) as u64);
            let limits = &self.limits;
            let cell = cells.entry((request, outcome)).or_insert_with(|| Cell {
                phase,
                path: spec.path,
                request,
                outcome,
                response: Histogram::new(),
                service: Histogram::new(),
                response_sum: 0,
                over: vec![0; limits.len()],
                stale: 0,
                judged_fresh: 0,
            });
            cell.response.record(response);
            cell.service.record(service);
            cell.response_sum += response;
            for (over, limit) in cell.over.iter_mut().zip(limits) {
                *over += u64::from(response > *limit);
            }
            self.requests += 1;
            if outcome != Outcome::Error && outcome != Outcome::Hit {
                self.queries += 1 + u64::from(request == 1);
            }
            // Every post was written before: each answer to a read of one is held against that write.
            cell.judged_fresh += u64::from(request == 0 && outcome != Outcome::Error);
            if outcome == Outcome::Hit && request == 0 {
                self.cached_reads += 1;
                if self.plan.stale_every > 0 && self.cached_reads.is_multiple_of(self.plan.stale_every) {
                    cell.stale += 1;
                    let text = "version 3 was answered after version 4 had been acknowledged 1.2 s before".to_owned();
                    self.lines.push(Line {
                        at: self.lines.last().map_or(0.0, |line| line.at),
                        event: Event::Example(Example {
                            phase,
                            kind: "stale".to_owned(),
                            request: "GET /posts/17".to_owned(),
                            detail: text,
                        }),
                    });
                }
            }
            self.redis.hits += u64::from(outcome == Outcome::Hit);
            if outcome == Outcome::Miss {
                self.redis.misses += 1;
                self.redis.keys += 1;
                self.redis.memory += 2_100;
            }
            if outcome == Outcome::Error && self.rng.random_bool(0.3) {
                let detail =
                    if self.plan.hostile { HOSTILE.repeat(200) } else { "500: connection reset by peer".to_owned() };
                let example =
                    Example { phase, kind: "error".to_owned(), request: "GET /posts/2917".to_owned(), detail };
                self.lines
                    .push(Line { at: self.lines.last().map_or(0.0, |line| line.at), event: Event::Example(example) });
            }
        }
        let send_lag = Some(Lag { p50: 92_000, p99: 1_400_000, max: 3_900_000 });
        Window { seconds: 1.0, backlog: 0, send_lag, cells: cells.into_values().collect() }
    }

    fn sample(&mut self, at: f64, redis_up: bool) {
        let sample = Sample {
            redis: redis_up.then(|| self.redis.clone()),
            postgres: Some(PostgresSample {
                queries: self.queries,
                exact: true,
                busy: self.queries as f64 * 0.0004,
                connections: 16,
                ..PostgresSample::default()
            }),
            app: Some(ProcessSample { cpu: at * 0.22, memory: 31_000_000 + (at * 20_000.0) as u64, files: 84 }),
            harness: Some(ProcessSample { cpu: at * self.plan.harness_cpu, memory: 58_000_000, files: 92 }),
        };
        self.push(at, Event::Sample(sample));
    }
}
