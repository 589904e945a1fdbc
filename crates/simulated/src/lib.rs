//! A run made up by code: a journal as a real run of tests/scenarios/simulated.toml writes it, from a fixed seed, so
//! that verdict, report and charts can be tested on every kind of run, also those that a healthy machine never
//! shows. Only for tests of what comes after the journal; what comes before is tested on real servers.

use std::collections::BTreeMap;

use cacheproof_core::journal::*;
use cacheproof_core::scenario::*;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, LogNormal};

/// What kind of run it is.
#[derive(Clone, Debug)]
pub struct SimulationPlan {
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
    /// Whether it is the run of tests/scenarios/simulated-faults.toml.
    pub several: bool,
    /// Seconds after Redis is back in which the app does not look at it yet.
    pub reconnect_after: u64,
    /// Whether the journal has pulses, as it has since cacheproof 0.2.
    pub pulses: bool,
    /// How many stale reads are told with the history around them, in the first cached phase that is judged.
    pub stale_examples: u64,
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
            pulses: true,
            stale_examples: 0,
        }
    }
}

/// What a hostile app or file might say.
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

/// One injection of a fault, in whole seconds of its phase.
#[derive(Clone, Debug)]
struct PlannedFault {
    number: usize,
    round: u32,
    what: String,
    from: u64,
    /// When it is undone; `None`: over at once.
    to: Option<u64>,
    action: FaultAction,
    victim: Victim,
    /// Redis comes back empty.
    empties: bool,
    connections: Option<u64>,
    done: &'static str,
    seen: &'static str,
    undone: &'static str,
    back: &'static str,
}

fn schedule(phase: &Phase) -> Vec<PlannedFault> {
    let length = phase.lasts.as_secs();
    let mut all = Vec::new();
    for (number, spec) in phase.faults.iter().enumerate() {
        let every = spec.every.map_or(u64::MAX, |every| every.as_secs());
        let mut from = spec.after.as_secs();
        let mut round = 0;
        while from < length {
            let lasts = spec.lasts.map_or(length, |lasts| lasts.as_secs());
            let to = (!spec.action.is_instantaneous()).then(|| (from + lasts).min(length));
            let (done, seen, undone, back) = match spec.action {
                FaultAction::Kill => (
                    "sent SIGKILL to redis-server (pid 4702)",
                    "PING: connection refused",
                    "started redis-server again",
                    "PING answered",
                ),
                FaultAction::Flush => ("FLUSHALL", "no keys are left", "", ""),
                FaultAction::Pause => {
                    ("SIGSTOP to postgres", "SELECT 1: no answer", "SIGCONT to postgres", "SELECT 1 answered")
                }
                _ => ("50 ms on every byte", "a round trip took 101 ms", "no more delay", "a round trip took 0.2 ms"),
            };
            all.push(PlannedFault {
                number,
                round,
                what: spec.describe(),
                from,
                to,
                empties: matches!(spec.action, FaultAction::Kill | FaultAction::Flush),
                connections: matches!(spec.action, FaultAction::Link(_)).then_some(16),
                action: spec.action.clone(),
                victim: spec.victim,
                done,
                seen,
                undone,
                back,
            });
            round += 1;
            from = from.saturating_add(every);
        }
    }
    all
}

/// How the deployment is in one second.
struct DeploymentState {
    /// Redis does not answer.
    dead: bool,
    /// It does, but the app does not look.
    away: bool,
    first_second_dead: bool,
    /// How much slower every answer is, seconds.
    slower: f64,
    /// Since when the cache is filling, seconds.
    since_cold: Option<f64>,
}

impl DeploymentState {
    fn of(faults: &[PlannedFault], phase: usize, second: u64, reconnect_after: u64) -> Self {
        let on = |fault: &&PlannedFault| second >= fault.from && fault.to.is_none_or(|to| second < to);
        let dead = |fault: &&PlannedFault| fault.action == FaultAction::Kill && on(fault);
        let killed = faults.iter().find(dead);
        let away = faults.iter().any(|fault| {
            fault.action == FaultAction::Kill
                && fault.to.is_some_and(|to| second >= to && second < to + reconnect_after)
        });
        let slow = |fault: &&PlannedFault| on(fault) && !fault.empties && fault.to.is_some();
        let slower = faults.iter().filter(slow).map(|fault| if fault.victim == Victim::Redis { 0.05 } else { 0.9 });
        let empty = faults.iter().filter(|fault| fault.empties);
        let cold = empty
            .map(|fault| fault.to.map_or(fault.from, |to| to + reconnect_after))
            .filter(|from| second >= *from)
            .max();
        Self {
            dead: killed.is_some(),
            away,
            first_second_dead: killed.is_some_and(|fault| fault.from == second),
            slower: slower.sum(),
            since_cold: cold.map(|from| (second - from) as f64).or((phase == 1).then_some(second as f64)),
        }
    }
}

