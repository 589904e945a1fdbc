use sha2::{Digest, Sha256};
use std::fmt;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// The shortest token: 16 characters out of 64 are 96 bits.
const SHORTEST: usize = 16;

/// A bearer token, kept as its SHA-256 digest only. `Debug` and logs show its [`Token::id`].
#[derive(Clone)]
pub struct Token {
    digest: [u8; 32],
    id: String,
}

/// A token that cannot be one. It is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a management token is at least {SHORTEST} printable ASCII characters without spaces: `openssl rand -hex 32` makes a good one"
)]
pub struct WeakToken;

impl Token {
    /// # Errors
    /// It is too short to be a secret, or cannot be sent in a header.
    pub fn new(secret: &str) -> Result<Self, WeakToken> {
        if secret.len() < SHORTEST || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(WeakToken);
        }
        // The id has a hash of its own: it must not tell anything about the digest that is compared.
        let id = Sha256::new().chain_update(b"cache-layer token id\0").chain_update(secret).finalize();
        let id = id.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { digest: digest(secret.as_bytes()), id })
    }

    /// Eight hexadecimal digits that say which token it was, in the audit log.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Which of the tokens was presented. Takes the same time whichever it is, and whether it is one.
    pub(super) fn find<'a>(tokens: &'a [Self], presented: &[u8]) -> Option<&'a Self> {
        let presented = digest(presented);
        let (mut found, mut at) = (Choice::from(0), 0_u32);
        for (i, token) in (0_u32..).zip(tokens) {
            let same = token.digest.ct_eq(&presented);
            at.conditional_assign(&i, same);
            found |= same;
        }
        bool::from(found).then(|| tokens.get(at as usize)).flatten()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("id", &self.id).finish_non_exhaustive()
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_one_of_them() {
        let tokens = ["first-token-of-two", "second-token-of-two", "second-token-of-two", "third-token-of-three"];
        let tokens: Vec<_> = tokens.iter().map(|token| Token::new(token).expect("long enough")).collect();
        for token in ["first-token-of-two", "second-token-of-two", "third-token-of-three"] {
            let found = Token::find(&tokens, token.as_bytes()).expect("one of them");
            assert_eq!(found.id(), Token::new(token).expect("long enough").id());
        }
        for wrong in ["", "first-token-of-tw", "first-token-of-two2", "second", "FIRST-TOKEN-OF-TWO"] {
            assert!(Token::find(&tokens, wrong.as_bytes()).is_none(), "{wrong}");
        }
        assert!(Token::find(&[], b"first-token-of-two").is_none());
    }

    #[test]
    fn a_token_shows_neither_itself_nor_its_digest() {
        let token = Token::new("a-secret-of-mine-1").expect("long enough");
        let shown = format!("{token:?}");
        assert!(shown.contains(token.id()) && !shown.contains("secret"), "{shown}");
        assert!(!format!("{:02x?}", token.digest).replace(", ", "").contains(token.id()));
        assert_eq!(token.id().len(), 8);
    }

    #[test]
    fn weak_tokens_are_refused() {
        for weak in ["", "short", "fifteen-letters", "sixteen letters with spaces", "sixteen-létters-and-more"] {
            assert!(Token::new(weak).is_err(), "{weak}");
        }
    }
}
