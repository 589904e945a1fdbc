//! No staging: readers, writers and faults for a while, and every answer judged.

use super::{DELTA, Instance, Stage, load, read, version};
use cache_layer::key::POSTS;
use cache_layer::{Coherence, Status, Strategy, Ttl};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

const KEYS: usize = 20;

/// For each key, when each of its versions was acknowledged.
#[derive(Clone)]
struct History(Arc<Vec<Mutex<Vec<Instant>>>>);

impl History {
    fn new() -> Self {
        Self(Arc::new((0..KEYS).map(|_| Mutex::new(vec![Instant::now()])).collect()))
    }

    fn acknowledged(&self, key: usize) {
        self.0[key].lock().expect("no panic").push(Instant::now());
    }

    /// The newest version that had been acknowledged at least Δ before.
    fn floor(&self, key: usize, now: Instant) -> usize {
        let versions = self.0[key].lock().expect("no panic");
        versions.iter().rposition(|at| now.duration_since(*at) >= DELTA).unwrap_or(0)
    }
}

#[derive(Default)]
struct Tally {
    hits: AtomicUsize,
    stale: AtomicUsize,
    over: AtomicBool,
}

async fn reader(instance: Arc<Instance>, history: History, tally: Arc<Tally>) {
    while !tally.over.load(Ordering::SeqCst) {
        let key = rand::random_range(0..KEYS);
        let floor = history.floor(key, Instant::now());
        let lookup = read(&instance.cache, &instance.pool, i64::try_from(key).expect("small") + 1).await;
        let version = version(&lookup);
        tally.hits.fetch_add(usize::from(matches!(lookup.status, Status::Hit { .. })), Ordering::SeqCst);
        // A miss is fresh as well: it may show another's load.
        if !matches!(lookup.status, Status::Stale { .. }) {
            let stale = usize::try_from(version).expect("positive") < floor;
            tally.stale.fetch_add(usize::from(stale), Ordering::SeqCst);
        }
        tokio::time::sleep(Duration::from_micros(rand::random_range(0..2_000))).await;
    }
}

/// One writer for all keys, so that versions are acknowledged in order. Half of its writes tell no cache: as if it had died.
async fn writer(stage: Arc<Stage>, instance: Arc<Instance>, history: History, tally: Arc<Tally>) {
    while !tally.over.load(Ordering::SeqCst) {
        // The last keys are written rarely: their entries live long enough to be brought back by a restart.
        let key =
            if rand::random_range(0..10) == 0 { rand::random_range(0..KEYS) } else { rand::random_range(0..KEYS / 2) };
        let id = i64::try_from(key).expect("small") + 1;
        stage.write(id).await;
        history.acknowledged(key);
        if rand::random() {
            instance.invalidate(id).await;
        }
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..20))).await;
    }
}

