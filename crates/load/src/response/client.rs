//! The HTTP clients for requests to the app.

use std::time::Duration;

use reqwest::redirect::{Action, Attempt, Policy};

/// As many as browsers follow, or fewer: more are a loop.
const MAX_REDIRECTS: usize = 10;

/// The builder of every client for the app. It never uses a proxy: HTTP_PROXY is not meant for an app under test, and
/// the proxy would be measured with it. A redirect is an answer of its own; with `follow_redirects` it is followed, but only to
/// the same scheme, host and port: headers and bodies may hold secrets, and load is for the app under test only. It asks for no
/// encoding and unpacks none: what is sent is what the scenario says, as `Accept-Encoding` can select another stored answer
/// (`Vary`). [`super::unpack`] unpacks what was packed.
pub fn client_builder(timeout: Duration, follow_redirects: bool) -> reqwest::ClientBuilder {
    let redirects = if follow_redirects { Policy::custom(follow_within_origin) } else { Policy::none() };
    // No retries: a repeated write could be stored over a newer one.
    let once = reqwest::retry::never();
    reqwest::Client::builder()
        .no_proxy()
        .no_gzip()
        .no_brotli()
        .no_deflate()
        .no_zstd()
        .retry(once)
        .redirect(redirects)
        .timeout(timeout)
        .user_agent(concat!("cacheproof/", env!("CARGO_PKG_VERSION")))
}

/// A client for single requests to the app.
pub fn client(timeout: Duration, follow_redirects: bool) -> reqwest::Client {
    client_builder(timeout, follow_redirects).build().unwrap_or_default()
}

/// Never back to a URL that was asked already: it would be a loop, or hide that a write was answered with a redirect.
fn follow_within_origin(attempt: Attempt<'_>) -> Action {
    let is_own = attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
    let is_new = !attempt.previous().contains(attempt.url());
    if is_own && is_new && attempt.previous().len() <= MAX_REDIRECTS { attempt.follow() } else { attempt.stop() }
}

/// Why there was no answer, in words.
pub fn failure_in_words(error: &reqwest::Error) -> String {
    if error.is_timeout() { "no answer in time".to_owned() } else { root_cause(error) }
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

    /// Redirects `/own` to `/item`, `/loop` to itself, `/chain/1` to `/chain/2` and so on,
    /// and `/other` to the address; keeps what it was asked for.
    fn redirecting(other: String) -> (String, Arc<std::sync::Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = [0; 4096];
                let length = stream.read(&mut request).unwrap_or(0);
                let path = String::from_utf8_lossy(&request[..length]).split(' ').nth(1).unwrap_or("?").to_owned();
                let next = path.strip_prefix("/chain/").map(|number| number.parse::<usize>().unwrap() + 1);
                let next = next.map(|next| format!("/chain/{next}"));
                let location = match path.as_str() {
                    _ if next.is_some() => next.as_deref().unwrap(),
                    "/own" => "/item",
                    "/loop" => "/loop",
                    "/other" => &other,
                    _ => "",
                };
                let head = if location.is_empty() {
                    "200 OK".to_owned()
                } else {
                    format!("302 Found\r\nlocation: {location}")
                };
                seen.lock().unwrap().push(path);
                let answer = format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                let _sent = stream.write_all(answer.as_bytes());
            }
        });
        (url, asked)
    }

    #[tokio::test]
    async fn a_redirect_is_followed_only_where_that_is_asked_for_and_never_to_another_origin() {
        let (other, asked_of_other) = redirecting(String::new());
        let (url, asked) = redirecting(format!("{other}/item"));
        let status = async |follow, path| {
            let client = client(Duration::from_secs(5), follow);
            client.get(format!("{url}{path}")).header("x-api-key", "k").send().await.unwrap().status().as_u16()
        };
        assert_eq!(status(false, "/own").await, 302);
        assert_eq!(*asked.lock().unwrap(), ["/own"], "nothing else was asked");
        assert_eq!(status(true, "/own").await, 200);
        assert_eq!(status(true, "/other").await, 302);
        assert!(asked_of_other.lock().unwrap().is_empty(), "no request, and no key, reached another origin");
        assert_eq!(status(true, "/loop").await, 302, "a loop ends");
        assert_eq!(asked.lock().unwrap().iter().filter(|path| *path == "/loop").count(), 1);
        assert_eq!(status(true, "/chain/0").await, 302, "an endless chain ends");
        assert_eq!(asked.lock().unwrap().iter().filter(|path| path.starts_with("/chain")).count(), MAX_REDIRECTS + 1);
    }

    #[tokio::test]
    async fn a_write_on_a_reused_connection_that_breaks_is_not_sent_again() {
        let writes = Arc::new(AtomicUsize::new(0));
        let url = cutting_off(Arc::clone(&writes));
        let client = client(Duration::from_secs(5), false);
        assert!(client.get(&url).send().await.is_ok(), "the connection is there to be reused");
        let put = client.put(&url).body("{}").send().await;
        assert!(put.is_err(), "whether it was stored is not known: {put:?}");
        assert_eq!(writes.load(Ordering::SeqCst), 1);
    }
}
