//! Metrics, terms and rules in words: the same words that a rule is written in.

use std::fmt;

use super::quantity::as_percent;
use super::{Limit, Metric, Op, Rule, Scenario, Term};
use crate::journal::{StaleKind, WrongKind};

/// Every metric but the percentiles, by name.
pub(super) const METRICS: &[(&str, Metric)] = &[
    ("mean", Metric::Mean),
    ("max", Metric::Max),
    ("requests", Metric::Requests),
    ("throughput", Metric::Throughput),
    ("errors", Metric::Errors),
    ("availability", Metric::Availability),
    ("hit_rate", Metric::HitRate),
    ("hits", Metric::Hits),
    ("misses", Metric::Misses),
    ("fallbacks", Metric::Fallbacks),
    ("wrong_answers", Metric::WrongAnswers),
    ("wrong_answers.other_item", Metric::WrongOf(WrongKind::OtherItem)),
    ("wrong_answers.other_user", Metric::WrongOf(WrongKind::OtherUser)),
    ("wrong_answers.never_written", Metric::WrongOf(WrongKind::NeverWritten)),
    ("wrong_answers.torn", Metric::WrongOf(WrongKind::Torn)),
    ("wrong_answers.lost", Metric::WrongOf(WrongKind::Lost)),
    ("stale", Metric::Stale),
    ("non_monotonic", Metric::NonMonotonic),
    ("stale.transient", Metric::StaleOf(StaleKind::Transient)),
    ("stale.stuck", Metric::StaleOf(StaleKind::Stuck)),
    ("stale.beyond_ttl", Metric::StaleOf(StaleKind::BeyondTtl)),
    ("stale.source", Metric::StaleOf(StaleKind::SourceRegressed)),
    ("stale_age.max", Metric::StaleAgeMax),
    ("db_queries", Metric::DbQueries),
    ("db_queries_per_request", Metric::DbQueriesPerRequest),
    ("redis_memory", Metric::RedisMemory),
    ("evictions", Metric::Evictions),
    ("app_memory", Metric::AppMemory),
    ("recovery", Metric::Recovery),
    ("notice", Metric::Notice),
    ("hit_rate_recovery", Metric::HitRateRecovery),
    ("refill", Metric::Refill),
    ("log_bytes_per_request", Metric::LogBytesPerRequest),
    ("app_memory_growth", Metric::AppMemoryGrowth),
    ("app_files", Metric::AppFiles),
    ("app_files_growth", Metric::AppFilesGrowth),
    ("redis_clients", Metric::RedisClients),
    ("redis_clients_growth", Metric::RedisClientsGrowth),
    ("db_connections", Metric::DbConnections),
    ("db_connections_growth", Metric::DbConnectionsGrowth),
];

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ResponsePercentile(share) => write!(f, "p{}", as_percent(*share)),
            Self::ServicePercentile(share) => write!(f, "service.p{}", as_percent(*share)),
            Self::StaleAge(share) => write!(f, "stale_age.p{}", as_percent(*share)),
            // No rule speaks of it.
            Self::StaleOf(StaleKind::Unclassified) => f.write_str("stale.unsorted"),
            named => {
                let name = METRICS.iter().find(|(_, metric)| metric == named).map_or("", |(name, _)| name);
                f.write_str(name)
            }
        }
    }
}

impl Op {
    /// As it stands in a rule.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::AtLeast => ">=",
            Self::More => ">",
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Term {
    /// The term as it stands in a rule of this scenario: `p95 on cached for 'read post' in steady`.
    pub fn display<'a>(&'a self, scenario: &'a Scenario) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| {
            write!(f, "{}", self.metric)?;
            if let Some(path) = self.path {
                write!(f, " on {}", path.as_str())?;
            }
            if let Some(request) = self.request.and_then(|index| scenario.traffic.requests.get(index)) {
                write!(f, " for {}", name(&request.name))?;
            }
            if let Some(phase) = self.phase.and_then(|index| scenario.phases.get(index)) {
                write!(f, " in {}", name(&phase.name))?;
            }
            Ok(())
        })
    }
}

impl Rule {
    /// The rule in its plainest words. Parsed again it is the same rule.
    pub fn display<'a>(&'a self, scenario: &'a Scenario) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| {
            write!(f, "{} {} ", self.term.display(scenario), self.op)?;
            match &self.limit {
                Limit::Value(value) => write!(f, "{value}"),
                Limit::Of { factor, term } if *factor == 1.0 => write!(f, "{}", term.display(scenario)),
                Limit::Of { factor, term } if *factor < 1.0 => {
                    write!(f, "{}% of {}", as_percent(*factor), term.display(scenario))
                }
                Limit::Of { factor, term } => write!(f, "{factor}x {}", term.display(scenario)),
            }
        })
    }
}

/// A name as a rule writes it: in quotes where it is not one plain word.
pub(super) fn name(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
        && !name.is_empty()
        && !matches!(name, "on" | "for" | "in" | "of");
    match (plain, name.contains('\'')) {
        (true, _) => name.to_owned(),
        (false, false) => format!("'{name}'"),
        (false, true) => format!("\"{name}\""),
    }
}
