use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use std::fmt;

/// What a client shows to be let in: 256 random bits. Whoever has it is the user, so it is not shown by `Debug`, and Redis holds
/// only its SHA-256.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionId([u8; 32]);

impl SessionId {
    pub(super) fn random() -> Self {
        Self(rand::random())
    }

    /// Out of what a client sent; `None` for anything that is no id.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // 43 characters: nothing longer is looked at.
        let bytes = (text.len() == 43).then(|| URL_SAFE_NO_PAD.decode(text).ok())??;
        Some(Self(bytes.try_into().ok()?))
    }

    /// As it stands in a cookie: 43 characters of base64url. A secret.
    #[must_use]
    pub fn encoded(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What its record is found by.
    pub(super) fn hash(&self) -> String {
        hash(&self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(…)")
    }
}

/// SHA-256 in base64url.
pub(super) fn hash(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_was_written_and_in_no_other_way() {
        let id = SessionId::random();
        let text = id.encoded();
        assert_eq!(SessionId::parse(&text), Some(id.clone()));
        assert_ne!(id, SessionId::random());
        assert!(!format!("{id:?}").contains(&text[..4]));
        assert!(!id.hash().contains(&text[..8]));
        let padded = format!("{text}=");
        for other in ["", "x", &text[1..], &padded, &"!".repeat(43), &format!("{}_", &text[..42]), &"\u{e9}".repeat(43)]
        {
            assert!(other == text || SessionId::parse(other).is_none(), "{other}");
        }
    }
}
