//! How the processes and containers of a run are marked, so that the guard finds them after a crash.

/// Environment variable of every child process of a run. Its value is the run's token.
pub const RUN_VARIABLE: &str = "CACHEPROOF_RUN";

/// Environment variable of the user's commands that inject a fault, and of what they started. Its value is the run's token.
pub const COMMAND_VARIABLE: &str = "CACHEPROOF_COMMAND";

/// Label of every container of a run. Its value is the run's token.
pub const RUN_LABEL: &str = "cacheproof.run";
