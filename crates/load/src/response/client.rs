//! The HTTP clients for requests to the app.

use std::time::Duration;

/// The builder of every client for the app. It never uses a proxy: HTTP_PROXY is not meant for an app under test, and
/// the proxy would be measured with it.
pub fn client_builder(timeout: Duration) -> reqwest::ClientBuilder {
    // No retries: a repeated write could be stored over a newer one.
    let once = reqwest::retry::never();
    reqwest::Client::builder()
        .no_proxy()
        .retry(once)
        .timeout(timeout)
        .user_agent(concat!("cacheproof/", env!("CARGO_PKG_VERSION")))
}

/// A client for single requests to the app.
pub fn client(timeout: Duration) -> reqwest::Client {
    client_builder(timeout).build().unwrap_or_default()
}

/// The innermost source of an error, in words.
pub fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Answers the first request of each connection, reads the second, and closes on it. Counts the writes.
    fn cutting_off(writes: Arc<AtomicUsize>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/items/1", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let writes = Arc::clone(&writes);
                std::thread::spawn(move || {
                    for answers in [true, false] {
                        let mut request = [0; 4096];
                        let length = stream.read(&mut request).unwrap_or(0);
                        writes.fetch_add(usize::from(request[..length].starts_with(b"PUT")), Ordering::SeqCst);
                        if answers {
                            let _sent = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
                        }
                    }
                });
            }
        });
        url
    }

    #[tokio::test]
    async fn a_write_on_a_reused_connection_that_breaks_is_not_sent_again() {
        let writes = Arc::new(AtomicUsize::new(0));
        let url = cutting_off(Arc::clone(&writes));
        let client = client(Duration::from_secs(5));
        assert!(client.get(&url).send().await.is_ok(), "the connection is there to be reused");
        let put = client.put(&url).body("{}").send().await;
        assert!(put.is_err(), "whether it was stored is not known: {put:?}");
        assert_eq!(writes.load(Ordering::SeqCst), 1);
    }
}
