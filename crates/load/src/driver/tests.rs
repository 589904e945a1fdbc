//! The arrival clock without users: nothing is sent, so what is due stays in the queue.

use super::*;
use cacheproof_core::scenario::{Arrivals, Scenario, parse};

/// Many more arrivals than a machine can queue in the time in which they are due.
const RATE: f64 = 1e8;
const LASTS: Duration = Duration::from_millis(20);

fn scenario() -> Scenario {
    let text = "title = 't'\n[target]\nkind = 'http'\nurl = 'http://localhost:1'\n[traffic]\nrate = '1/s'\n\
        [[traffic.request]]\nname = 'r'\nget = '/'\n[[phase]]\nname = 'p'\nlasts = '1s'\n";
    parse("t", text).unwrap_or_else(|errors| panic!("{:?}", errors.problems()))
}

fn driver(attack: JoinHandle<Result<u64, GooseError>>) -> Driver {
    let (arrivals, queue) = async_channel::unbounded();
    let exchange = Exchange::new(scenario(), vec!["http://localhost:1".to_owned()]);
    let shared = Arc::new(Shared::new(exchange, Arc::new(Recorder::new(Vec::new(), 1)), queue));
    let load_model = LoadModel::Open { rate: RATE, arrivals: Arrivals::Constant, connections: 1 };
    Driver { shared, arrivals, attack, load_model, seed: 1, queue_limit: QUEUE_LIMIT }
}

#[tokio::test]
async fn a_phase_whose_arrivals_are_all_due_lets_others_run_and_ends_when_it_is_stopped() {
    let driver = driver(tokio::spawn(async { Ok(0) }));
    let (end, ended) = watch::channel(false);
    let (_may_end, may_end) = watch::channel(true);
    // In one task, as in a run: what notices Ctrl-C is polled only while the phase waits.
    tokio::join!(driver.phase(0, LASTS, may_end, ended), async { end.send_replace(true) });
    let planned = (RATE * LASTS.as_secs_f64()) as u64;
    assert!(driver.backlog() < planned / 2, "{} of {planned} arrivals were queued before the stop", driver.backlog());
}

#[tokio::test]
async fn a_stop_while_answers_are_awaited_does_not_wait_for_them() {
    let goose = tokio::spawn(async {
        while !goose::is_killswitch_triggered() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(7)
    });
    let driver = driver(goose);
    // A request that is never answered, and one that was never sent.
    driver.shared.in_flight.store(1, Ordering::SeqCst);
    driver.arrivals.try_send(Arrival { phase: 0, index: 0, intended: Instant::now() }).unwrap();
    let recorder = Arc::clone(&driver.shared.recorder);
    let (interrupt, interrupted) = watch::channel(false);
    let week = Duration::from_secs(7 * 24 * 3600);
    let (stopped, ()) = tokio::join!(driver.stop(week, true, interrupted), async {
        interrupt.send_replace(true);
    });
    assert!(matches!(stopped, Ok((7, 1))), "{stopped:?}");
    assert!(recorder.take_coarse_slice(1.0, 0).cells.is_empty(), "what the user cut off is no error of the app");
}

#[tokio::test]
async fn arrivals_beyond_the_queues_limit_are_errors_at_once() {
    let mut driver = driver(tokio::spawn(async { Ok(0) }));
    driver.load_model = LoadModel::Open { rate: 1000.0, arrivals: Arrivals::Constant, connections: 1 };
    driver.queue_limit = 10;
    let (_end, ended) = watch::channel(false);
    let (_may_end, may_end) = watch::channel(true);
    driver.phase(0, LASTS, may_end, ended).await;
    assert_eq!(driver.backlog(), 10);
    let planned = ArrivalTimes::new(Arrivals::Constant, 1000.0, 1, 0).take_while(|offset| *offset < LASTS).count();
    assert!(planned > 10);
    assert_eq!(driver.shared.unsent.load(Ordering::SeqCst), planned as u64 - 10);
    assert!(!driver.shared.recorder.take_coarse_slice(1.0, 0).cells.is_empty(), "they are recorded");
}
