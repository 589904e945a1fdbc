//! Reads that are under way when a write comes, when their client goes, or when others want the same.

use super::*;

struct Stage {
    app: Router,
    value: Arc<AtomicU64>,
    /// A read has seen the value.
    seen: Arc<Notify>,
    /// It may answer.
    gate: Arc<Notify>,
    /// A write has committed.
    committed: Arc<Notify>,
    calls: Calls,
}

/// A resource whose reads stop between seeing and answering, behind the layer.
fn staged(cache: &Cache) -> Stage {
    let (value, calls) = (Arc::new(AtomicU64::new(1)), Calls::default());
    let (seen, gate, committed) = (Arc::<Notify>::default(), Arc::<Notify>::default(), Arc::<Notify>::default());
    let read = {
        let (value, seen, gate, calls) = (value.clone(), seen.clone(), gate.clone(), calls.clone());
        async move || {
            calls.next();
            let read = value.load(Ordering::SeqCst);
            seen.notify_one();
            gate.notified().await;
            read.to_string()
        }
    };
    let write = {
        let (value, gate, committed) = (value.clone(), gate.clone(), committed.clone());
        async move |headers: HeaderMap| {
            if headers.contains_key("x-refuse") {
                return StatusCode::CONFLICT;
            }
            value.fetch_add(1, Ordering::SeqCst);
            committed.notify_one();
            if headers.contains_key("x-slow") {
                gate.notified().await;
            }
            assert!(!headers.contains_key("x-panic"), "a panic after the commit");
            if headers.contains_key("x-fail") { StatusCode::BAD_GATEWAY } else { StatusCode::NO_CONTENT }
        }
    };
    let layer = HttpCacheLayer::builder(cache.clone())
        .rule(Rule::get("/{id:int}", MINUTE).tag("things:{id}"))
        .write(WriteRule::to("/{id:int}").invalidates("things:{id}"))
        .build()
        .expect("rules");
    let app = Router::new().route("/{id}", get(read).put(write)).layer(layer);
    Stage { app, value, seen, gate, committed, calls }
}

#[tokio::test]
async fn an_answer_made_before_a_write_is_not_stored_after_it() {
    let redis = Redis::start();
    let Stage { app, seen, gate, .. } = staged(&cache(&redis).await);
    let slow = tokio::spawn({
        let app = app.clone();
        async move { read(&app, "/7").await }
    });
    seen.notified().await;
    assert_eq!(send(&app, "PUT", "/7", &[]).await.cache(), "cache-layer; fwd=method");
    gate.notify_one();
    let slow = slow.await.expect("no panic");
    assert_eq!(
        (slow.text(), slow.cache()),
        ("1", "cache-layer; fwd=uri-miss"),
        "began before the write, and is not stored"
    );
    gate.notify_one();
    assert_eq!(read(&app, "/7").await.text(), "2");
    // The other spelling of 7 is no other entry that the write would miss.
    gate.notify_one();
    assert_eq!(read(&app, "/07").await.cache(), "cache-layer; fwd=bypass; detail=no-rule");
}

#[tokio::test]
async fn writes_invalidate_unless_they_were_refused() {
    let redis = Redis::start();
    let Stage { app, gate, value, committed, .. } = staged(&with_short_leases(&redis).await);
    let now = async || {
        gate.notify_one();
        let answer = read(&app, "/7").await;
        // Not used up by a hit.
        if answer.is_hit() {
            gate.notified().await;
        }
        answer
    };
    eventually("cached", async || now().await.is_hit()).await;
    send(&app, "PUT", "/7", &[("x-refuse", "1")]).await;
    assert!(now().await.is_hit(), "a 4xx says that nothing was written");
    for headers in [&[][..], &[("x-fail", "1")]] {
        eventually("cached", async || now().await.is_hit()).await;
        send(&app, "PUT", "/7", headers).await;
        let answer = now().await;
        assert_eq!(answer.text(), value.load(Ordering::SeqCst).to_string(), "{headers:?}: {answer:?}");
    }
    // The service panics after its commit; the client hangs up after the commit.
    eventually("cached", async || now().await.is_hit()).await;
    committed.notified().await;
    let broken = tokio::spawn({
        let app = app.clone();
        async move { send(&app, "PUT", "/7", &[("x-panic", "1")]).await }
    });
    assert!(broken.await.expect_err("goes on").is_panic());
    assert_eq!(now().await.text(), value.load(Ordering::SeqCst).to_string());
    eventually("cached", async || now().await.is_hit()).await;
    committed.notified().await;
    let gone = tokio::spawn({
        let app = app.clone();
        async move { send(&app, "PUT", "/7", &[("x-slow", "1")]).await }
    });
    committed.notified().await;
    gone.abort();
    assert!(gone.await.expect_err("aborted").is_cancelled());
    gate.notify_one();
    let wanted = value.load(Ordering::SeqCst).to_string();
    eventually("invalidated for a client that is gone", async || {
        let answer = tokio::time::timeout(MINUTE, now()).await.expect("an answer");
        answer.text() == wanted
    })
    .await;
}

#[tokio::test]
async fn a_client_that_hangs_up_leaves_an_entry_behind_and_no_lock() {
    let redis = Redis::start();
    let Stage { app, seen, gate, calls, .. } = staged(&cache(&redis).await);
    let gone = tokio::spawn({
        let app = app.clone();
        async move { read(&app, "/7").await }
    });
    seen.notified().await;
    gone.abort();
    assert!(gone.await.expect_err("aborted").is_cancelled());
    let second = tokio::spawn({
        let app = app.clone();
        async move { read(&app, "/7").await }
    });
    gate.notify_one();
    assert_eq!(second.await.expect("no panic").text(), "1", "shares the load or finds what it stored");
    assert!(read(&app, "/7").await.is_hit());
    assert_eq!(calls.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_misses_at_once_share_their_calls() {
    let redis = Redis::start();
    let Stage { app, seen, gate, calls, .. } = staged(&cache(&redis).await);
    let readers: Vec<_> = (0..100)
        .map(|_| {
            let app = app.clone();
            tokio::spawn(async move { read(&app, "/7").await })
        })
        .collect();
    seen.notified().await;
    // Whoever was told "miss" just before the fill may load once more: the gate stays open.
    let open = tokio::spawn(async move {
        loop {
            gate.notify_one();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    for reader in readers {
        assert_eq!(reader.await.expect("no panic").text(), "1");
    }
    open.abort();
    assert!(calls.count() <= 10, "{} calls", calls.count());
}
