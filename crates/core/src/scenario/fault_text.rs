//! Faults in words: for people, and as a scenario writes them.

use std::time::Duration;

use super::{ConnectionScope, Direction, FaultAction, FaultSpec, LinkFault, LinkFaultKind, Quantity};
use crate::metrics::as_percent;

/// A command is shown up to so many characters.
const MAX_COMMAND_CHARS: usize = 60;

pub(super) fn describe(spec: &FaultSpec) -> String {
    let word = spec.action.as_str();
    let time = Quantity::Time;
    let mut details = Vec::new();
    match &spec.action {
        FaultAction::Restart { keep_data: false } => details.push("without its data".to_owned()),
        FaultAction::Failover { lagging: true } => details.push("to a lagging replica".to_owned()),
        FaultAction::Partition => details.push("from redis".to_owned()),
        FaultAction::Command { run, .. } => {
            let run = crate::secrets::mask_command(run).split_whitespace().collect::<Vec<_>>().join(" ");
            return match run.char_indices().nth(MAX_COMMAND_CHARS) {
                Some((end, _)) => format!("run ({}…)", &run[..end]),
                None => format!("run ({run})"),
            };
        }
        FaultAction::Link(link) => {
            match &link.kind {
                LinkFaultKind::Latency { delay, jitter: Duration::ZERO } => details.push(time(*delay).to_string()),
                LinkFaultKind::Latency { delay, jitter } => {
                    details.push(format!("{} ± {}", time(*delay), time(*jitter)));
                }
                LinkFaultKind::Bandwidth { bytes } => details.push(format!("{}/s", Quantity::Bytes(*bytes))),
                LinkFaultKind::Slice { size, gap } => {
                    details.push(format!("{} every {}", Quantity::Bytes(*size), time(*gap)));
                }
                _ => {}
            }
            match link.direction {
                Direction::Both => {}
                Direction::ToServer => details.push("to the server".to_owned()),
                Direction::ToClient => details.push("to the client".to_owned()),
            }
            let which = match link.connection_scope {
                ConnectionScope::All => "connections",
                ConnectionScope::Live => "live connections",
                ConnectionScope::New => "new connections",
            };
            if link.share < 1.0 {
                details.push(format!("{}% of {which}", as_percent(link.share)));
            } else if link.connection_scope != ConnectionScope::All {
                details.push(which.to_owned());
            }
        }
        _ => {}
    }
    let victim = spec.victim;
    if details.is_empty() { format!("{word} {victim}") } else { format!("{word} {victim} ({})", details.join(", ")) }
}

pub(super) fn to_toml(spec: &FaultSpec) -> String {
    let mut keys: Vec<(&str, String)> = Vec::new();
    let time = |time: Duration| Quantity::Time(time).to_string();
    match &spec.action {
        FaultAction::Command { run, undo, check } => {
            keys.push(("run", run.clone()));
            keys.extend(check.iter().map(|check| ("check", check.clone())));
            keys.extend(undo.iter().map(|undo| ("undo", undo.clone())));
        }
        action => keys.push((action.as_str(), spec.victim.to_string())),
    }
    match &spec.action {
        FaultAction::Restart { keep_data } => {
            keys.push(("data", if *keep_data { "keep" } else { "lose" }.to_owned()));
        }
        FaultAction::Failover { lagging: true } => keys.push(("to", "lagging".to_owned())),
        FaultAction::Link(link) => link_keys(link, &mut keys),
        _ => {}
    }
    if !spec.after.is_zero() {
        keys.push(("after", time(spec.after)));
    }
    keys.extend(spec.lasts.map(|lasts| ("lasts", time(lasts))));
    keys.extend(spec.every.map(|every| ("every", time(every))));
    let keys: Vec<String> =
        keys.into_iter().map(|(key, value)| format!("{key} = {}", toml::Value::from(value))).collect();
    format!("{{ {} }}", keys.join(", "))
}

fn link_keys(link: &LinkFault, keys: &mut Vec<(&str, String)>) {
    match &link.kind {
        LinkFaultKind::Latency { delay, jitter } => {
            keys.push(("delay", Quantity::Time(*delay).to_string()));
            if !jitter.is_zero() {
                keys.push(("jitter", Quantity::Time(*jitter).to_string()));
            }
        }
        LinkFaultKind::Bandwidth { bytes } => keys.push(("rate", Quantity::Bytes(*bytes).to_string())),
        LinkFaultKind::Slice { size, gap } => {
            keys.push(("size", Quantity::Bytes(*size).to_string()));
            keys.push(("gap", Quantity::Time(*gap).to_string()));
        }
        _ => {}
    }
    match link.direction {
        Direction::Both => {}
        Direction::ToServer => keys.push(("direction", "to_server".to_owned())),
        Direction::ToClient => keys.push(("direction", "to_client".to_owned())),
    }
    if link.share < 1.0 {
        keys.push(("share", Quantity::Share(link.share).to_string()));
    }
    match link.connection_scope {
        ConnectionScope::All => {}
        ConnectionScope::Live => keys.push(("connections", "live".to_owned())),
        ConnectionScope::New => keys.push(("connections", "new".to_owned())),
    }
}
