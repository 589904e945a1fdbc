use super::*;

const SLOW: Duration = Duration::from_millis(30);

fn breaker() -> (Breaker, Instant) {
    let now = Instant::now();
    (Breaker::new(BreakerConfig::default(), Gauge::default(), now), now)
}

fn call(breaker: &Breaker, success: bool, now: Instant) {
    breaker.permit(now).expect("a permit").record(success, now);
}

/// A call that succeeds after `took`.
fn lasting(breaker: &Breaker, took: Duration, now: Instant) {
    breaker.permit(now).expect("a permit").record(true, now + took);
}

fn opened() -> (Breaker, Instant) {
    let (breaker, now) = breaker();
    (0..5).for_each(|_| call(&breaker, false, now));
    assert_eq!(breaker.state(), BreakerState::Open);
    (breaker, now)
}

fn wait(breaker: &Breaker, now: Instant) -> Duration {
    Duration::from_nanos(breaker.open_until.load(Ordering::Relaxed) - breaker.nanos(now))
}

#[test]
fn breaker_opens_and_closes() {
    let (breaker, now) = opened();
    assert!(breaker.permit(now).is_none(), "open refuses");
    let later = now + Duration::from_millis(100);
    let first = breaker.permit(later).expect("a probe");
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    let second = breaker.permit(later).expect("a second probe");
    assert!(breaker.permit(later).is_none(), "no third probe at the same time");
    first.record(true, later);
    assert_eq!(breaker.state(), BreakerState::HalfOpen, "one success is not enough");
    second.record(true, later);
    assert_eq!(breaker.state(), BreakerState::Closed);
    assert_eq!(breaker.instruments.state.get(), 0);
    assert_eq!((breaker.instruments.opened.get(), breaker.instruments.refused.get()), (1, 2));
}

#[test]
fn who_waits_longer_calls_less_slow() {
    let (ms, default) = (Duration::from_millis, BreakerConfig::default());
    assert_eq!(default.slow_from(ms(50)), SLOW);
    assert_eq!(default.slow_from(ms(10)), SLOW, "not less");
    assert_eq!(default.slow_from(ms(200)), ms(120), "a network of 35 ms closes it");
    assert_eq!(BreakerConfig { slow_call: Some(ms(7)), ..default }.slow_from(ms(200)), ms(7), "what is said counts");
    let config = crate::RedisConfig { command_timeout: ms(200), ..crate::RedisConfig::new("") };
    assert_eq!(config.breaker().slow_call, Some(ms(120)));
}

#[test]
fn a_share_of_failures_opens_it_only_with_enough_calls() {
    let (breaker, now) = breaker();
    for i in 0..9 {
        call(&breaker, i % 2 == 0, now);
    }
    assert_eq!(breaker.state(), BreakerState::Closed, "nine calls are too few");
    call(&breaker, false, now);
    assert_eq!(breaker.state(), BreakerState::Open, "five of ten failed");
}

#[test]
fn a_share_of_slow_calls_opens_it_although_none_failed() {
    let slow = SLOW;
    let (breaker, now) = breaker();
    for i in 0..100 {
        let took = if i % 10 >= 3 { slow } else { Duration::ZERO };
        lasting(&breaker, took, now);
    }
    assert_eq!(breaker.state(), BreakerState::Closed, "70 % are slow");
    for _ in 0..50 {
        lasting(&breaker, slow, now);
        if breaker.state() == BreakerState::Open {
            return;
        }
    }
    panic!("120 of 150 are slow");
}

#[test]
fn calls_just_below_slow_do_not_count_as_slow() {
    let (breaker, now) = breaker();
    let nearly = SLOW - Duration::from_nanos(1);
    (0..1000).for_each(|_| lasting(&breaker, nearly, now));
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn a_slow_probe_opens_it_again() {
    let (breaker, now) = opened();
    breaker.try_now();
    lasting(&breaker, SLOW, now);
    assert_eq!(breaker.state(), BreakerState::Open);
    assert_eq!(breaker.instruments.opened.get(), 1, "it was not closed in between");
}

#[test]
fn failures_older_than_the_window_are_forgotten() {
    let (breaker, now) = breaker();
    for i in 0..9 {
        call(&breaker, i % 2 == 0, now);
    }
    let later = now + Duration::from_secs(3);
    for i in 0..9 {
        call(&breaker, i % 3 != 0, later);
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn a_failed_probe_opens_it_for_longer_up_to_the_cap() {
    let (breaker, mut now) = opened();
    for _ in 0..8 {
        now += Duration::from_millis(500);
        call(&breaker, false, now);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert!(wait(&breaker, now) <= Duration::from_millis(500));
    }
    assert!(wait(&breaker, now) >= Duration::from_millis(250), "half of the cap at least");
}

#[test]
fn waits_differ_so_that_many_breakers_do_not_try_at_once() {
    let waits: std::collections::HashSet<_> = (0..20)
        .map(|_| {
            let (breaker, now) = opened();
            wait(&breaker, now)
        })
        .collect();
    assert!(waits.len() > 10, "{waits:?}");
}

#[test]
fn a_dropped_probe_makes_room_for_another() {
    let (breaker, now) = opened();
    breaker.try_now();
    let _first = breaker.permit(now).expect("a probe");
    drop(breaker.permit(now).expect("a second probe"));
    assert!(breaker.permit(now).is_some());
}

#[test]
fn an_answer_from_before_the_change_does_not_count() {
    let (breaker, now) = breaker();
    let slow = breaker.permit(now).expect("a permit");
    (0..5).for_each(|_| call(&breaker, false, now));
    breaker.try_now();
    slow.record(false, now);
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
}

/// Threads that hammer a breaker which opens, probes and closes: never more probes at a time than allowed.
#[test]
fn probes_stay_few_under_many_threads() {
    use std::sync::atomic::AtomicU32;
    let (breaker, now) = opened();
    let (trying, most) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for i in 0..20_000_u32 {
                    let Some(permit) = breaker.permit(now + Duration::from_secs(1)) else { continue };
                    if permit.probe {
                        most.fetch_max(trying.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        trying.fetch_sub(1, Ordering::SeqCst);
                        // Dropped: counts as no call, so that it stays half-open.
                    } else {
                        permit.record(i % 2 == 0, now);
                    }
                }
            });
        }
    });
    let most = most.load(Ordering::SeqCst);
    assert!((1..=BreakerConfig::default().probes).contains(&most), "{most}");
}
