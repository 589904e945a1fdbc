//! Requests that met the end of an idle connection.

use std::error::Error;
use std::io::ErrorKind;
use std::net::SocketAddr;

use hyper_util::client::legacy::connect::HttpInfo;

/// How many connections of a user are remembered: more than it keeps open.
const REMEMBERED: usize = 8;

/// The connections on which a user has had an answer, by their local address.
#[derive(Clone, Debug, Default)]
pub struct UsedConnections(Vec<SocketAddr>);

impl UsedConnections {
    /// Remembers the connection of an answer.
    pub fn remember(&mut self, response: &reqwest::Response) {
        let Some(local) = response.extensions().get::<HttpInfo>().map(HttpInfo::local_addr) else { return };
        if !self.0.contains(&local) {
            self.0.truncate(REMEMBERED - 1);
            self.0.insert(0, local);
        }
    }

    /// Whether this connection, which is closed now, had been used before.
    pub fn forget(&mut self, local: SocketAddr) -> bool {
        let before = self.0.len();
        self.0.retain(|used| *used != local);
        self.0.len() < before
    }
}

/// The local address of the connection that was closed before the answer began, if that is what happened.
pub fn dropped_on(error: &reqwest::Error) -> Option<SocketAddr> {
    if error.is_connect() || error.is_timeout() {
        return None;
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    let (mut local, mut is_closed) = (None, false);
    while let Some(error) = cause {
        if let Some(connection) =
            error.downcast_ref::<hyper_util::client::legacy::Error>().and_then(|error| error.connect_info())
        {
            let mut extensions = Default::default();
            connection.get_extras(&mut extensions);
            local = extensions.get::<HttpInfo>().map(HttpInfo::local_addr);
        }
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let closed = [ErrorKind::ConnectionReset, ErrorKind::ConnectionAborted, ErrorKind::BrokenPipe];
        // The HTTP client does not export the type of this error.
        is_closed |= kind.is_some_and(|kind| closed.contains(&kind))
            || error.to_string() == "connection closed before message completed";
        cause = error.source();
    }
    local.filter(|_| is_closed)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;
    use crate::response::client;

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
        let mut used = UsedConnections::default();
        let client = client(Duration::from_secs(5), false);
        let url = closing(1, "");
        used.remember(&client.get(&url).send().await.unwrap());
        let error = client.get(&url).send().await.unwrap_err();
        let local = dropped_on(&error).unwrap_or_else(|| panic!("{error:?}"));
        assert!(used.forget(local), "on the connection that was used before");
        assert!(!used.forget(local), "it is closed now");

        let error = client.get(closing(0, "")).send().await.unwrap_err();
        let local = dropped_on(&error).unwrap_or_else(|| panic!("{error:?}"));
        assert!(!used.forget(local), "on a new connection");

        let garbage = client.get(closing(0, "no HTTP\r\n\r\n")).send().await.unwrap_err();
        assert_eq!(dropped_on(&garbage), None, "{garbage:?}");
        let mut cut = client.get(closing(0, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")).send().await.unwrap();
        let mut error = None;
        while error.is_none() {
            error = cut.chunk().await.err();
        }
        assert_eq!(error.and_then(|error| dropped_on(&error)), None, "an answer that began is not asked for again");
    }
}
