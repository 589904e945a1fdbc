//! Every order of events that a small deployment can go through, for each scheme and each fault.
//!
//! One key, two readers, two writers. A scheme that promises too much is refuted by the shortest list of events that leaves a
//! stale value; the one that is built must survive them all. Time is abstracted: whatever has a timeout may end at any moment.

mod scheme;
mod state;

use scheme::{FAULTS, Fault, PROMISE, Scheme, TABLE};
use state::{Deployment, Event};
use stateright::{Checker, Model};
use std::fmt::Write;
use std::time::Instant;

/// How many states there are, and the shortest way to a stale value.
fn explore(deployment: Deployment) -> (usize, Option<Vec<Event>>) {
    let checked = deployment.checker().spawn_bfs().join();
    assert!(checked.is_done());
    let refuted = checked.discovery("nothing stale").map(|path| path.into_actions());
    (checked.unique_state_count(), refuted.map(|steps| steps.iter().map(|step| step.event).collect()))
}

fn cell(scheme: Scheme, faults: &'static [Fault]) -> (usize, Option<Vec<Event>>) {
    explore(Deployment { scheme, writers: 2, relays: 1, faults, at_most: 1, window: false })
}

/// The columns of the table: no fault, and then each of [`FAULTS`].
fn columns() -> impl Iterator<Item = &'static [Fault]> {
    std::iter::once(&[][..]).chain(FAULTS.chunks(1))
}

#[test]
fn each_weaker_scheme_is_refuted_where_it_should_be_and_the_promise_nowhere() {
    let (mut table, mut wrong) = (String::new(), Vec::new());
    writeln!(
        table,
        "{:36}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}",
        "", "no fault", "evict", "flush", "restart", "restore", "lost"
    )
    .expect("a string");
    for (scheme, expected) in TABLE {
        let mut found = String::new();
        write!(table, "{:36}", scheme.name).expect("a string");
        for faults in columns() {
            let (_, refuted) = cell(scheme, faults);
            found.push(if refuted.is_some() { 'x' } else { '.' });
            let shown = refuted.as_ref().map_or("holds".into(), |steps| format!("stale {}", steps.len()));
            write!(table, "{shown:>9}").expect("a string");
        }
        table.push('\n');
        if found != expected {
            wrong.push(format!("{}: {found}, expected {expected}", scheme.name));
        }
    }
    println!("The number of events in the shortest way to a stale value:\n{table}");
    assert!(wrong.is_empty(), "{wrong:#?}\n{table}");
}

#[test]
fn the_shortest_refutation_of_delete_after_commit_is_the_well_known_race() {
    let (_, refuted) = cell(TABLE[0].0, &[]);
    let events = refuted.expect("refuted");
    let at = |wanted: fn(&Event) -> bool| events.iter().rposition(wanted).expect("it is part of the race");
    let loads = at(|event| matches!(event, Event::Loads(..)));
    let commits = at(|event| matches!(event, Event::Commits(..)));
    let fills = at(|event| matches!(event, Event::Fills(..)));
    assert!(loads < commits && commits < fills, "{events:#?}");
}

fn must_hold(what: &str, deployment: Deployment) {
    let start = Instant::now();
    let (states, refuted) = explore(deployment);
    println!("{what}: {states} states in {:.1?}", start.elapsed());
    assert_eq!(refuted, None, "{what}");
}

const ONE: Deployment =
    Deployment { scheme: PROMISE, writers: 1, relays: 1, faults: &FAULTS, at_most: 1, window: true };

#[test]
fn the_promise_holds_through_two_faults_of_any_kind() {
    must_hold("two writers, two faults", Deployment { writers: 2, at_most: 2, window: false, ..ONE });
}

#[test]
fn the_promise_holds_for_a_reader_that_looked_at_the_watermark_earlier() {
    must_hold("a trust window, two faults", Deployment { at_most: 2, ..ONE });
}

#[test]
fn the_promise_holds_with_two_relays() {
    must_hold("two relays", Deployment { relays: 2, window: false, ..ONE });
}
