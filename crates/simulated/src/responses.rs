//! The responses of one second of a simulated run.

use std::collections::BTreeMap;

use cacheproof_core::journal::*;
use rand::Rng as _;
use rand_distr::{Distribution as _, LogNormal};

use super::schedule::DeploymentState;
use super::{HOSTILE, Simulator};

impl Simulator {
    /// The responses of one second, in both resolutions; the fine slices are added to the lines here.
    pub(crate) fn coarse_slice(&mut self, phase: usize, second: u64, state: &DeploymentState) -> CoarseSlice {
        let down = state.dead || state.away;
        let mut tenths: BTreeMap<u64, (SliceCounts, Vec<u64>)> = BTreeMap::new();
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
            let (counts, times) = tenths.entry(number * 10 / count).or_default();
            counts.count(outcome, spec.path, 1, true);
            if outcome != Outcome::Error {
                times.push(response);
            }
            let limits = &self.limits;
            let cell = cells.entry((request, outcome)).or_insert_with(|| ResponseCell {
                phase,
                path: spec.path,
                request,
                outcome,
                response: Histogram::default(),
                service: Histogram::default(),
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
            // Every post was written before: the freshness of each response to a read of one can be checked.
            cell.judged_fresh += u64::from(request == 0 && outcome != Outcome::Error);
            if outcome == Outcome::Hit && request == 0 {
                self.cached_reads += 1;
                if self.plan.stale_every > 0 && self.cached_reads.is_multiple_of(self.plan.stale_every) {
                    cell.stale += 1;
                    counts.stale += 1;
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
            let add = |counter: &mut Option<u64>, more: u64| *counter.get_or_insert(0) += more;
            add(&mut self.redis.hits, u64::from(outcome == Outcome::Hit));
            if outcome == Outcome::Miss {
                add(&mut self.redis.misses, 1);
                add(&mut self.redis.keys, 1);
                add(&mut self.redis.memory, 2_100);
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
        if self.plan.fine_slices {
            let at = self.second_of(phase, second);
            for (tenth, (counts, mut times)) in tenths {
                times.sort_unstable();
                let quantile = |q: f64| times.get((times.len() as f64 * q) as usize).copied().unwrap_or(0);
                let counts = SliceCounts { p50: quantile(0.5), p95: quantile(0.95), max: quantile(1.0), ..counts };
                let end = at + (tenth + 1) as f64 / 10.0 - 2e-3;
                let cells = vec![CountCell { phase, path: spec.path, counts }];
                self.push(end, Event::FineSlice(FineSlice { seconds: 0.1, cells }));
            }
        }
        let send_lag = Some(SendLag { p50: 92_000, p99: 1_400_000, max: 3_900_000 });
        let freshness = if self.plan.stale_examples > 0 { self.freshness(phase, second, &cells) } else { Vec::new() };
        CoarseSlice {
            seconds: 1.0,
            backlog: 0,
            send_lag,
            cells: cells.into_values().collect(),
            freshness,
            not_sent: Vec::new(),
            reconnects: Vec::new(),
        }
    }
}
