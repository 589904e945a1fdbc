//! Failures of cacheproof's own side: it could not send, so the app did nothing wrong.

use std::error::Error;

use nix::errno::Errno;

use cacheproof_core::journal::NotSentReason;

/// Why cacheproof itself could not send a request or open a connection; `None`: the error may well be the app's.
pub fn client_failure(error: &(dyn Error + 'static)) -> Option<NotSentReason> {
    let mut cause = Some(error);
    let mut is_name = false;
    while let Some(error) = cause {
        // A name may not be found because no file can be opened to ask for it.
        if let Some(reason) = error.downcast_ref::<std::io::Error>().and_then(reason_of) {
            return Some(reason);
        }
        // The type of this error is private to the HTTP client.
        is_name |= error.to_string().starts_with("dns error");
        cause = error.source();
    }
    is_name.then_some(NotSentReason::Name)
}

fn reason_of(error: &std::io::Error) -> Option<NotSentReason> {
    match Errno::from_raw(error.raw_os_error()?) {
        Errno::EMFILE => Some(NotSentReason::Files),
        Errno::ENFILE => Some(NotSentReason::SystemFiles),
        Errno::EADDRNOTAVAIL | Errno::EADDRINUSE => Some(NotSentReason::Ports),
        Errno::ENOMEM | Errno::ENOBUFS => Some(NotSentReason::Memory),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_the_system_refuses_to_cacheproof_is_not_the_apps() {
        let of = |errno: Errno| client_failure(&std::io::Error::from_raw_os_error(errno as i32));
        assert_eq!(of(Errno::EMFILE), Some(NotSentReason::Files));
        assert_eq!(of(Errno::ENFILE), Some(NotSentReason::SystemFiles));
        assert_eq!(of(Errno::EADDRNOTAVAIL), Some(NotSentReason::Ports));
        assert_eq!(of(Errno::ENOBUFS), Some(NotSentReason::Memory));
        for errno in [Errno::ECONNREFUSED, Errno::ECONNRESET, Errno::EPIPE, Errno::ETIMEDOUT, Errno::EHOSTUNREACH] {
            assert_eq!(of(errno), None, "{errno}: the app's");
        }
        assert_eq!(client_failure(&std::io::Error::other("too many open files")), None, "no error of the system");
    }

    #[tokio::test]
    async fn it_is_found_within_an_error_of_the_http_client() {
        let client = super::super::client(Duration::from_secs(5), false);
        // No name under this domain exists (RFC 2606), and without a network none is found either.
        let name = client.get("http://app.invalid/").send().await.unwrap_err();
        assert_eq!(client_failure(&name), Some(NotSentReason::Name), "{name:?}");
        let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let refused = client.get(format!("http://{unused}/")).send().await.unwrap_err();
        assert_eq!(client_failure(&refused), None, "{refused:?}");
    }
}
