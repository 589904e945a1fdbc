//! Progress of a run on stderr. On a terminal one live line shows the phase, the time left, rate, P95, hit rate and
//! errors; elsewhere plain lines do. (indicatif would replace only the two escape sequences below.)

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::terminal;
use crate::journal::{CachePath, CoarseSlice, Event, FaultStage, Histogram, JournalEntry, Outcome};
use crate::scenario::Scenario;

/// How often a plain line is written within a phase.
const PLAIN_LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Writes progress to stderr until the channel is closed.
pub async fn show(scenario: Scenario, mut entries: mpsc::UnboundedReceiver<JournalEntry>) {
    let mut display =
        ProgressDisplay { live: std::io::stderr().is_terminal(), drawn: false, last_plain: Instant::now() };
    let mut phase: Option<(usize, f64)> = None;
    while let Some(JournalEntry { at, event }) = entries.recv().await {
        match event {
            Event::StackReady(stack) => {
                for (name, server) in [("redis", stack.redis), ("postgres", stack.postgres)] {
                    if let Some(server) = server {
                        display.line(&format!("{name} {} ({}): {}", server.version, server.provider, server.why));
                    }
                }
            }
            Event::TargetReady(target) => display.line(&format!("{} answers at {}", target.what, target.url)),
            Event::PhaseStarted { phase: index } => {
                phase = Some((index, at));
                let spec = &scenario.phases[index];
                display.line(&format!(
                    "{at:>5.0} s  phase '{}' ({}, {} {} s)",
                    spec.name,
                    spec.path.as_str(),
                    if spec.warm_up { "at most" } else { "for" },
                    spec.lasts.as_secs_f64(),
                ));
            }
            Event::PhaseEnded { reason, .. } if reason != "its time was up" => {
                display.line(&format!("{at:>5.0} s  ended early: {reason}"));
            }
            // "injected" follows within moments.
            Event::Fault(fault) if fault.stage == FaultStage::Begun => {}
            Event::Fault(fault) => {
                let stage = match fault.stage {
                    FaultStage::Begun => "started",
                    FaultStage::Injected => "injected",
                    FaultStage::Seen => "confirmed",
                    FaultStage::Undone => "undone",
                    FaultStage::SeenUndone => "recovered",
                };
                display.line(&format!("{at:>5.0} s  fault '{}' {stage}: {}", fault.what, fault.detail));
            }
            Event::Note { text } => display.line(&format!("note: {text}")),
            Event::CoarseSlice(slice) => {
                if let Some((index, from)) = phase {
                    let left = (scenario.phases[index].lasts.as_secs_f64() - (at - from)).max(0.0);
                    display.progress(
                        at,
                        &format!("{}  {:>3.0} s left  {}", scenario.phases[index].name, left, format_slice(&slice)),
                    );
                }
            }
            _ => {}
        }
    }
    display.clear();
}

/// The measurements of one second.
fn format_slice(slice: &CoarseSlice) -> String {
    let mut times = Histogram::new();
    let (mut served, mut known, mut errors) = (0, 0, 0);
    for cell in &slice.cells {
        times.merge(&cell.response);
        let count = cell.response.count();
        let from_cache = cell.outcome.is_served_from_cache().filter(|_| cell.path == CachePath::Cached);
        served += if from_cache == Some(true) { count } else { 0 };
        known += if from_cache.is_some() { count } else { 0 };
        errors += if matches!(cell.outcome, Outcome::Error | Outcome::Wrong) { count } else { 0 };
    }
    let rate = times.count() as f64 / slice.seconds.max(1e-3);
    let p95 = times.quantile(0.95).map_or("–".to_owned(), |p95| format!("{:.1} ms", p95 as f64 / 1e6));
    let hit_rate = match known {
        0 => "–".to_owned(),
        all => format!("{:.1} %", 100.0 * served as f64 / all as f64),
    };
    format!("{rate:.0}/s  P95 {p95}  hit rate {hit_rate}  errors {errors}")
}

struct ProgressDisplay {
    live: bool,
    drawn: bool,
    last_plain: Instant,
}

impl ProgressDisplay {
    /// Prints a permanent line.
    fn line(&mut self, text: &str) {
        self.clear();
        terminal::print_error(&format!("{text}\n"));
        self.last_plain = Instant::now();
    }

    /// Prints a line that the next one replaces.
    fn progress(&mut self, at: f64, text: &str) {
        if self.live {
            terminal::print_error(&format!("\r\x1b[2K{at:>5.0} s  {text}"));
            let _closed = std::io::stderr().flush();
            self.drawn = true;
        } else if self.last_plain.elapsed() >= PLAIN_LINE_INTERVAL {
            self.line(&format!("{at:>5.0} s  {text}"));
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            terminal::print_error("\r\x1b[2K");
        }
    }
}
