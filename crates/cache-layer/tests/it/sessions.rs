//! Sessions on real Redis, seen by two instances of an app.

use crate::staged::Staged;
use crate::support::{Redis, eventually};
use cache_layer::session::{KeyRing, SessionConfig, SessionConfigError, SessionError, SessionId, Sessions};
use cache_layer::{CacheConfig, MemoryConfig, MemoryStore, Metrics, NoopStore, RedisConfig, Strategy};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Data {
    count: u32,
    text: String,
}

fn data() -> Data {
    Data { count: 0, text: "top secret text".into() }
}

const OLD: &str = "old:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const NEW: &str = "new:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

/// With time to spare: a busy machine must not look like an outage.
fn settings(redis: &Redis) -> RedisConfig {
    let mut config = RedisConfig::new(redis.url());
    config.command_timeout = Duration::from_secs(10);
    config.connect_timeout = Duration::from_secs(10);
    config.request_budget = Duration::from_secs(10);
    config.connections = 2;
    config
}

async fn with(redis: RedisConfig, keys: &[&str], config: SessionConfig) -> Sessions<Data> {
    let ring = KeyRing::parse(&keys.join(",")).expect("keys");
    let sessions = Sessions::redis(redis, ring, config, Metrics::default()).expect("sessions");
    assert!(sessions.ready(Duration::from_secs(10)).await);
    sessions
}

/// Waits long for others: many requests for one user at once are not the subject of most tests.
fn patient() -> SessionConfig {
    SessionConfig { patience: Duration::from_secs(20), ..SessionConfig::default() }
}

async fn instance(redis: &Redis, keys: &[&str]) -> Sessions<Data> {
    with(settings(redis), keys, patient()).await
}

async fn is_valid(sessions: &Sessions<Data>, id: &SessionId) -> bool {
    sessions.load(id).await.expect("an answer").is_some()
}

fn names(redis: &Redis, pattern: &str) -> Vec<String> {
    redis::cmd("KEYS").arg(pattern).query(&mut redis.connect()).expect("KEYS")
}

fn record(redis: &Redis, key: &str) -> Vec<u8> {
    redis::cmd("HGET").arg(key).arg("!v").query(&mut redis.connect()).expect("HGET")
}

fn paste(redis: &Redis, key: &str, record: &[u8]) {
    redis::cmd("HSET").arg(key).arg("!v").arg(record).exec(&mut redis.connect()).expect("HSET");
}

fn left(redis: &Redis, key: &str) -> i64 {
    redis::cmd("PTTL").arg(key).query(&mut redis.connect()).expect("PTTL")
}

/// Makes so much time pass for a record, without waiting.
fn age(redis: &Redis, key: &str, left: Duration) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let end = (now + left).as_millis() as u64;
    redis::cmd("HSET").arg(key).arg("!e").arg(end).exec(&mut redis.connect()).expect("HSET");
    redis::cmd("PEXPIRE").arg(key).arg(left.as_millis() as u64).exec(&mut redis.connect()).expect("PEXPIRE");
}

#[tokio::test]
async fn what_one_instance_does_the_other_sees_at_once() {
    let redis = Redis::start();
    let (here, there) = (instance(&redis, &[OLD]).await, instance(&redis, &[OLD]).await);
    let session = here.start("alice", "Firefox", &data()).await.expect("a session");
    for _ in 0..50 {
        let seen = there.load(&session.id).await.expect("an answer").expect("a session");
        assert_eq!(seen, session);
        let changed = there.change(&session.id, |data| data.count += 1).await.expect("an answer").expect("a session");
        assert_eq!(here.load(&session.id).await.expect("an answer").expect("a session"), changed);
        let second = here.start("alice", "phone", &data()).await.expect("a session");
        assert!(is_valid(&there, &second.id).await);
        assert!(there.end(&second.id).await.expect("an answer"));
        assert!(!is_valid(&here, &second.id).await, "gone with the answer to the logout");
        assert!(!here.end(&second.id).await.expect("an answer"));
        here.change(&session.id, |data| data.count = 0).await.expect("an answer");
    }
    assert!(here.load(&SessionId::parse(&"A".repeat(43)).expect("an id")).await.expect("an answer").is_none());
    assert_eq!(names(&redis, "sessions:data:*").len(), 1, "what has ended leaves nothing behind");
}

