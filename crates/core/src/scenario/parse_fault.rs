//! One fault of a phase: what is done, to whom, how and when, and whether it makes sense.

use std::time::Duration;

use super::problem::{Problem, nearest};
use super::reader::{Located, Section};
use super::{
    ConnectionScope, Direction, FaultAction, FaultSpec, LinkFault, LinkFaultKind, Provider, Quantity, SafetySpec,
    StackSpec, TargetSpec, Victim,
};

/// The shortest delay, the widest bandwidth and the largest piece that can be seen to have an effect.
const MIN_DELAY: Duration = Duration::from_millis(1);
const MAX_BANDWIDTH: u64 = 64 << 20;
const MAX_SLICE: u64 = 64 << 10;

/// The words that say what is done, each with the keys that say how.
pub(super) const FAULT_KEYWORDS: [(&str, &[&str]); 17] = [
    ("kill", &[]),
    ("stop", &[]),
    ("pause", &[]),
    ("restart", &["data"]),
    ("flush", &[]),
    ("fill_memory", &[]),
    ("fill_clients", &[]),
    ("latency", &["delay", "jitter", "direction", "share", "connections"]),
    ("bandwidth", &["rate", "direction", "share", "connections"]),
    ("refuse", &[]),
    ("reset", &["share", "connections"]),
    ("black_hole", &["direction", "share", "connections"]),
    ("slice", &["size", "gap", "direction", "share", "connections"]),
    ("half_open", &["share", "connections"]),
    ("partition", &[]),
    ("failover", &["to"]),
    ("run", &["undo", "check"]),
];

/// Keys that every fault may have.
const TIMING_KEYS: [&str; 3] = ["after", "lasts", "every"];

/// What a fault is checked against.
#[derive(Clone, Copy)]
pub(super) struct FaultCheckContext<'a> {
    pub(super) stack: &'a StackSpec,
    pub(super) target: &'a TargetSpec,
    pub(super) safety: &'a SafetySpec,
    /// How long the phase lasts, where that is known.
    pub(super) phase: Option<Duration>,
}

/// Reads one fault.
pub(super) fn fault(section: &Section<'_>, context: FaultCheckContext<'_>) -> Option<FaultSpec> {
    let (word, keys) = fault_keyword(section)?;
    for (name, _) in section.entries() {
        let known = name.value == word || TIMING_KEYS.contains(&name.value) || keys.contains(&name.value);
        let belongs: Vec<&str> =
            FAULT_KEYWORDS.iter().filter(|(_, keys)| keys.contains(&name.value)).map(|(word, _)| *word).collect();
        if !known && !belongs.is_empty() {
            let help = match keys {
                [] => format!("leave it out; it belongs to {}", belongs.join(", ")),
                keys => {
                    format!("{word} takes {}; \"{}\" belongs to {}", keys.join(", "), name.value, belongs.join(", "))
                }
            };
            let message = format!("\"{}\" says nothing about {word}", name.value);
            section.problems.add(Problem::new(message).at(name.span).help(help));
        }
    }
    let reader = FaultParser { section, context };
    let victim = if word == "run" { Some(Victim::Custom) } else { reader.victim(word) };
    let action = reader.action(word);
    let at_once = action.as_ref().is_some_and(FaultAction::is_instantaneous);
    let (after, lasts, every) = reader.when(word, at_once);
    Some(FaultSpec { action: action?, victim: victim?, after, lasts, every })
}

/// The one word that says what is done.
fn fault_keyword(section: &Section<'_>) -> Option<(&'static str, &'static [&'static str])> {
    let mut found = FAULT_KEYWORDS.iter().filter(|(word, _)| section.has(word));
    let Some((word, keys)) = found.next() else {
        // Of a word that is only misspelt, what is said of unknown keys says it better.
        if section.entries().any(|(name, _)| nearest(name.value, FAULT_KEYWORDS.map(|(word, _)| word)).is_some()) {
            return None;
        }
        let words = FAULT_KEYWORDS.map(|(word, _)| word).join(", ");
        let problem = Problem::new(format!("{} does not say what to break", section.place));
        section.problems.add(problem.at(section.span.clone()).label("nothing is broken").help(format!(
            "add one of {words}, each with whom it hits: kill = \"redis\", latency = \"postgres\", run = \"command\""
        )));
        return None;
    };
    if let Some((second, _)) = found.next() {
        let span = section.key_span(second).unwrap_or_default();
        let help = format!("write faults = [{{ {word} = … }}, {{ {second} = … }}] for both at once");
        section.problems.add(Problem::new(format!("a fault is either {word} or {second}")).at(span).help(help));
        return None;
    }
    Some((*word, *keys))
}

