//! Journals of runs of hours, and journals that no run writes, read by the whole program within bounds of memory.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use cacheproof::journal::{Event, JOURNAL_FILE, JournalEntry};
use cacheproof_simulated::{SimulationPlan, journal};

use crate::support::CACHEPROOF;

/// Runs a command in so many KiB of address space: what needs more is aborted.
fn within(kib: u64, arguments: &[&str], directory: &Path) -> Output {
    let script = format!("ulimit -v {kib} && exec \"$0\" \"$@\"");
    Command::new("sh")
        .args(["-c", &script, CACHEPROOF])
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("it starts")
}

/// Writes the journal of a run whose steady phase lasts so many hours: its seconds, again and again.
fn write_long_journal(directory: &Path, hours: f64) {
    let lines = journal(&SimulationPlan { stale_every: 300, ..SimulationPlan::default() });
    let place =
        |wanted: &dyn Fn(&Event) -> bool| lines.iter().position(|line| wanted(&line.event)).expect("it is there");
    let begin = place(&|event| matches!(event, Event::PhaseStarted { phase: 2 }));
    let end = place(&|event| matches!(event, Event::PhaseEnded { phase: 2, .. }));
    let lasts = lines[end].at - lines[begin].at;
    let is_repeated = |event: &Event| matches!(event, Event::CoarseSlice(_) | Event::FineSlice(_) | Event::Sample(_));
    let as_text = |event: &Event| serde_json::to_string(event).expect("it serialises");
    let mut text = String::new();
    let mut write =
        |at: f64, event: &str| writeln!(text, "{{\"at\":{at:.6},\"event\":{event}}}").expect("a string takes it");
    for JournalEntry { at, event } in &lines[..=begin] {
        write(*at, &as_text(event));
    }
    let repeated: Vec<(f64, String)> = lines[begin + 1..end]
        .iter()
        .filter(|line| is_repeated(&line.event))
        .map(|line| (line.at, as_text(&line.event)))
        .collect();
    let times = (hours * 3_600.0 / lasts) as u32;
    for time in 0..times {
        for (at, event) in &repeated {
            write(at + f64::from(time) * lasts, event);
        }
    }
    for JournalEntry { at, event } in &lines[end..] {
        write(at + f64::from(times - 1) * lasts, &as_text(event));
    }
    std::fs::write(directory.join(JOURNAL_FILE), text).expect("it can be written");
}

#[test]
fn the_report_of_an_hour_needs_little_more_memory_than_that_of_a_minute() {
    let directory = tempfile::tempdir().expect("a directory");
    write_long_journal(directory.path(), 1.0);
    let output = within(300 << 10, &["report", "."], directory.path());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    for name in ["report.html", "report.md", "summary.json", "charts/response-p95.svg"] {
        let size = std::fs::metadata(directory.path().join(name)).expect("it was written").len();
        assert!(size < 5 << 20, "{name}: {size} bytes");
    }
}

#[test]
fn a_journal_that_no_run_writes_gets_a_message_and_needs_little_memory() {
    let lines = journal(&SimulationPlan::default());
    let text: String = lines.iter().map(|line| serde_json::to_string(line).expect("it serialises") + "\n").collect();
    let bomb = "{\"at\":99999,\"event\":{\"window\":{\"seconds\":1,\"backlog\":0,\"send_lag\":null,\"cells\":[";
    for (name, bytes) in [
        ("counts near 2^64", text.replace("\"answered\":4", "\"answered\":1844674407370955161").into_bytes()),
        ("100 MB in a line", [text.as_bytes(), &vec![b'['; 100_000_000]].concat()),
        ("a list without an end", format!("{text}{bomb}{}", "0,".repeat(1_000_000)).into_bytes()),
        ("NUL bytes in the middle", [&text.as_bytes()[..20_000], &[0; 1_000_000], b"\n", text.as_bytes()].concat()),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join(JOURNAL_FILE), bytes).expect("it can be written");
        let output = within(2 << 20, &["report", "."], directory.path());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(output.status.code(), Some(0 | 2 | 3)), "{name}: {:?} {said}", output.status);
        assert!(!said.contains("panicked"), "{name}: {said}");
    }
}
