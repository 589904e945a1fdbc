use super::SessionId;
use std::time::Duration;

/// The cookie that carries a session's id: `HttpOnly`, `Secure`, `SameSite=Lax`, for the whole host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionCookie {
    name: String,
    max_age: Duration,
    same_site: SameSite,
}

/// When a browser sends the cookie with requests from other sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// With links to the site only.
    Lax,
    /// Never.
    Strict,
}

impl SessionCookie {
    /// A cookie of this name that browsers keep for so long: as long as the longest life of a session, for the server ends it
    /// sooner when it should. With the prefix `__Host-` no other host can plant one. `None` when the name is no token.
    #[must_use]
    pub fn new(name: impl Into<String>, max_age: Duration) -> Option<Self> {
        let name = name.into();
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        let fine = !name.is_empty() && name.bytes().all(token);
        fine.then_some(Self { name, max_age, same_site: SameSite::Lax })
    }

    /// When a browser sends it with requests from other sites.
    #[must_use]
    pub fn same_site(mut self, same_site: SameSite) -> Self {
        self.same_site = same_site;
        self
    }

    /// The value of `Set-Cookie` that gives a client its session. A secret.
    #[must_use]
    pub fn set(&self, id: &SessionId) -> String {
        self.header(&id.encoded(), self.max_age)
    }

    /// The value of `Set-Cookie` that takes it away.
    #[must_use]
    pub fn remove(&self) -> String {
        self.header("", Duration::ZERO)
    }

    fn header(&self, value: &str, max_age: Duration) -> String {
        let same_site = match self.same_site {
            SameSite::Lax => "Lax",
            SameSite::Strict => "Strict",
        };
        let (name, seconds) = (&self.name, max_age.as_secs());
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; Secure; SameSite={same_site}")
    }

    /// Our id out of the values of a request's `Cookie` headers: the first of our name, if it is one.
    #[must_use]
    pub fn find<'a>(&self, cookies: impl IntoIterator<Item = &'a str>) -> Option<SessionId> {
        let pairs = cookies.into_iter().flat_map(|header| header.split(';'));
        let mine = pairs.filter_map(|pair| pair.trim().split_once('=')).find(|(name, _)| *name == self.name);
        let value = mine?.1.trim();
        let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        SessionId::parse(unquoted.unwrap_or(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cookie() -> SessionCookie {
        SessionCookie::new("__Host-session", Duration::from_secs(86_400)).expect("a name")
    }

    #[test]
    fn a_cookie_is_for_our_server_alone() {
        let id = SessionId::random();
        let text = id.encoded();
        let set = format!("__Host-session={text}; Path=/; Max-Age=86400; HttpOnly; Secure; SameSite=Lax");
        assert_eq!(cookie().set(&id), set);
        let gone = cookie().same_site(SameSite::Strict).remove();
        assert_eq!(gone, "__Host-session=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Strict");
        for name in ["", "a b", "a=b", "a;b", "é"] {
            assert_eq!(SessionCookie::new(name, Duration::ZERO), None, "{name}");
        }
    }

    #[test]
    fn ours_is_found_among_others() {
        let id = SessionId::random();
        let text = id.encoded();
        for header in [
            format!("__Host-session={text}"),
            format!("a=b; __Host-session={text}; c=d"),
            format!("x__Host-session=1;__Host-session=\"{text}\""),
        ] {
            assert_eq!(cookie().find([header.as_str()]), Some(id.clone()), "{header}");
        }
        assert_eq!(cookie().find(["a=b", &format!("__Host-session={text}")]), Some(id), "in a second header");
        for header in ["", "__Host-session=", "__Host-session=x", "__host-session=x", ";;=;"] {
            assert_eq!(cookie().find([header]), None, "{header}");
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(header in ".{0,60}") {
            prop_assert_eq!(cookie().find([header.as_str()]), None);
        }
    }
}
