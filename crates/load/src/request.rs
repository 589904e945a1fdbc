//! HTTP requests and their complete responses: for the load, and for cacheproof's own reads.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};

use super::Call;
use crate::response::{
    BodyError, client_failure, dropped_on, failure_in_words, read_body, shorten, unpack, with_bypass,
};
use cacheproof_core::journal::NotSentReason;
use cacheproof_core::scenario::{BypassSpec, Method, Scenario};

/// The HTTP request for a call.
pub(super) fn build(
    client: &Client,
    scenario: &Scenario,
    base_url: &str,
    call: &Call,
    past_cache: bool,
) -> RequestBuilder {
    let bypass = scenario.target.bypass.as_ref().filter(|_| past_cache);
    let url = with_bypass(&format!("{base_url}{}", call.path), bypass);
    let method = match scenario.traffic.requests[call.request].method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
        Method::Patch => reqwest::Method::PATCH,
        Method::Delete => reqwest::Method::DELETE,
    };
    let mut builder = client.request(method, url);
    if let Some(BypassSpec::Header(name, value)) = bypass {
        builder = builder.header(name, value);
    }
    for (name, value) in &call.headers {
        builder = builder.header(name, value);
    }
    if let Some(body) = &call.body {
        if !call.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            builder = builder.header("content-type", "application/json");
        }
        builder = builder.body(body.clone());
    }
    builder
}

/// Why there was no response.
#[derive(Debug, Default)]
pub(super) struct RequestFailure {
    pub(super) why: String,
    /// No connection could be made: nothing was sent.
    pub(super) unreachable: bool,
    /// cacheproof itself could not send it.
    pub(super) client: Option<NotSentReason>,
    /// The connection that was closed before the answer began, by its local address.
    pub(super) dropped_on: Option<SocketAddr>,
}

impl RequestFailure {
    pub(super) fn of(error: &reqwest::Error) -> Self {
        Self {
            why: failure_in_words(error),
            unreachable: error.is_connect(),
            client: client_failure(error),
            dropped_on: dropped_on(error),
        }
    }

    fn because(why: String) -> Self {
        Self { why, ..Self::default() }
    }
}

/// A complete response.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Unpacked.
    pub(super) body: Bytes,
    /// When its last byte came.
    pub(super) done: Instant,
    /// Where it came from, if redirects are followed.
    pub(super) final_url: Option<Url>,
}

/// The URL that a write is sent to, if redirects are followed.
pub(super) fn url_of_write(builder: &RequestBuilder, scenario: &Scenario, method: Method) -> Option<Url> {
    let checked = scenario.target.follow_redirects && !method.is_read();
    checked.then(|| builder.try_clone()?.build().ok()).flatten().map(|request| request.url().clone())
}

/// Why a write that was sent to `url` may not have been stored although it was answered: a redirect was followed, and
/// 301, 302 and 303 make a GET of a write.
pub(super) fn redirected_write(url: Option<&Url>, response: &Response) -> Option<RequestFailure> {
    let other = response.url();
    url.filter(|url| *url != other).map(|_| {
        RequestFailure::because(format!(
            "the write was redirected to {}, which may not have stored it: name that URL in the scenario",
            shorten(other.path().as_bytes())
        ))
    })
}

/// A response with its complete body, unpacked. `request`: the index of its request.
pub(super) async fn read_response(
    mut response: Response,
    scenario: &Scenario,
    request: usize,
) -> Result<Answer, RequestFailure> {
    let limit = scenario.target.max_body;
    let because = |error: BodyError| RequestFailure::because(error.to_string());
    let body = read_body(&mut response, limit).await.map_err(because)?;
    let done = Instant::now();
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let final_url = scenario.target.follow_redirects.then(|| response.url().clone());
    let body = match unpack(&headers, body.clone(), limit) {
        // Nobody looks into it.
        Err(BodyError::UnknownEncoding(_)) if !scenario.reads_body(request) => body,
        unpacked => unpacked.map_err(because)?,
    };
    Ok(Answer { status, headers, body, done, final_url })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;
    use crate::response::client;

    /// Answers `/moved-STATUS` with that status and a redirect to `/items/1`, `/same-STATUS` with one to itself, and all
    /// else with 200.
    fn redirecting() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = [0; 4096];
                let length = stream.read(&mut request).unwrap_or(0);
                let path = String::from_utf8_lossy(&request[..length]).split(' ').nth(1).unwrap_or("?").to_owned();
                let head = match path.split_once('-') {
                    Some(("/moved", status)) => format!("{status} Moved\r\nlocation: /items/1"),
                    Some((_, status)) => format!("{status} Moved\r\nlocation: {path}"),
                    None => "200 OK".to_owned(),
                };
                let answer = format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                let _sent = stream.write_all(answer.as_bytes());
            }
        });
        host
    }

    #[tokio::test]
    async fn a_write_that_was_redirected_is_not_taken_for_stored() {
        let text = "title = \"t\"\n[target]\nkind = \"http\"\nurl = \"http://localhost\"\nfollow_redirects = true\n[traffic]\nrate = \"1/s\"\n\
                    [[traffic.request]]\nname = \"r\"\nget = \"/\"\n[[phase]]\nname = \"p\"\nlasts = \"1s\"\n\
                    [[criterion]]\nsays = \"s\"\nrules = [\"errors == 0\"]\n";
        let scenario = cacheproof_core::scenario::parse("test", text).unwrap();
        let client = client(Duration::from_secs(5), true);
        let host = redirecting();
        let send = async |method: Method, path: &str| {
            // The credentials are sent as a header and are no part of the answer's URL.
            let url = format!("http://user:word@{host}{path}");
            let builder = client.request(method.as_str().parse().unwrap(), url).body("{}");
            let url = url_of_write(&builder, &scenario, method);
            let response = builder.send().await.unwrap();
            (response.status().as_u16(), redirected_write(url.as_ref(), &response).map(|failure| failure.why))
        };
        for (method, path) in [
            (Method::Post, "/moved-302"),
            (Method::Post, "/moved-301"),
            (Method::Put, "/moved-303"),
            (Method::Put, "/moved-307"),
        ] {
            let (status, why) = send(method, path).await;
            assert_eq!(status, 200, "{path}");
            assert!(why.is_some_and(|why| why.contains("redirected to /items/1,")), "{path}");
        }
        assert_eq!(send(Method::Get, "/moved-302").await, (200, None));
        assert_eq!(send(Method::Post, "/items").await, (200, None));
        assert_eq!(send(Method::Put, "/same-303").await, (303, None), "the redirect itself is the answer");
    }
}
