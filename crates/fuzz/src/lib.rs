//! Feeds changed inputs to everything that reads text from outside, on a stable toolchain: `just fuzz TARGET SECONDS`.
//!
//! A [`Target`] has inputs that are right, its seeds. [`Fuzzer::run`] changes one of them at random and hands it to the
//! target. A panic or an input that takes too long is a [`Finding`]. The same seed gives the same inputs in the same order.

mod mutate;
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

pub use mutate::mutated;
pub use targets::{Target, targets};

/// An input may compute so long. The slowest seed takes less than a tenth of it in a debug build.
const MAX_TIME: Duration = Duration::from_secs(10);

/// An input with which a target did what it must not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The input.
    pub input: Vec<u8>,
    /// What happened: the panic's message, or the time it took.
    pub what: String,
}

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After so many inputs.
    Executions(u64),
    /// After so long.
    Time(Duration),
}

/// Runs one target.
#[derive(Debug)]
pub struct Fuzzer<'a> {
    target: &'a Target,
    random: ChaCha8Rng,
    /// Inputs that were handed to the target.
    pub executions: u64,
}

impl<'a> Fuzzer<'a> {
    /// With a seed for its random numbers.
    pub fn new(target: &'a Target, seed: u64) -> Self {
        Self { target, random: ChaCha8Rng::seed_from_u64(seed), executions: 0 }
    }

    /// Runs until the end, or until the first finding.
    pub fn run(&mut self, until: Until) -> Option<Finding> {
        let begun = Instant::now();
        let is_over = |executions: u64| match until {
            Until::Executions(most) => executions >= most,
            Until::Time(time) => begun.elapsed() >= time,
        };
        while !is_over(self.executions) {
            // The seeds themselves come first.
            let input = match self.target.seeds.get(usize::try_from(self.executions).unwrap_or(usize::MAX)) {
                Some(seed) => seed.clone(),
                None => mutated(&self.target.seeds, self.target.words, &mut self.random),
            };
            self.executions += 1;
            if let Some(what) = self.try_input(&input) {
                return Some(Finding { input, what });
            }
        }
        None
    }

    /// What the target does with an input that it must not do.
    fn try_input(&self, input: &[u8]) -> Option<String> {
        let begun = processor_time();
        let result = catch_unwind(AssertUnwindSafe(|| (self.target.run)(input)));
        match result {
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                Some(text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned())
            }
            Ok(()) => {
                let took = processor_time().saturating_sub(begun);
                (took > MAX_TIME).then(|| format!("it took {took:?} of the processor"))
            }
        }
    }
}

/// How long this thread has computed: other work on the machine makes no input slow. 0 where the kernel does not count it.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Enough to run through each target with the kinds of change; `just fuzz` runs longer.
    #[test]
    fn no_target_panics_at_some_hundred_changed_inputs() {
        assert_no_panic(8);
    }

    mod slow {
        /// So many that each kind of change meets each seed.
        #[test]
        fn no_target_panics_at_a_few_thousand_changed_inputs() {
            super::assert_no_panic(1);
        }
    }

    /// Runs each target with its number of inputs, or a part of it.
    fn assert_no_panic(part: u64) {
        for target in targets() {
            let inputs = target.smoke_executions / part;
            let mut fuzzer = Fuzzer::new(&target, 31);
            if let Some(Finding { input, what }) = fuzzer.run(Until::Executions(inputs)) {
                panic!("{}: {what}\n{:?}", target.name, String::from_utf8_lossy(&input));
            }
            assert_eq!(fuzzer.executions, inputs, "{}", target.name);
        }
    }

    #[test]
    fn a_panic_is_found_with_its_input_and_the_same_seed_finds_it_again() {
        let target = Target {
            name: "test",
            about: "",
            seeds: vec![b"count = 17".to_vec()],
            words: &[],
            smoke_executions: 0,
            run: |input| assert!(!input.windows(20).any(|part| part == b"18446744073709551615"), "too large"),
        };
        let find = || Fuzzer::new(&target, 1).run(Until::Executions(100_000));
        let found = find().expect("a large number is one of the changes");
        assert_eq!(found.what, "too large");
        assert_eq!(find(), Some(found));
    }
}