struct FaultParser<'a> {
    section: &'a Section<'a>,
    context: FaultCheckContext<'a>,
}

impl FaultParser<'_> {
    fn refuse(&self, span: std::ops::Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.section.problems.add(Problem::new(message).at(span).help(help));
    }

    /// Complains of the value of a key.
    fn refuse_value(&self, key: &str, message: impl Into<String>, help: impl Into<String>) {
        let span = self.section.get(key).map_or(self.section.span.clone(), |value| value.span());
        self.refuse(span, message, help);
    }

    fn victim(&self, word: &str) -> Option<Victim> {
        let text = self.section.string(word)?;
        let instances = self.context.target.instances;
        let mut known = vec![
            ("redis".to_owned(), Victim::Redis),
            ("redis replica".to_owned(), Victim::RedisReplica),
            ("sentinels".to_owned(), Victim::Sentinels),
            ("postgres".to_owned(), Victim::Postgres),
            ("app".to_owned(), Victim::App(None)),
        ];
        known.extend((1..=instances).map(|number| (format!("app {number}"), Victim::App(Some(number)))));
        let number = text.value.strip_prefix("app ").and_then(|number| number.parse::<usize>().ok());
        if let Some(number) = number.filter(|number| *number == 0 || *number > instances) {
            let message = match instances {
                1 => format!("there is no app {number}: one instance runs"),
                count => format!("there is no app {number}: {count} instances run"),
            };
            self.refuse(
                text.span,
                message,
                "instances are counted from 1; instances = 2 in [target] makes two of them",
            );
            return None;
        }
        let known: Vec<(&str, Victim)> = known.iter().map(|(name, victim)| (name.as_str(), *victim)).collect();
        let victim = self.section.one_of(word, &known)?;
        self.check_applicable(word, &victim);
        Some(victim.value)
    }

    /// Whether the word makes sense for the victim, and whether the victim is there and may be broken.
    fn check_applicable(&self, word: &str, victim: &Located<Victim>) {
        let app = matches!(victim.value, Victim::App(_));
        let server = matches!(victim.value, Victim::Redis | Victim::RedisReplica | Victim::Postgres);
        let fits = match word {
            "kill" | "stop" | "pause" | "restart" => true,
            "flush" | "fill_memory" | "failover" => victim.value == Victim::Redis,
            "fill_clients" => matches!(victim.value, Victim::Redis | Victim::Postgres),
            "partition" => app,
            _ => server,
        };
        if !fits {
            let help = match word {
                "flush" | "fill_memory" | "failover" => format!("write {word} = \"redis\""),
                "fill_clients" => "write fill_clients = \"redis\" or \"postgres\"".to_owned(),
                "partition" => "write partition = \"app 2\" for the instance that is cut off from redis; \
                                black_hole = \"redis\" cuts off all of them"
                    .to_owned(),
                _ if app => format!(
                    "requests reach the app without a proxy in between: write {word} = \"redis\" or \"postgres\" for \
                     the app's connections, or pause = \"{}\"",
                    victim.value
                ),
                _ => format!("write {word} = \"redis\", \"redis replica\" or \"postgres\""),
            };
            self.refuse(victim.span.clone(), format!("{word} cannot be done to {}", victim.value), help);
            return;
        }
        if word == "partition" && victim.value == Victim::App(None) && self.context.target.instances > 1 {
            let message = "a partition cuts one instance off, and there are several";
            self.refuse(victim.span.clone(), message, "write partition = \"app 1\"");
        }
        if let Some((message, help)) = self.missing(word, victim.value) {
            self.refuse(victim.span.clone(), message, help);
        }
        match (word, &self.context.stack.redis) {
            ("fill_memory", Some(redis)) if redis.maxmemory.is_none() && redis.provider != Provider::External => {
                let message = "this redis has no limit, so it is never full";
                self.refuse(victim.span.clone(), message, "add maxmemory = \"64mb\" to [stack.redis]");
            }
            _ => {}
        }
    }

    /// Why the victim is not there or may not be broken, with what to write.
    fn missing(&self, word: &str, victim: Victim) -> Option<(String, String)> {
        let FaultCheckContext { stack, target, .. } = self.context;
        let redis = stack.redis.as_ref().map(|redis| redis.provider);
        match victim {
            Victim::Redis => self.check_server_allowed(word, victim, redis, "redis"),
            Victim::Postgres => self.check_server_allowed(
                word,
                victim,
                stack.postgres.as_ref().map(|postgres| postgres.provider),
                "postgres",
            ),
            Victim::RedisReplica if !stack.has_replica() => Some((
                "this redis has no replica".to_owned(),
                "write topology = \"sentinel\" (or \"cluster\") in [stack.redis]".to_owned(),
            )),
            Victim::Sentinels if !stack.has_sentinels() => {
                Some(("there are no sentinels".to_owned(), "write topology = \"sentinel\" in [stack.redis]".to_owned()))
            }
            Victim::App(_) if word == "partition" => {
                if redis.is_none() {
                    return Some(("there is no redis to cut it off from".to_owned(), "add [stack.redis]".to_owned()));
                }
                (!target.is_started()).then(|| {
                    let message = "only the connections of an app that cacheproof started are known";
                    (message.to_owned(), "add start = [\"program\", \"argument\"] to [target]".to_owned())
                })
            }
            Victim::App(_) => (!target.is_started()).then(|| {
                let message = "cacheproof breaks only an app that it started".to_owned();
                let help = "add start = [\"program\", \"argument\"] to [target], or break it by a command of your own: \
                            { run = \"…\", undo = \"…\" }";
                (message, help.to_owned())
            }),
            _ => None,
        }
    }

    /// The same for a server: it is there, and its own or named by the scenario.
    fn check_server_allowed(
        &self,
        word: &str,
        victim: Victim,
        provider: Option<Provider>,
        table: &str,
    ) -> Option<(String, String)> {
        let FaultCheckContext { stack, target, safety, .. } = self.context;
        let external = provider == Some(Provider::External);
        let process = matches!(word, "kill" | "stop" | "pause" | "restart");
        let data = matches!(word, "flush" | "fill_memory" | "fill_clients" | "failover");
        if provider.is_none() {
            Some((format!("there is no {table} to {word}"), format!("add [stack.{table}]")))
        } else if external && process && !stack.allows_process_faults(victim) {
            Some((
                format!("cacheproof never breaks an external server, and {table} is one"),
                format!(
                    "let cacheproof start it: provider = \"auto\" in [stack.{table}]; or name there the container of \
                     yours that may be broken: container = \"name\"; or break it by a command of your own: \
                     {{ run = \"…\", undo = \"…\" }}"
                ),
            ))
        } else if external && data && !safety.allow.contains(&victim) {
            Some((
                format!("{table} is external, and this scenario does not allow {word} of it"),
                format!("add allow = [\"{table}\"] to [safety] if what is in it may be lost"),
            ))
        } else if !process && !data && !target.is_started() {
            Some((
                "an app that runs already does not go through cacheproof's proxy".to_owned(),
                "add start = [\"program\", \"argument\"] to [target], so that cacheproof tells it the way".to_owned(),
            ))
        } else {
            None
        }
    }

    fn action(&self, word: &str) -> Option<FaultAction> {
        Some(match word {
            "kill" => FaultAction::Kill,
            "stop" => FaultAction::Stop,
            "pause" => FaultAction::Pause,
            "restart" => FaultAction::Restart { keep_data: self.keep_data()? },
            "flush" => FaultAction::Flush,
            "fill_memory" => FaultAction::FillMemory,
            "fill_clients" => FaultAction::FillClients,
            "partition" => FaultAction::Partition,
            "failover" => {
                let lagging = self.section.one_of("to", &[("lagging", true), ("best", false)]);
                if !self.context.stack.has_sentinels() && self.context.stack.redis.is_some() {
                    let help = "write topology = \"sentinel\" in [stack.redis]";
                    self.refuse_value(word, "only sentinels fail over, and there are none", help);
                }
                FaultAction::Failover { lagging: lagging.is_some_and(|lagging| lagging.value) }
            }
            "run" => FaultAction::Command {
                run: self.command("run")?,
                undo: self.command("undo"),
                check: self.command("check"),
            },
            _ => FaultAction::Link(self.link(word)?),
        })
    }

    fn command(&self, key: &str) -> Option<String> {
        let command = self.section.string(key)?;
        if command.value.trim().is_empty() {
            self.refuse(
                command.span,
                format!("\"{key}\" is not a command"),
                format!("write {key} = \"systemctl stop x\""),
            );
            return None;
        }
        Some(command.value.to_owned())
    }

    /// Whether a restarted victim keeps its data. By default as it is configured.
    fn keep_data(&self) -> Option<bool> {
        let redis = self.section.string("restart").is_some_and(|victim| victim.value.starts_with("redis"));
        let on_disk = self.context.stack.redis.as_ref().is_none_or(|redis| {
            // How an external server is configured is not known here.
            redis.appendonly || redis.provider == Provider::External
        });
        let kept = !redis || on_disk;
        if !self.section.has("data") {
            return Some(kept);
        }
        let keep = self.section.one_of("data", &[("keep", true), ("lose", false)])?.value;
        if keep && !kept {
            let message = "this redis keeps nothing on its disk, so a restart loses its data";
            self.refuse_value("data", message, "add appendonly = true to [stack.redis], or write data = \"lose\"");
        } else if !keep && !redis {
            self.refuse_value("data", "only redis can be restarted without its data", "leave it out");
        } else if !keep && self.context.stack.redis.as_ref().is_some_and(|redis| redis.provider == Provider::External) {
            let message = "cacheproof deletes no data that it did not make";
            self.refuse_value("data", message, "write data = \"keep\", or flush it, which [safety] must allow");
        }
        Some(keep)
    }

    fn link(&self, word: &str) -> Option<LinkFault> {
        let section = self.section;
        let needed = |key: &str, example: &str| {
            if !section.has(key) {
                section.missing(key, example);
            }
        };
        let kind = match word {
            "latency" => {
                needed("delay", "delay = \"50ms\"");
                let delay = section.time("delay", false, "delay = \"50ms\"");
                let jitter = section.time("jitter", true, "jitter = \"10ms\"");
                if let (Some(delay), Some(jitter)) = (&delay, &jitter)
                    && jitter.value > delay.value
                {
                    let message = "a jitter longer than the delay would need bytes from the future";
                    let help = format!("write at most jitter = \"{}\"", Quantity::Time(delay.value));
                    self.refuse(jitter.span.clone(), message, help);
                }
                if let Some(delay) = delay.as_ref().filter(|delay| delay.value < MIN_DELAY) {
                    let message =
                        "a delay of less than a millisecond cannot be told from the time that an answer takes anyway";
                    self.refuse(delay.span.clone(), message, "write delay = \"1ms\" or more");
                }
                LinkFaultKind::Latency {
                    delay: delay?.value,
                    jitter: jitter.map_or(Duration::ZERO, |jitter| jitter.value),
                }
            }
            "bandwidth" => {
                needed("rate", "rate = \"64kb\"");
                if let Some(rate) = section.get("rate")
                    && let Some(bytes) = rate.inner.get_ref().as_str().and_then(|rate| rate.strip_suffix("/s"))
                {
                    self.refuse_value("rate", "the rate of a bandwidth is a size", format!("write rate = \"{bytes}\""));
                    return None;
                }
                let bytes = section.bytes("rate", "rate = \"64kb\"")?;
                if bytes > MAX_BANDWIDTH {
                    let help = "write rate = \"64mb\" or less";
                    self.refuse_value(
                        "rate",
                        "a connection on one machine does not notice so wide a limit",
                        help.to_owned(),
                    );
                }
                LinkFaultKind::Bandwidth { bytes }
            }
            "slice" => {
                needed("size", "size = \"10b\"");
                needed("gap", "gap = \"5ms\"");
                let size = section.bytes("size", "size = \"10b\"");
                if size.is_some_and(|size| size > MAX_SLICE) {
                    let help = "write size = \"64kb\" or less";
                    self.refuse_value("size", "pieces of this size are larger than most answers", help.to_owned());
                }
                LinkFaultKind::Slice { gap: section.time("gap", false, "gap = \"5ms\"")?.value, size: size? }
            }
            "refuse" => LinkFaultKind::Refuse,
            "reset" => LinkFaultKind::Reset,
            "black_hole" => LinkFaultKind::BlackHole,
            "half_open" => LinkFaultKind::HalfOpen,
            _ => unreachable!("{word} is in FAULT_KEYWORDS, but neither action() nor link() handles it"),
        };
        let directions =
            [("both", Direction::Both), ("to_server", Direction::ToServer), ("to_client", Direction::ToClient)];
        let reaches = [("all", ConnectionScope::All), ("live", ConnectionScope::Live), ("new", ConnectionScope::New)];
        Some(LinkFault {
            kind,
            direction: section.one_of("direction", &directions).map(|at| at.value).unwrap_or_default(),
            share: section.share("share", "share = \"50%\"").unwrap_or(1.0),
            connection_scope: section.one_of("connections", &reaches).map(|at| at.value).unwrap_or_default(),
        })
    }

    /// Reads when it happens, and checks that it fits into the phase and the limits.
    fn when(&self, word: &str, at_once: bool) -> (Duration, Option<Duration>, Option<Duration>) {
        let section = self.section;
        let after = section.time("after", true, "after = \"2s\"");
        let lasts = section.time("lasts", false, "lasts = \"5s\"");
        let every = section.time("every", false, "every = \"5s\"");
        let begins = after.as_ref().map_or(Duration::ZERO, |after| after.value);
        let ends = begins + lasts.as_ref().map_or(Duration::ZERO, |lasts| lasts.value);
        if let Some(lasts) = lasts.as_ref().filter(|_| at_once) {
            let help = match word {
                "run" => "add undo = \"…\", the command that takes it back, or leave lasts out",
                _ => "leave it out",
            };
            self.refuse(lasts.span.clone(), format!("{word} is over as soon as it is done"), help);
            return (begins, None, every.map(|every| every.value));
        }
        let max = self.context.safety.max_fault;
        if let Some(phase) = self.context.phase {
            if begins >= phase || ends > phase {
                let key = if begins >= phase { "after" } else { "lasts" };
                let message = format!("the fault goes beyond its phase, which lasts {}", Quantity::Time(phase));
                let help = "after + lasts must fit into the phase; without lasts a fault is held to the phase's end";
                self.refuse_value(key, message, help);
            } else if let Some(held) = lasts.as_ref().map(|lasts| lasts.value).or(Some(phase - begins))
                && held > max
                && !at_once
            {
                let message = format!(
                    "the fault would be held for {}, longer than the {} that a fault may last",
                    Quantity::Time(held),
                    Quantity::Time(max)
                );
                let help = format!(
                    "write lasts = \"{}\" or less, or max_fault = \"{}\" in [safety]",
                    Quantity::Time(max),
                    Quantity::Time(held)
                );
                self.refuse_value("lasts", message, help);
            }
        }
        if let Some(every) = &every {
            match &lasts {
                None if !at_once => {
                    let help =
                        format!("add lasts, shorter than every: lasts = \"{}\"", Quantity::Time(every.value / 2));
                    self.refuse(every.span.clone(), "a fault that is repeated must be undone in between", help);
                }
                Some(lasts) if lasts.value >= every.value => {
                    let help = "lasts must be shorter than every";
                    self.refuse(every.span.clone(), "the fault would begin again before it is undone", help);
                }
                _ => {}
            }
        }
        (begins, lasts.map(|lasts| lasts.value), every.map(|every| every.value))
    }
}