/// Hits, and how many answers served as fresh, misses included, were older than Δ.
async fn run(strategy: Strategy, coherence: Coherence) -> (usize, usize) {
    let mut stage = Stage::start().await;
    let a = Arc::new(stage.instance_of(strategy, coherence).await);
    let b = Arc::new(stage.instance_of(strategy, coherence).await);
    let (history, tally) = (History::new(), Arc::new(Tally::default()));
    let mut redis = std::mem::replace(&mut stage.redis, crate::support::Redis::start());
    let stage = Arc::new(stage);
    let mut tasks: Vec<_> = (0..8)
        .map(|i| tokio::spawn(reader(Arc::clone([&a, &b][i % 2]), history.clone(), Arc::clone(&tally))))
        .collect();
    // Whoever ends last, the database must still be there for those that read a last time.
    tasks.push(tokio::spawn(writer(Arc::clone(&stage), Arc::clone(&a), history.clone(), Arc::clone(&tally))));
    for fault in 0..6 {
        tokio::time::sleep(Duration::from_millis(rand::random_range(800..1_600))).await;
        match fault % 3 {
            0 => redis::cmd("FLUSHALL").exec(&mut redis.connect()).expect("FLUSHALL"),
            1 => {
                redis.kill();
                tokio::time::sleep(Duration::from_millis(300)).await;
                redis.start_again();
            }
            _ => {
                redis.freeze();
                tokio::time::sleep(Duration::from_millis(rand::random_range(300..3_000))).await;
                redis.thaw();
            }
        }
    }
    tokio::time::sleep(DELTA + Duration::from_millis(500)).await;
    tally.over.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.expect("no panic");
    }
    drop(stage);
    (tally.hits.load(Ordering::SeqCst), tally.stale.load(Ordering::SeqCst))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_as_fresh_is_older_than_delta_through_crashing_writers_and_faults() {
    let (hits, stale) = run(Strategy::Redis, Coherence::Outbox).await;
    println!("outbox: {stale} answers served as fresh, beside {hits} hits, were older than {DELTA:?}");
    assert!(hits > 100, "the cache took part: {hits}");
    assert_eq!(stale, 0, "beside {hits} hits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_is_one_out_of_two_tiers() {
    let (hits, stale) = run(Strategy::TwoTier, Coherence::Outbox).await;
    println!("outbox, two tiers: {stale} answers served as fresh, beside {hits} hits, were older than {DELTA:?}");
    assert!(hits > 100, "the cache took part: {hits}");
    assert_eq!(stale, 0, "beside {hits} hits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_with_delete_after_commit_for_comparison() {
    let (hits, stale) = run(Strategy::Redis, Coherence::Delete).await;
    println!("delete after commit: {stale} answers served as fresh, beside {hits} hits, were older than {DELTA:?}");
    assert!(stale > 0, "half of its writers died before they could delete: the run can tell");
}

/// 3,000 keys, each read and written at the same time by different processes; then all is quiet. How many keys are stale then?
async fn hammered(strategy: Strategy, coherence: Coherence) -> usize {
    const MANY: i64 = 3_000;
    let stage = Stage::start().await;
    let sql = "INSERT INTO posts (id) SELECT generate_series(101, 3000)";
    sqlx::query(sql).execute(&stage.pool).await.expect("rows");
    let stage = Arc::new(stage);
    let a = Arc::new(stage.instance_of(strategy, coherence).await);
    let b = Arc::new(stage.instance_of(strategy, coherence).await);
    a.warm(1).await;
    b.warm(1).await;
    let next = Arc::new(AtomicUsize::new(1));
    let pairs: Vec<_> = (0..8)
        .map(|_| {
            let (stage, a, b, next) = (Arc::clone(&stage), Arc::clone(&a), Arc::clone(&b), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let id = i64::try_from(next.fetch_add(1, Ordering::SeqCst)).expect("small");
                    if id > MANY {
                        return;
                    }
                    // Most are left to chance; of every tenth it is sure that the write comes within the load, however slow the
                    // machine: without one of these the comparison could be luck.
                    let staged = id % 10 == 0;
                    let (has_read, written) = (Notify::new(), Notify::new());
                    let reading = async {
                        tokio::time::sleep(Duration::from_micros(rand::random_range(0..1_500))).await;
                        let load = || async {
                            let loaded = load(&a.pool, id).await;
                            if staged {
                                has_read.notify_one();
                                written.notified().await;
                            } else {
                                tokio::time::sleep(Duration::from_micros(rand::random_range(0..1_500))).await;
                            }
                            loaded
                        };
                        a.cache.get_or_load(&POSTS.item(id), Ttl::Class, load).await.expect("the database answers");
                    };
                    let writing = async {
                        if staged {
                            has_read.notified().await;
                        }
                        stage.write(id).await;
                        b.invalidate(id).await;
                        written.notify_one();
                    };
                    tokio::join!(reading, writing);
                }
            })
        })
        .collect();
    for pair in pairs {
        pair.await.expect("no panic");
    }
    tokio::time::sleep(DELTA).await;
    let mut stale = 0;
    for id in 1..=MANY {
        stale += usize::from(a.read(id).await.0.min(b.read(id).await.0) < 1);
    }
    stale
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_thousand_keys_invalidated_during_their_load_are_none_of_them_stale() {
    println!("keys that stay stale, of 3,000 that were written and invalidated during their load:");
    let mut table = Vec::new();
    for (coherence, strategy) in [
        (Coherence::Outbox, Strategy::Redis),
        (Coherence::Outbox, Strategy::TwoTier),
        (Coherence::Delete, Strategy::Redis),
        (Coherence::Delete, Strategy::TwoTier),
    ] {
        let stale = hammered(strategy, coherence).await;
        println!("{:<20} {:<10} {stale:>5}", format!("{coherence:?}"), format!("{strategy:?}"));
        table.push(stale);
    }
    assert_eq!(table[..2], [0, 0], "the promise");
    assert!(table[2..].iter().all(|stale| *stale > 0), "a plain DEL loses the race: the run can tell");
}
