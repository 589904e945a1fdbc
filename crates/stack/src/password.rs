//! Passwords for the servers of a run.

/// A random password that needs no escaping in URLs, configuration files or shells.
pub(crate) fn random_password() -> String {
    format!("{:032x}", rand::random::<u128>())
}
