//! `fuzz TARGET SECONDS [SEED]`: changes inputs of one target until the time is up; `fuzz TARGET FILE` tries one input.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cacheproof_fuzz::{Finding, Fuzzer, Target, Until, targets};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let targets = targets();
    let known = |name: &String| targets.iter().find(|target| target.name == *name);
    let (Some(target), Some(what)) = (arguments.first().and_then(known), arguments.get(1)) else {
        eprintln!("fuzz TARGET SECONDS [SEED], or fuzz TARGET FILE. The targets:");
        targets.iter().for_each(|target| eprintln!("  {:14} {}", target.name, target.about));
        return ExitCode::from(2);
    };
    if Path::new(what).is_file() {
        (target.run)(&std::fs::read(what).expect("the file can be read"));
        println!("{}: {what} is taken or refused as it should be", target.name);
        return ExitCode::SUCCESS;
    }
    let Ok(seconds) = what.parse() else {
        eprintln!("{what} is neither a number of seconds nor a file");
        return ExitCode::from(2);
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    fuzz(target, Duration::from_secs(seconds), arguments.get(2).and_then(|seed| seed.parse().ok()).unwrap_or(now))
}

fn fuzz(target: &Target, time: Duration, seed: u64) -> ExitCode {
    let mut fuzzer = Fuzzer::new(target, seed);
    let found = fuzzer.run(Until::Time(time));
    println!("{}: {} inputs with seed {seed}", target.name, fuzzer.executions);
    let Some(Finding { input, what }) = found else {
        println!("no panic, and none took long");
        return ExitCode::SUCCESS;
    };
    let file = format!("target/fuzz-{}-{seed}", target.name);
    println!("{what}\nthe input is in {file}; `just fuzz {} {file}` tries it again", target.name);
    if let Err(error) = std::fs::write(&file, input) {
        eprintln!("can't write {file}: {error}");
    }
    ExitCode::FAILURE
}
