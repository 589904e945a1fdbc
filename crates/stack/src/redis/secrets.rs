//! Passwords, users and certificates of one deployment.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use crate::StackError;
use crate::password::random_password;
use cacheproof_core::scenario::RedisSpec;

/// The app's user, where it has one of its own.
const USER: &str = "app";

/// What a cache needs: no administration, no FLUSHALL, no KEYS.
const ACL_RULES: &str = "~* &* +@read +@write +@connection +@transaction +@scripting +@pubsub -@dangerous \
                      +info +role +time +cluster|slots +cluster|shards +cluster|nodes +cluster|info +cluster|myid \
                      +cluster|keyslot";

/// Passwords and users of one deployment. Every run has new ones.
pub(super) struct Secrets {
    /// The password of the default user: for cacheproof, for replication, and for the app where it has no user of its own.
    pub(super) password: String,
    /// The password of the app's own user.
    app: Option<String>,
}

impl Secrets {
    pub(super) fn new(spec: &RedisSpec) -> Self {
        Self { password: random_password(), app: spec.acl.then(random_password) }
    }

    /// `user:password` of the app, as in a URL.
    pub(super) fn app(&self) -> String {
        match &self.app {
            Some(password) => format!("{USER}:{password}"),
            None => format!(":{}", self.password),
        }
    }

    /// The name of the app's user, for the report.
    pub(super) fn user(&self) -> &'static str {
        if self.app.is_some() { USER } else { "default" }
    }

    /// The lines for a server's configuration.
    pub(super) fn settings(&self) -> String {
        let own = format!("requirepass {0}\nmasterauth {0}\n", self.password);
        match &self.app {
            Some(password) => format!("{own}user {USER} on >{password} {ACL_RULES}\n"),
            None => own,
        }
    }
}

/// A CA of the run, and a server certificate signed by it, as PEM.
pub(super) struct Certificates {
    /// Names and contents of the files that a server needs.
    pub(super) files: [(&'static str, String); 3],
}

/// The file with the CA certificate.
const CA: &str = "ca.crt";

impl Certificates {
    /// Makes certificates for servers on 127.0.0.1.
    pub(super) fn new() -> Result<Self, StackError> {
        Self::generate().map_err(|error| StackError::Certificates(error.to_string()))
    }

    fn generate() -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "cacheproof CA of this run");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let mut params = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, "redis");
        // ClientAuth, because a replica is a client of its master.
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let server = params.signed_by(&key, &authority)?;
        let files = [(CA, authority.pem()), ("server.crt", server.pem()), ("server.key", key.serialize_pem())];
        Ok(Self { files })
    }

    /// Writes the CA certificate to a file that the app can read.
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
    fn the_app_has_a_user_of_its_own_only_with_acl() {
        let plain = Secrets::new(&RedisSpec::default());
        assert_eq!((plain.app(), plain.user()), (format!(":{}", plain.password), "default"));
        assert!(!plain.settings().contains("user "), "{}", plain.settings());
        let acl = Secrets::new(&RedisSpec { acl: true, ..RedisSpec::default() });
        assert!(acl.app().starts_with("app:") && !acl.app().contains(&acl.password));
        assert!(acl.settings().contains("-@dangerous"), "{}", acl.settings());
    }

    #[test]
    fn every_run_has_a_ca_of_its_own() {
        let (one, other) = (Certificates::new().unwrap(), Certificates::new().unwrap());
        assert_ne!(one.files[0].1, other.files[0].1);
        assert!(one.files[2].1.starts_with("-----BEGIN PRIVATE KEY-----"));
    }
}
