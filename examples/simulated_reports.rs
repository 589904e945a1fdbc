//! Writes the reports of simulated runs of every kind, to be looked at: `cargo run --example simulated_reports DIR`.

use std::path::PathBuf;

use cacheproof::journal::JournalWriter;
use cacheproof::measurements::Measurements;
use cacheproof::{report, verdict};

use cacheproof_simulated::{self as simulated, SimulationPlan};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = PathBuf::from(std::env::args().nth(1).ok_or("name a directory to write to")?);
    let healthy = SimulationPlan::default();
    let kinds = [
        ("pass", healthy.clone()),
        ("fail", SimulationPlan { hit_share: 0.2, errors_down: 0.35, stale_every: 300, ..healthy.clone() }),
        ("inconclusive", SimulationPlan { harness_cpu: 1.9, ..healthy.clone() }),
        ("broke-off", SimulationPlan { stop_at: Some(70.2), ..healthy.clone() }),
        ("never-began", SimulationPlan { stop_at: Some(1.4), ..healthy.clone() }),
        ("hostile", SimulationPlan { hostile: true, errors_down: 0.05, ..healthy }),
    ];
    for (name, plan) in kinds {
        let directory = directory.join(name);
        std::fs::create_dir_all(&directory)?;
        let lines = simulated::journal(&plan);
        let mut journal = JournalWriter::create(&directory)?;
        for line in &lines {
            journal.append(line)?;
        }
        let (scenario, seen) = (simulated::scenario(&plan), Measurements::of(&lines));
        let verdict = verdict::judge(&scenario, &seen);
        report::write(&directory, &report::render(&scenario, &seen, &verdict)?)?;
    }
    Ok(())
}
