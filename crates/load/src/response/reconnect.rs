//! Requests that met the end of an idle connection.

use std::error::Error;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tower::util::MapRequestLayer;

/// Counts the connections that a client makes. If none was made for a request, it went on one that was used before.
#[derive(Clone, Debug, Default)]
pub struct ConnectCounter(Arc<AtomicU64>);

impl ConnectCounter {
    /// The builder of a client whose connections this counts.
    pub fn count_in(&self, builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
        let made = Arc::clone(&self.0);
        builder.connector_layer(MapRequestLayer::new(move |to| {
            made.fetch_add(1, Ordering::SeqCst);
            to
        }))
    }

    /// How many it has begun to make.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Whether the connection was closed before the answer began.
pub fn is_dropped(error: &reqwest::Error) -> bool {
    if !error.is_request() || error.is_connect() || error.is_timeout() {
        return false;
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let is_closed =
            matches!(kind, Some(ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe));
        // The HTTP client does not export the type of this error.
        if is_closed || error.to_string() == "connection closed before message completed" {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;
    use crate::response::client_builder;

    /// Answers as many requests of each connection as it is told, and closes on the next after it has read it and written `last`.
    fn closing(answers: usize, last: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/items/1", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    for number in 0..=answers {
                        let mut request = [0; 4096];
                        let _length = stream.read(&mut request).unwrap_or(0);
                        let answer =
                            if number < answers { "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" } else { last };
                        let _sent = stream.write_all(answer.as_bytes());
                    }
                });
            }
        });
        url
    }

    #[tokio::test]
    async fn the_end_of_a_used_connection_is_told_from_a_dropped_request() {
        let connects = ConnectCounter::default();
        let client = connects.count_in(client_builder(Duration::from_secs(5), false)).build().unwrap();
        let url = closing(1, "");
        assert!(client.get(&url).send().await.is_ok());
        assert_eq!(connects.count(), 1);
        let error = client.get(&url).send().await.unwrap_err();
        assert!(is_dropped(&error) && connects.count() == 1, "{error:?}, on the connection that was used before");
        assert!(client.get(&url).send().await.is_ok());
        assert_eq!(connects.count(), 2);

        let dropped = client.get(closing(0, "")).send().await.unwrap_err();
        assert!(is_dropped(&dropped) && connects.count() == 3, "{dropped:?}, on a new connection");

        let garbage = client.get(closing(0, "no HTTP\r\n\r\n")).send().await.unwrap_err();
        assert!(!is_dropped(&garbage), "{garbage:?}");
        let mut cut = client.get(closing(0, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")).send().await.unwrap();
        let mut error = None;
        while error.is_none() {
            error = cut.chunk().await.err();
        }
        assert!(error.is_some_and(|error| !is_dropped(&error)), "an answer that began is not asked for again");
    }
}
