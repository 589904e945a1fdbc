//! What a goose user does again and again: it takes or makes an arrival, sends it and records the answer.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use goose::goose::{GooseUser, TransactionResult};

use super::{NO_PHASE, Shared};
use crate::ResponseRecord;

/// How late a timer may be. A longer delay of an idle user counts as waiting time, whatever its cause; otherwise a
/// stall of the whole machine would not show in the response times.
const TIMER_LATENESS: Duration = Duration::from_millis(10);

/// How long an idle user waits for work before goose can stop it.
const IDLE_POLL_TIMEOUT: Duration = Duration::from_millis(200);

/// How long a closed-loop user waits after it could not connect, so that a dead app causes no busy loop.
const UNREACHABLE_PAUSE: Duration = Duration::from_millis(20);

/// Takes one arrival and sends it.
pub(super) async fn open_loop_iteration(user: &mut GooseUser, shared: &Shared) -> TransactionResult {
    let idle_since = Instant::now();
    let Ok(Ok(arrival)) = tokio::time::timeout(IDLE_POLL_TIMEOUT, shared.queue.recv()).await else {
        if shared.queue.is_closed() {
            tokio::time::sleep(IDLE_POLL_TIMEOUT).await;
        }
        return Ok(());
    };
    if shared.stopping.load(Ordering::SeqCst) {
        shared.record_unsent(arrival);
        return Ok(());
    }
    // A user that was idle at the intended start is woken by a timer: its lateness is the load generator's. A user that
    // was still busy then is late because of the app, and that counts.
    let idle = idle_since <= arrival.intended;
    let late = !idle || arrival.intended.elapsed() > TIMER_LATENESS;
    let from = late.then_some(arrival.intended);
    send(user, shared, arrival.phase, arrival.index, from, idle.then_some(arrival.intended)).await;
    Ok(())
}

/// Sends the next request of the phase.
pub(super) async fn closed_loop_iteration(user: &mut GooseUser, shared: &Shared) -> TransactionResult {
    let phase = shared.phase.load(Ordering::SeqCst);
    if phase == NO_PHASE {
        tokio::time::sleep(Duration::from_millis(10)).await;
        return Ok(());
    }
    let index = shared.next.fetch_add(1, Ordering::SeqCst);
    if send(user, shared, phase, index, None, None).await {
        tokio::time::sleep(UNREACHABLE_PAUSE).await;
    }
    Ok(())
}

/// Sends one request and records it. `from`: the start of the response time, if not the actual send. `idle_at`: the
/// intended start, where the user was free then: how late it sends is the generator's lag. Returns whether the app
/// could not be reached.
async fn send(
    user: &mut GooseUser,
    shared: &Shared,
    phase: usize,
    index: u64,
    from: Option<Instant>,
    idle_at: Option<Instant>,
) -> bool {
    shared.in_flight.fetch_add(1, Ordering::SeqCst);
    let (request, exchanged) = shared.exchange.run(user, phase, index).await;
    shared.in_flight.fetch_sub(1, Ordering::SeqCst);
    if exchanged.reconnects > 0 {
        shared.recorder.record_reconnects(phase, exchanged.reconnects);
    }
    if let Some(reason) = exchanged.client_failure {
        shared.recorder.record_not_sent(phase, reason);
        return true;
    }
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let service = exchanged.done.duration_since(exchanged.sent);
    let response = from.map_or(service, |from| exchanged.done.duration_since(from));
    let lag = idle_at.map(|intended| nanoseconds(exchanged.sent.duration_since(intended)));
    shared.recorder.record(
        user.weighted_users_index,
        ResponseRecord {
            phase: u16::try_from(phase).unwrap_or(u16::MAX),
            path: shared.exchange.scenario.phases[phase].path,
            request: u16::try_from(request).unwrap_or(u16::MAX),
            outcome: exchanged.outcome,
            response: nanoseconds(response),
            service: nanoseconds(service),
            stale: exchanged.stale,
            judged_fresh: exchanged.judged_fresh,
            lag,
        },
    );
    exchanged.unreachable
}