/// The journal of a simulated run.
pub fn journal(plan: &SimulationPlan) -> Vec<JournalEntry> {
    let scenario = scenario(plan);
    let mut sim = Simulator {
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
    let end = RunEnded { how: RunStatus::Completed, why: None, goose_requests: Some(sim.requests), unsent: 0 };
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
            let window = self.window(index, second, &state);
            self.push(at + 1.0 - 1e-3, Event::Window(window));
            self.sample(at + 1.0 - 5e-4, !state.dead);
        }
        for fault in faults.iter().filter(|fault| fault.to == Some(seconds)) {
            self.fault(index, from + seconds as f64 + 0.02, fault, FaultStage::Undone, fault.undone);
        }
        let reason = if self.phases[index].warm_up { "the hit rate is level" } else { "its time was up" };
        self.push(from + seconds as f64, Event::PhaseEnded { phase: index, reason: reason.to_owned() });
        from + seconds as f64
    }

    fn inject(&mut self, index: usize, at: f64, fault: &PlannedFault) {
        self.fault(index, at + 0.012, fault, FaultStage::Injected, fault.done);
        if self.plan.fault_seen {
            self.fault(index, at + 0.034, fault, FaultStage::Seen, fault.seen);
        }
        if fault.empties && fault.to.is_none() {
            (self.redis.memory, self.redis.keys) = (1_100_000, 0);
        }
    }

    fn fault(&mut self, phase: usize, at: f64, fault: &PlannedFault, stage: FaultStage, detail: &str) {
        let detail = if self.plan.hostile { HOSTILE } else { detail };
        let connections = fault.connections.filter(|_| stage == FaultStage::Injected);
        let (what, detail) = (fault.what.clone(), detail.to_owned());
        let event = FaultEvent { phase, fault: fault.number, round: fault.round, what, stage, detail, connections };
        self.push(at, Event::Fault(event));
        if stage == FaultStage::Undone && fault.empties {
            (self.redis.memory, self.redis.keys) = (1_100_000, 0);
            (self.redis.hits, self.redis.misses) = (0, 0);
            self.redis.run_id = "b".repeat(40);
        }
    }

    fn window(&mut self, phase: usize, second: u64, state: &DeploymentState) -> Window {
        let down = state.dead || state.away;
        let mut pulses: BTreeMap<u64, (PulseCell, Vec<u64>)> = BTreeMap::new();
        let spec = self.phases[phase].clone();
        let mut cells: BTreeMap<(usize, Outcome), ResponseCell> = BTreeMap::new();
        let noise: f64 = self.rng.random_range(-0.06..0.06);
        let count = (self.plan.rate as f64 * (1.0 + noise)) as u64;
        let warmth = state.since_cold.map_or(1.0, |since| 1.0 - 0.75 * (-since / 2.5).exp());
        for number in 0..count {
            let roll: f64 = self.rng.random();
            let request = if roll < 0.90 {
                0
            } else if roll < 0.96 {
                1
            } else {
                2
            };
            let first_second_down = state.first_second_dead;
            let outcome = if down && self.rng.random_bool(self.plan.errors_down) {
                Outcome::Error
            } else if request == 2 {
                Outcome::Plain
            } else if spec.path == CachePath::Uncached {
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
            let service = service + if spec.path == CachePath::Cached { state.slower } else { 0.0 };
            let (service, response) = ((service * 1e9) as u64, ((service + wait) * 1e9) as u64);
            let (pulse, times) =
                pulses.entry(number * 10 / count).or_insert_with(|| (PulseCell::new(phase, spec.path), Vec::new()));
            match outcome {
                Outcome::Error => pulse.errors += 1,
                _ => {
                    pulse.answered += 1;
                    pulse.hits += u64::from(outcome == Outcome::Hit);
                    pulse.misses += u64::from(outcome == Outcome::Miss);
                    pulse.fallbacks += u64::from(outcome == Outcome::Fallback);
                    times.push(response);
                }
            }
            let limits = &self.limits;
            let cell = cells.entry((request, outcome)).or_insert_with(|| ResponseCell {
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
                    pulse.stale += 1;
                    let text = "version 3 was answered after version 4 had been acknowledged 1.2 s before".to_owned();
                    self.lines.push(JournalEntry {
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
                self.lines.push(JournalEntry {
                    at: self.lines.last().map_or(0.0, |line| line.at),
                    event: Event::Example(example),
                });
            }
        }
        if self.plan.pulses {
            let at = self.second_of(phase, second);
            for (tenth, (cell, mut times)) in pulses {
                times.sort_unstable();
                let quantile = |q: f64| times.get((times.len() as f64 * q) as usize).copied().unwrap_or(0);
                let cell = PulseCell { p50: quantile(0.5), p95: quantile(0.95), max: quantile(1.0), ..cell };
                let end = at + (tenth + 1) as f64 / 10.0 - 2e-3;
                self.push(end, Event::Pulse(Pulse { seconds: 0.1, cells: vec![cell] }));
            }
        }
        let send_lag = Some(SendLag { p50: 92_000, p99: 1_400_000, max: 3_900_000 });
        let freshness = if self.plan.stale_examples > 0 { self.freshness(phase, second, &cells) } else { Vec::new() };
        Window { seconds: 1.0, backlog: 0, send_lag, cells: cells.into_values().collect(), freshness }
    }

    /// What was judged in a second: most reads come long after the write; the stale ones within a second of it.
    fn freshness(
        &mut self,
        phase: usize,
        second: u64,
        cells: &BTreeMap<(usize, Outcome), ResponseCell>,
    ) -> Vec<FreshnessCell> {
        let of = FreshnessKey { phase, path: self.phases[phase].path, request: 0 };
        let posts = || cells.values().filter(|cell| cell.request == 0);
        let (judged, stale) =
            posts().fold((0, 0), |(judged, stale), cell| (judged + cell.judged_fresh, stale + cell.stale));
        let mut counts = FreshnessCounts { probes: 3, indeterminate: second % 2, ..FreshnessCounts::default() };
        for (share, after) in [(40, 500_000), (12, 20_000_000), (4, 300_000_000), (1, 4_000_000_000)] {
            counts.curve.entry(freshness_bucket(after)).or_default().fresh += (judged + 3) / share / 3;
        }
        if stale > 0 {
            counts.curve.entry(freshness_bucket(300_000_000)).or_default().stale += stale;
            let at_least = counts.age_at_least.get_or_insert_default();
            (0..stale).for_each(|nth| at_least.record(300_000_000 + nth * 40_000_000));
            let at_most = counts.age_at_most.get_or_insert_default();
            (0..stale).for_each(|nth| at_most.record(310_000_000 + nth * 41_000_000));
        }
        let first = self.phases.iter().position(|phase| !phase.warm_up && phase.path == CachePath::Cached);
        if first == Some(phase) && second == 4 {
            counts.non_monotonic = 1;
            (1..=self.plan.stale_examples).for_each(|id| self.stale_read(id, of, second));
        }
        vec![FreshnessCell { of, counts }]
    }

    /// A stale read with the history around it; every third stays stuck, the last is not sorted before the end.
    fn stale_read(&mut self, id: u64, of: FreshnessKey, second: u64) {
        let at = self.second_of(of.phase, second) + 0.1 + id as f64 * 0.01;
        let said = |text: &str| if self.plan.hostile { HOSTILE.repeat(40) } else { text.to_owned() };
        let past = |from: f64, to: Option<f64>, what: &str, version: Option<u64>, how: &str| HistoryEntry {
            from,
            to,
            what: said(what),
            version,
            how: said(how),
        };
        let read = StaleRead {
            id,
            of,
            call: said(&format!("GET /posts/{id}")),
            item: said(&format!("/posts/{id}")),
            probe: id.is_multiple_of(2),
            detail: said("version 3 after a write was acknowledged with version 4"),
            version: Some(3),
            floor: 4,
            gone: false,
            age_at_least: 0.3,
            age_at_most: 0.31,
            since_ack: Some(0.3),
            history: vec![
                past(-2.5, Some(-2.496), "write", Some(3), "acknowledged"),
                past(-0.31, Some(-0.3), "write", Some(4), "acknowledged"),
                past(-0.02, None, "write", None, "in flight"),
                past(-0.01, Some(-0.008), "read", Some(4), "answered"),
                HistoryEntry { what: "read".to_owned(), ..past(0.0, Some(0.002), "read", Some(3), "answered") },
            ],
        };
        self.push(at, Event::StaleRead(read));
        if id > 1 && id == self.plan.stale_examples {
            return;
        }
        let stuck = id.is_multiple_of(3);
        let recheck = |after, past_cache, version, stale| Recheck {
            after,
            past_cache,
            version: Some(version),
            stale: Some(stale),
        };
        let looks = match stuck {
            true => vec![recheck(1.001, false, 3, true), recheck(1.004, true, 4, false)],
            false => vec![recheck(1.001, false, 4, false)],
        };
        let kind = if stuck { StaleKind::Stuck } else { StaleKind::Transient };
        let sorted = StaleClassification { id, kind, looks, reads: vec![StaleCount { of, count: 1 }] };
        self.push(at + 1.01, Event::StaleClassification(sorted));
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
                busy: self.queries as f64 * 0.0004,
                connections: 16,
                ..PostgresSample::default()
            }),
            app: Some(ProcessSample {
                cpu: at * 0.22,
                memory: 31_000_000 + (at * 20_000.0) as u64,
                files: 84,
                log: Some(2_400),
            }),
            harness: Some(ProcessSample { cpu: at * self.plan.harness_cpu, memory: 58_000_000, files: 92, log: None }),
        };
        self.push(at, Event::Sample(sample));
    }
}