#[tokio::test]
async fn sessions_are_listed_and_ended_by_user() {
    let redis = Redis::start();
    let (here, there) = (instance(&redis, &[OLD]).await, instance(&redis, &[OLD]).await);
    let mut sessions = Vec::new();
    for note in ["Firefox", "phone", "tablet"] {
        sessions.push(here.start("alice", note, &data()).await.expect("a session"));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let bob = here.start("bob", "Firefox", &data()).await.expect("a session");
    let listed = there.list("alice").await.expect("a list");
    assert_eq!(listed.iter().map(|info| &*info.note).collect::<Vec<_>>(), ["Firefox", "phone", "tablet"]);
    assert!(listed.iter().all(|info| info.left > Duration::from_secs(29 * 60)));
    assert!(there.end_one("alice", &listed[1].handle).await.expect("an answer"));
    assert!(!there.end_one("alice", &listed[1].handle).await.expect("an answer"));
    assert!(!there.end_one("bob", &listed[0].handle).await.expect("an answer"), "nobody ends another's");
    assert!(!is_valid(&here, &sessions[1].id).await);
    assert!(is_valid(&here, &sessions[0].id).await);

    // Records that come back, out of an old copy for instance, are no sessions without the list.
    let kept: Vec<_> = names(&redis, "sessions:data:*").into_iter().map(|key| (record(&redis, &key), key)).collect();
    there.end_all("alice").await.expect("an answer");
    for (record, key) in &kept {
        paste(&redis, key, record);
    }
    for session in &sessions {
        assert!(!is_valid(&here, &session.id).await);
    }
    let again = here.start("alice", "Firefox", &data()).await.expect("a session");
    assert!(is_valid(&there, &again.id).await && is_valid(&there, &bob.id).await);
    assert!(!is_valid(&there, &sessions[0].id).await, "a new login does not bring back old ones");
    assert_eq!(here.list("alice").await.expect("a list").len(), 1);
}

#[tokio::test]
async fn a_lost_list_ends_its_sessions_and_revives_none() {
    let redis = Redis::start();
    let here = instance(&redis, &[OLD]).await;
    let session = here.start("alice", "", &data()).await.expect("a session");
    let list = names(&redis, "sessions:user:*").pop().expect("a list");
    redis::cmd("DEL").arg(&list).exec(&mut redis.connect()).expect("DEL");
    assert!(!is_valid(&here, &session.id).await);
    assert!(here.list("alice").await.expect("a list").is_empty());
    here.start("alice", "", &data()).await.expect("a session");
    assert!(!is_valid(&here, &session.id).await);
    redis::cmd("FLUSHALL").exec(&mut redis.connect()).expect("FLUSHALL");
    assert!(!is_valid(&here, &session.id).await);
    assert!(!here.end(&session.id).await.expect("an answer"));
}

#[tokio::test]
async fn the_oldest_of_too_many_ends() {
    let redis = Redis::start();
    let here = with(settings(&redis), &[OLD], SessionConfig { per_user: 2, ..patient() }).await;
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(here.start("alice", "", &data()).await.expect("a session"));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut valid = Vec::new();
    for session in &sessions {
        valid.push(is_valid(&here, &session.id).await);
    }
    assert_eq!(valid, [false, false, true, true]);
    assert_eq!(names(&redis, "sessions:data:*").len(), 2);
}

#[tokio::test]
async fn a_session_slides_with_few_writes_until_its_longest_life() {
    let redis = Redis::start();
    let here = instance(&redis, &[OLD]).await;
    let session = here.start("alice", "", &data()).await.expect("a session");
    let key = names(&redis, "sessions:data:*").pop().expect("a record");
    let writes = || redis.calls("evalsha") + redis.calls("eval") + redis.calls("hset");
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let before = writes();
    for _ in 0..100 {
        assert!(is_valid(&here, &session.id).await);
    }
    assert_eq!(writes(), before, "used within a minute: nothing is written");
    age(&redis, &key, minutes(10));
    let before = writes();
    for _ in 0..100 {
        assert!(is_valid(&here, &session.id).await);
    }
    assert!((1..=3).contains(&(writes() - before)), "prolonged once: {} writes", writes() - before);
    assert!(left(&redis, &key) > 29 * 60_000);
    age(&redis, &key, Duration::ZERO);
    eventually("an idle session ends", async || !is_valid(&here, &session.id).await).await;

    // Used all the time, it ends nevertheless.
    let tenth = Duration::from_millis(50);
    let short = SessionConfig { idle: tenth * 10, longest: tenth * 20, touch_every: tenth, ..patient() };
    let here = with(settings(&redis), &[OLD], short).await;
    let session = here.start("bob", "", &data()).await.expect("a session");
    let took = eventually("a session ends", async || !is_valid(&here, &session.id).await).await;
    assert!(took < Duration::from_secs(15), "used every few milliseconds for {took:?}");
    assert!(here.list("bob").await.expect("a list").is_empty());
}

#[tokio::test]
async fn keys_change_without_logging_anyone_out() {
    let redis = Redis::start();
    // Old alone; new known everywhere; new in front; old gone.
    let first = instance(&redis, &[OLD]).await;
    let alice = first.start("alice", "", &data()).await.expect("a session");
    let bob = first.start("bob", "", &data()).await.expect("a session");
    let second = instance(&redis, &[OLD, NEW]).await;
    assert!(is_valid(&second, &alice.id).await);
    let third = instance(&redis, &[NEW, OLD]).await;
    let carol = third.start("carol", "", &data()).await.expect("a session");
    for instance in [&second, &third] {
        for session in [&alice, &bob, &carol] {
            assert!(is_valid(instance, &session.id).await);
        }
    }
    // Sealed anew on the next touch, record and list; bob is not seen in this time.
    for key in names(&redis, "sessions:data:*") {
        age(&redis, &key, Duration::from_secs(600));
    }
    for session in [&alice, &carol] {
        assert!(is_valid(&third, &session.id).await);
    }
    let last = instance(&redis, &[NEW]).await;
    let seen = last.load(&alice.id).await.expect("an answer").expect("a session");
    assert_eq!(seen, alice);
    assert!(is_valid(&last, &carol.id).await);
    assert!(!is_valid(&last, &bob.id).await);
    assert!(is_valid(&third, &bob.id).await, "and is not destroyed by an instance that cannot read it");
}

#[tokio::test]
async fn a_session_that_could_not_be_sealed_anew_is_one_still() {
    let store = Arc::new(Staged::default());
    let (calls, rejects_from) = (Arc::clone(&store.calls), Arc::clone(&store.rejects_from));
    let config = SessionConfig { touch_every: Duration::from_millis(1), ..patient() };
    let open = |keys: &str| {
        let ring = KeyRing::parse(keys).expect("keys");
        Sessions::<Data>::new(store.clone(), ring, config.clone(), Metrics::default()).expect("sessions")
    };
    let alice = open(OLD).start("alice", "", &data()).await.expect("a session");
    tokio::time::sleep(Duration::from_millis(5)).await;
    // The list is written first, then the record: which is not vouched for.
    let fills = calls.fill.load(Ordering::SeqCst);
    rejects_from.store(fills + 2, Ordering::SeqCst);
    assert!(is_valid(&open(&[NEW, OLD].join(",")), &alice.id).await);
    assert_eq!(calls.fill.load(Ordering::SeqCst), fills + 2, "it was tried");
}

#[tokio::test]
async fn a_record_that_was_tampered_with_is_no_session() {
    let redis = Redis::start();
    let here = instance(&redis, &[OLD, NEW]).await;
    let alice = here.start("alice", "", &data()).await.expect("a session");
    let key = names(&redis, "sessions:data:*").pop().expect("a record");
    let list = names(&redis, "sessions:user:*").pop().expect("a list");
    for key in [&key, &list] {
        let good = record(&redis, key);
        // Format, length of the key's name, the name, nonce, ciphertext, tag.
        let nonce = 2 + usize::from(good[1]);
        for (part, at) in
            [("format", 0), ("length", 1), ("name", 2), ("nonce", nonce), ("text", nonce + 12), ("tag", good.len() - 1)]
        {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                paste(&redis, key, &bad);
                assert!(!is_valid(&here, &alice.id).await, "{part}, bit {bit}");
            }
        }
        for length in [0, 1, 2, nonce, nonce + 12, good.len() / 2, good.len() - 1] {
            paste(&redis, key, &good[..length]);
            assert!(!is_valid(&here, &alice.id).await, "cut to {length}");
        }
        // The name of another key that is there.
        let mut other = good.clone();
        other[2..5].copy_from_slice(b"new");
        paste(&redis, key, &other);
        assert!(!is_valid(&here, &alice.id).await);
        paste(&redis, key, &good);
        assert!(is_valid(&here, &alice.id).await);
    }
    // Another's record, another's list, and a list in the place of a record.
    here.start("mallory", "", &data()).await.expect("a session");
    let foreign =
        |pattern: &str, mine: &str| names(&redis, pattern).into_iter().find(|key| key != mine).expect("mallory's");
    let (good, good_list) = (record(&redis, &key), record(&redis, &list));
    let theirs = record(&redis, &foreign("sessions:data:*", &key));
    for bad in [&theirs, &good_list] {
        paste(&redis, &key, bad);
        assert!(!is_valid(&here, &alice.id).await);
    }
    paste(&redis, &key, &good);
    paste(&redis, &list, &record(&redis, &foreign("sessions:user:*", &list)));
    assert!(!is_valid(&here, &alice.id).await);
    assert!(here.list("alice").await.expect("a list").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_not_lost_between_instances() {
    let redis = Redis::start();
    let instances = [instance(&redis, &[OLD]).await, instance(&redis, &[OLD]).await];
    let session = instances[0].start("alice", "", &data()).await.expect("a session");
    let tasks: Vec<_> = (0..40)
        .map(|i| {
            let (sessions, id) = (instances[i % 2].clone(), session.id.clone());
            tokio::spawn(async move { sessions.change(&id, |data| data.count += 1).await })
        })
        .collect();
    for task in tasks {
        assert!(task.await.expect("no panic").expect("an answer").is_some());
    }
    assert_eq!(instances[0].load(&session.id).await.expect("an answer").expect("a session").data.count, 40);
}

#[tokio::test]
async fn a_change_does_not_bring_back_what_ended_meanwhile() {
    let redis = Redis::start();
    let here = instance(&redis, &[OLD]).await;
    let session = here.start("alice", "", &data()).await.expect("a session");
    let key = names(&redis, "sessions:data:*").pop().expect("a record");
    let changed = here.change(&session.id, |data| {
        data.count = 7;
        redis::cmd("UNLINK").arg(&key).exec(&mut redis.connect()).expect("UNLINK");
    });
    assert_eq!(changed.await.expect("an answer"), None);
    assert!(!is_valid(&here, &session.id).await);
    eventually("nothing is left", async || names(&redis, "sessions:data:*").is_empty()).await;

    // A request that is dropped while it waits or changes keeps nobody out.
    let session = here.start("alice", "", &data()).await.expect("a session");
    for steps in 1..12 {
        let mut change = Box::pin(here.change(&session.id, |data| data.count += 1));
        for _ in 0..steps {
            let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(change.as_mut().poll(cx).is_ready()));
            if polled.await {
                break;
            }
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
    }
    let done = tokio::time::timeout(Duration::from_secs(5), here.change(&session.id, |data| data.count = 100));
    assert_eq!(done.await.expect("in time").expect("an answer").expect("a session").data.count, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_id_takes_the_place_of_the_old_one() {
    let redis = Redis::start();
    let (here, there) = (instance(&redis, &[OLD]).await, instance(&redis, &[OLD]).await);
    let old = here.start("alice", "Firefox", &data()).await.expect("a session");
    let new = here.renew_id(&old.id).await.expect("an answer").expect("a session");
    assert_eq!((&new.handle, &new.data, new.started), (&old.handle, &old.data, old.started));
    assert!(!is_valid(&there, &old.id).await && is_valid(&there, &new.id).await);
    assert!(here.renew_id(&old.id).await.expect("an answer").is_none());
    assert_eq!(there.list("alice").await.expect("a list").len(), 1);
    assert_eq!(names(&redis, "sessions:data:*").len(), 1);

    // Whoever logs out while the id changes is logged out.
    for _ in 0..50 {
        let session = here.start("bob", "", &data()).await.expect("a session");
        let (renewed, ended) = tokio::join!(here.renew_id(&session.id), there.end(&session.id));
        let renewed = renewed.expect("an answer");
        if ended.expect("an answer") {
            assert!(!is_valid(&here, &session.id).await);
            if let Some(renewed) = renewed {
                assert!(!is_valid(&here, &renewed.id).await, "ended under its new id, too");
            }
        } else {
            // The logout came after: its id was none any more.
            let renewed = renewed.expect("one of both");
            assert!(here.end(&renewed.id).await.expect("an answer"));
        }
    }
    assert!(here.list("bob").await.expect("a list").is_empty());
}

#[tokio::test]
async fn without_redis_nobody_is_logged_out() {
    let mut redis = Redis::start();
    let here = instance(&redis, &[OLD]).await;
    let (alice, bob) = (here.start("alice", "", &data()).await, here.start("bob", "", &data()).await);
    let (alice, bob) = (alice.expect("a session"), bob.expect("a session"));
    redis.kill();
    for _ in 0..5 {
        assert!(matches!(here.load(&alice.id).await, Err(SessionError::Unavailable(_))));
    }
    assert!(matches!(here.start("carol", "", &data()).await, Err(SessionError::Unavailable(_))));
    assert!(matches!(here.end(&bob.id).await, Err(SessionError::Unavailable(_))), "said to have failed");
    redis.start_again();
    eventually("reached again", async || matches!(here.load(&alice.id).await, Ok(Some(_)))).await;
    assert!(!is_valid(&here, &bob.id).await, "and made up for");
}

#[tokio::test]
async fn a_logout_that_is_owed_is_tried_once_more_at_the_end() {
    let redis = Redis::start();
    let mut config = settings(&redis);
    // Nobody else pays in time.
    (config.backoff, config.backoff_at_most) = (Duration::from_secs(3600), Duration::from_secs(3600));
    (config.request_budget, config.command_timeout) = (Duration::from_millis(200), Duration::from_millis(200));
    config.timeouts_to_replace = u32::MAX;
    let (here, there) = (with(config, &[OLD], patient()).await, instance(&redis, &[OLD]).await);
    let alice = there.start("alice", "", &data()).await.expect("a session");
    redis.freeze();
    assert!(here.end(&alice.id).await.is_err());
    assert!(!here.status().usable && here.status().owed_invalidations > 0);
    redis.thaw();
    here.close(Duration::from_secs(20)).await;
    assert_eq!(here.status().owed_invalidations, 0);
    assert!(!is_valid(&there, &alice.id).await);
}

#[tokio::test]
async fn a_dump_of_redis_opens_nothing() {
    let redis = Redis::start();
    let here = instance(&redis, &[OLD]).await;
    let session = here.start("alice@example.org", "Firefox", &data()).await.expect("a session");
    let mut dump = Vec::new();
    for key in names(&redis, "*") {
        let fields: Vec<Vec<u8>> = redis::cmd("HGETALL").arg(&key).query(&mut redis.connect()).expect("HGETALL");
        dump.extend(key.into_bytes());
        dump.extend(fields.concat());
    }
    let has = |text: &str| dump.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("sessions:data:") && has("old"), "the name of the key is in it");
    for secret in [session.id.encoded().as_str(), "alice", "Firefox", "secret", &session.handle] {
        assert!(!has(secret), "{secret}");
    }
    let shown = format!("{session:?} {here:?}");
    assert!(!shown.contains(&session.id.encoded()) && !shown.contains("AAAA") && !shown.contains("secret"), "{shown}");
}

#[tokio::test]
async fn data_of_another_type_are_an_error_and_can_be_ended() {
    let redis = Redis::start();
    let here = instance(&redis, &[OLD]).await;
    let session = here.start("alice", "", &data()).await.expect("a session");
    let ring = KeyRing::parse(OLD).expect("keys");
    let other = Sessions::<Vec<u8>>::redis(settings(&redis), ring, patient(), Metrics::default()).expect("sessions");
    assert!(other.ready(Duration::from_secs(10)).await);
    let error = other.load(&session.id).await.expect_err("another type");
    assert!(matches!(error, SessionError::Data(_)) && !error.to_string().contains("secret"));
    assert!(is_valid(&here, &session.id).await);
    assert!(other.end(&session.id).await.expect("an answer"));
    assert!(!is_valid(&here, &session.id).await);
}

#[tokio::test]
async fn sessions_need_a_store_that_keeps_them_and_clearing_the_cache_leaves_them() {
    let ring = || KeyRing::parse(OLD).expect("keys");
    let none = Sessions::<Data>::new(Arc::new(NoopStore), ring(), patient(), Metrics::default());
    assert_eq!(none.expect_err("refused"), SessionConfigError::Store(Strategy::None));
    let times = SessionConfig { idle: Duration::from_secs(30), ..patient() };
    let memory = Arc::new(MemoryStore::new(&MemoryConfig::default()));
    let refused = Sessions::<Data>::new(memory.clone(), ring(), times, Metrics::default()).expect_err("refused");
    assert!(matches!(refused, SessionConfigError::Times(_)));

    let here = Sessions::new(memory, ring(), patient(), Metrics::default()).expect("sessions");
    let session = here.start("alice", "", &data()).await.expect("a session");
    assert!(is_valid(&here, &session.id).await);
    here.change(&session.id, |data| data.count = 1).await.expect("an answer").expect("a session");
    assert!(here.end(&session.id).await.expect("an answer"));
    assert!(!is_valid(&here, &session.id).await);

    let redis = Redis::start();
    let elsewhere = RedisConfig { url: format!("{}/1", redis.url()), ..settings(&redis) };
    let here = with(elsewhere, &[OLD], patient()).await;
    let session = here.start("alice", "", &data()).await.expect("a session");
    let mut config: CacheConfig = redis.patiently();
    config.redis.as_mut().expect("redis").namespace = "prod:".into();
    let cache = config.open(Metrics::default()).expect("a cache");
    assert!(cache.ready(Duration::from_secs(10)).await);
    cache.clear().await.expect("cleared");
    assert!(is_valid(&here, &session.id).await);
}
