//! What limits faults, as the other crates see it.

use std::time::Duration;

use super::reader::percent;
use super::{Quantity, Rule, Victim};

/// A fault is held at most so long unless `[safety]` says otherwise.
pub const DEFAULT_MAX_FAULT_DURATION: Duration = Duration::from_secs(60);

/// What keeps faults in bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct SafetySpec {
    /// A fault is held at most so long.
    pub max_fault: Duration,
    /// When the run is given up and everything undone.
    pub abort: Vec<AbortCondition>,
    /// What must hold before anything is broken. `None`: `errors < 1%`, where a judged phase without faults
    /// comes first.
    pub steady: Option<Vec<Rule>>,
    /// External servers that may be broken.
    pub allow: Vec<Victim>,
}

impl Default for SafetySpec {
    fn default() -> Self {
        Self { max_fault: DEFAULT_MAX_FAULT_DURATION, abort: Vec::new(), steady: None, allow: Vec::new() }
    }
}

/// When a run is given up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AbortCondition {
    /// `errors > 50% for 5s`: the share of requests that failed, over so many seconds.
    Errors {
        /// Share above which it is too many, 0 to 1.
        above: f64,
        /// Over how long; whole seconds.
        over: Duration,
    },
    /// `app_memory > 1gb`: resident memory of the app's processes.
    AppMemory {
        /// Bytes above which it is too much.
        above: u64,
    },
    /// `disk < 500mb`: free space where the report is written, or in the temporary directory.
    Disk {
        /// Bytes below which it is too little.
        below: u64,
    },
}

impl std::fmt::Display for AbortCondition {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Errors { above, over } => {
                write!(formatter, "errors > {} for {}", Quantity::Share(*above), Quantity::Time(*over))
            }
            Self::AppMemory { above } => write!(formatter, "app_memory > {}", Quantity::Bytes(*above)),
            Self::Disk { below } => write!(formatter, "disk < {}", Quantity::Bytes(*below)),
        }
    }
}

/// Why a text is not an [`AbortCondition`], with what to write.
pub(super) type AbortConditionError = (String, String);

impl AbortCondition {
    pub(super) fn parse(text: &str) -> Result<Self, AbortConditionError> {
        let examples = "write \"errors > 50% for 5s\", \"app_memory > 1gb\" or \"disk < 500mb\"";
        let no = |message: String| Err((message, examples.to_owned()));
        let words: Vec<&str> = text.split_whitespace().collect();
        let value = |word: &str| word.parse::<Quantity>().map_err(|error| (error.message, error.help));
        match words.as_slice() {
            ["errors", ">", share, "for", over] => {
                let (above, over) = match (value(share)?, value(over)?) {
                    (Quantity::Share(above), Quantity::Time(over)) => (above, over),
                    (Quantity::Count(_), Quantity::Time(over)) => {
                        let help = format!("write \"errors > {} for {}\"", percent(share), Quantity::Time(over));
                        return Err((format!("errors are compared with a share, and {share} is without its %"), help));
                    }
                    _ => return no("errors are compared with a share, over a time".to_owned()),
                };
                if above >= 1.0 {
                    return no("more than all requests cannot fail".to_owned());
                }
                if over < Duration::from_secs(1) || over.subsec_nanos() != 0 || over > Duration::from_secs(600) {
                    return no("errors are looked at over 1 s to 600 s, in whole seconds".to_owned());
                }
                Ok(Self::Errors { above, over })
            }
            ["errors", ">", _] => no("this does not say over how long".to_owned()),
            ["app_memory", ">", size] => match value(size)? {
                Quantity::Bytes(above) if above > 0 => Ok(Self::AppMemory { above }),
                _ => no("memory is compared with a size".to_owned()),
            },
            ["disk", "<", size] => match value(size)? {
                Quantity::Bytes(below) if below > 0 => Ok(Self::Disk { below }),
                _ => no("free space is compared with a size".to_owned()),
            },
            _ => no("this is not a condition to abort a run on".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_to_give_up_survive_being_written_and_read() {
        for text in ["errors > 50% for 5s", "errors > 0% for 1s", "app_memory > 1gb", "disk < 500mb"] {
            assert_eq!(AbortCondition::parse(text).map(|abort| abort.to_string()), Ok(text.to_owned()));
        }
        for text in [
            "",
            "errors > 50%",
            "errors > 5 for 5s",
            "errors < 5% for 5s",
            "errors > 100% for 5s",
            "errors > 5% for 100ms",
            "disk > 1gb",
            "disk < 5",
            "app_memory > 0b",
            "cpu > 5%",
        ] {
            assert!(AbortCondition::parse(text).is_err(), "{text}");
        }
    }
}
