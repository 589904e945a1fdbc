//! Passwords, users and certificates of one deployment.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use super::super::StackError;
use super::super::local::password;
use cacheproof_core::scenario::RedisSpec;

/// The app's user, where it is not the default one.
const USER: &str = "app";

/// What a cache needs, and nothing that could harm others: no administration, no FLUSHALL, no KEYS.
const ACL_RULES: &str = "~* &* +@read +@write +@connection +@transaction +@scripting +@pubsub -@dangerous \
                      +info +role +time +cluster|slots +cluster|shards +cluster|nodes +cluster|info +cluster|myid \
                      +cluster|keyslot";

/// Passwords and users of one deployment; made anew for every run.
pub(super) struct Secrets {
    /// The default user's: cacheproof's own, the servers' among themselves, and the app's where it has none.
    pub(super) password: String,
    /// The app's, where it is a user of its own.
    app: Option<String>,
}

impl Secrets {
    pub(super) fn new(spec: &RedisSpec) -> Self {
        Self { password: password(), app: spec.acl.then(password) }
    }

    /// `user:password` of the app, as it stands in a URL.
    pub(super) fn app(&self) -> String {
        match &self.app {
            Some(password) => format!("{USER}:{password}"),
            None => format!(":{}", self.password),
        }
    }

    /// The user that the app has, for the report.
    pub(super) fn user(&self) -> &'static str {
        if self.app.is_some() { USER } else { "default" }
    }

    /// The lines of a server's configuration.
    pub(super) fn settings(&self) -> String {
        let own = format!("requirepass {0}\nmasterauth {0}\n", self.password);
        match &self.app {
            Some(password) => format!("{own}user {USER} on >{password} {ACL_RULES}\n"),
            None => own,
        }
    }
}

/// An authority of the run's own and a server certificate of it, as PEM.
pub(super) struct Certificates {
    /// Names and texts of the files that a server has beside its configuration.
    pub(super) files: [(&'static str, String); 3],
}

/// The file that says whom to trust.
const CA: &str = "ca.crt";

impl Certificates {
    /// For servers at 127.0.0.1.
    pub(super) fn new() -> Result<Self, StackError> {
        Self::make().map_err(|error| StackError::Certificates(error.to_string()))
    }

    fn make() -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "cacheproof, this run's authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let mut params = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, "redis");
        // A replica is a client of its master.
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let server = params.signed_by(&key, &authority)?;
        let files = [(CA, authority.pem()), ("server.crt", server.pem()), ("server.key", key.serialize_pem())];
        Ok(Self { files })
    }

    /// Writes the authority's certificate where the app can read it.
    pub(super) fn publish(&self, directory: &Path) -> Result<PathBuf, StackError> {
        let path = directory.join("redis-ca.crt");
        std::fs::write(&path, &self.files[0].1).map_err(StackError::path("write", &path))?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_app_has_a_user_of_its_own_only_where_the_scenario_says_so() {
        let plain = Secrets::new(&RedisSpec::default());
        assert_eq!((plain.app(), plain.user()), (format!(":{}", plain.password), "default"));
        assert!(!plain.settings().contains("user "), "{}", plain.settings());
        let acl = Secrets::new(&RedisSpec { acl: true, ..RedisSpec::default() });
        assert!(acl.app().starts_with("app:") && !acl.app().contains(&acl.password));
        assert!(acl.settings().contains("-@dangerous"), "{}", acl.settings());
    }

    #[test]
    fn every_run_has_an_authority_of_its_own() {
        let (one, other) = (Certificates::new().unwrap(), Certificates::new().unwrap());
        assert_ne!(one.files[0].1, other.files[0].1);
        assert!(one.files[2].1.starts_with("-----BEGIN PRIVATE KEY-----"));
    }
}
