//! Writes the reports of simulated runs of every kind, to be looked at:
//! `cargo run -p cacheproof-report --example simulated_reports DIR`.

use std::path::PathBuf;

use cacheproof_core::journal::JournalWriter;
use cacheproof_report as report;
use cacheproof_simulated::{self as simulated, SimulationPlan};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let parent = PathBuf::from(std::env::args().nth(1).ok_or("name a directory to write to")?);
    let healthy = SimulationPlan::default();
    let stale = SimulationPlan { stale_every: 300, stale_examples: 12, ..healthy.clone() };
    let kinds = [
        ("pass", healthy.clone()),
        ("fail", SimulationPlan { hit_share: 0.2, errors_down: 0.35, stale_every: 300, ..healthy.clone() }),
        ("stale", stale.clone()),
        ("several-faults", SimulationPlan { several: true, reconnect_after: 3, ..healthy.clone() }),
        ("inconclusive", SimulationPlan { harness_cpu: 1.9, ..healthy.clone() }),
        ("broke-off", SimulationPlan { stop_at: Some(70.2), ..healthy.clone() }),
        ("never-began", SimulationPlan { stop_at: Some(1.4), ..healthy }),
        ("hostile", SimulationPlan { hostile: true, errors_down: 0.05, ..stale }),
    ];
    let mut runs = Vec::new();
    for (name, plan) in kinds {
        let directory = parent.join(name);
        std::fs::create_dir_all(&directory)?;
        let mut journal = JournalWriter::create(&directory)?;
        for line in &simulated::journal(&plan) {
            journal.append(line)?;
        }
        runs.push((format!("{name}/{}", report::HTML_FILE), report::render_run(&directory)?));
    }
    std::fs::write(parent.join("together.html"), report::combined_page(&runs))?;
    Ok(())
}
