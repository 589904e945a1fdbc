//! Checks the table of planted defects: each must be caught by its rule, and the healthy app must pass. `just defects`.

use clap::Parser;
use defective_app::defect_run::{DefectRun, DefectRunError, DefectRunner};
use defective_app::{Defect, HEALTHY, SCENARIOS, defects, find};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[derive(Parser)]
#[command(version, about = "Checks that cacheproof catches every planted defect")]
struct Arguments {
    /// The defects to check; by default all, and the healthy app
    #[arg(value_parser = find)]
    names: Vec<&'static Defect>,
    /// Number of runs of the healthy app, which take the scenarios in turn; by default 20, or 0 if defects are named
    #[arg(long)]
    healthy_runs: Option<usize>,
    /// Also write the table as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

fn main() -> ExitCode {
    match check_table(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(3)
        }
    }
}

fn check_table(arguments: &Arguments) -> Result<bool, DefectRunError> {
    let program =
        std::env::current_exe().map_err(|source| DefectRunError::Run { program: "defects".into(), source })?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."));
    let runner = DefectRunner::find(program.parent().unwrap_or(Path::new(".")), root)?;
    let all = arguments.names.is_empty();
    let named: Vec<_> = if all { defects().collect() } else { arguments.names.clone() };
    let (planted, healthy): (Vec<_>, Vec<_>) = named.into_iter().partition(|defect| !defect.caught_by.is_empty());
    let start = Instant::now();
    let mut rows = Vec::new();
    for defect in &planted {
        rows.push(row(defect, &runner.run(defect, defect.scenario)?));
    }
    let missed = rows.iter().filter(|row| row.missed).count();
    let mut passed = HealthyRuns::default();
    let runs = arguments.healthy_runs.unwrap_or(if all { 20 } else { 0 });
    for scenario in SCENARIOS.iter().cycle().take(runs) {
        passed.count(&HEALTHY[0], scenario, &runner.run(&HEALTHY[0], scenario)?);
    }
    for scenario in SCENARIOS {
        for control in healthy.iter().copied().chain(all.then_some(&HEALTHY[1])) {
            passed.count(control, scenario, &runner.run(control, scenario)?);
        }
    }
    let end = format!(
        "{} of {} defects were caught by their rule, and {} of {} healthy runs passed, in {}",
        rows.len() - missed,
        rows.len(),
        passed.passed,
        passed.all,
        minutes(start.elapsed())
    );
    println!("\n{end}");
    if let Some(file) = &arguments.markdown {
        let lines: String = rows.iter().map(|row| format!("{}\n", row.markdown)).collect();
        let head = "| defect | scenario | rule that caught it | measured |\n|---|---|---|---|\n";
        if let Err(error) = std::fs::write(file, format!("{head}{lines}\n{end}.\n")) {
            eprintln!("can't write {}: {error}", file.display());
        }
    }
    Ok(missed == 0 && passed.passed == passed.all)
}

struct Row {
    markdown: String,
    missed: bool,
}

/// Prints a line of the table. For a missed defect also what failed instead, and cacheproof's output.
fn row(defect: &Defect, defect_run: &DefectRun) -> Row {
    let caught = defect_run.caught(defect);
    let also = defect_run.failed.iter().filter(|other| other.criterion != defect.caught_by).count();
    let (rule, number) = caught.map_or(("", ""), |caught| (caught.rule.as_str(), caught.number.as_str()));
    let verdict = if caught.is_some() { "caught" } else { "MISSED" };
    let also = if also > 0 { format!(" (+{also})") } else { String::new() };
    println!(
        "{verdict}  {:24} {:18} {rule} → {number}{also}  [{:.0} s]",
        defect.name,
        defect.scenario,
        defect_run.took.as_secs_f64()
    );
    if caught.is_none() {
        println!(
            "  should have failed: '{}'\n  failed instead: {:?}\n{}",
            defect.caught_by, defect_run.failed, defect_run.printed
        );
    }
    let markdown = format!("| `{}`: {} | {} | `{rule}` | {number} |", defect.name, defect.what, defect.scenario);
    Row { markdown, missed: caught.is_none() }
}

#[derive(Default)]
struct HealthyRuns {
    passed: usize,
    all: usize,
}

impl HealthyRuns {
    fn count(&mut self, healthy: &Defect, scenario: &str, defect_run: &DefectRun) {
        self.all += 1;
        if defect_run.code == Some(0) {
            self.passed += 1;
            println!("passed  {:24} {scenario}  [{:.0} s]", healthy.name, defect_run.took.as_secs_f64());
        } else {
            println!("FAILED  {:24} {scenario}: {:?}\n{}", healthy.name, defect_run.failed, defect_run.printed);
        }
    }
}

fn minutes(time: Duration) -> String {
    format!("{} min {} s", time.as_secs() / 60, time.as_secs() % 60)
}
