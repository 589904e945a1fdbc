//! Two instances of the app on one Redis and one Postgres, with concurrent writers and readers on both.

use crate::support::{Postgres, Redis, RunningApp, args};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};

/// A read shows every write that was acknowledged before it started: in items and in lists, whichever instance wrote.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_read_is_older_than_an_acknowledged_write() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let start = || async { Arc::new(RunningApp::start(args(&postgres, Some(&redis), "redis")).await) };
    let apps = [start().await, start().await];
    let acked: Arc<[AtomicI64; 3]> = Arc::new(std::array::from_fn(|_| AtomicI64::new(1)));
    let acked_list = Arc::new(AtomicI64::new(0));
    let (over, hits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));

    let readers: Vec<_> = (0..8)
        .map(|n| {
            let app = Arc::clone(&apps[n % 2]);
            let (acked, acked_list, over, hits) = (acked.clone(), acked_list.clone(), over.clone(), hits.clone());
            tokio::spawn(async move {
                for i in n.. {
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                    let (path, floor) = match i % 4 {
                        3 => ("/posts?filter=top".to_owned(), acked_list.load(Ordering::SeqCst)),
                        item => (format!("/posts/{}", item + 1), acked[item].load(Ordering::SeqCst)),
                    };
                    let read = app.get(&path).await;
                    let version = read.number("version");
                    assert!(version >= floor, "{path}: {version} after {floor} was acknowledged ({})", read.cache);
                    hits.fetch_add(u32::from(read.is_hit()), Ordering::SeqCst);
                }
            })
        })
        .collect();
    // One writer for each key, with one write in flight.
    let writers: Vec<_> = (0..3)
        .map(|item| {
            let (app, acked, acked_list) = (Arc::clone(&apps[item % 2]), acked.clone(), acked_list.clone());
            tokio::spawn(async move {
                for n in 0..100 {
                    let written = app.put(&format!("/posts/{}", item + 1), json!({ "title": format!("{n}") })).await;
                    acked[item].store(written.number("version"), Ordering::SeqCst);
                    acked_list.fetch_max(written.number("list_version"), Ordering::SeqCst);
                    tokio::time::sleep(std::time::Duration::from_millis(3)).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("no panic");
    }
    over.store(true, Ordering::SeqCst);
    for reader in readers {
        reader.await.expect("no stale read");
    }
    assert_eq!(acked_list.load(Ordering::SeqCst), 300, "each write is counted once");
    let hits = hits.load(Ordering::SeqCst);
    assert!(hits > 20, "the cache took part: {hits} hits");
}
