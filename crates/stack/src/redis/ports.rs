//! The ports of one node.

use crate::{StackError, free_port};

/// The ports of one node on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    /// Without TLS: for cacheproof's probes, and for the app where the scenario has no TLS.
    pub(super) plain: u16,
    /// With TLS.
    pub(super) tls: Option<u16>,
    /// Of the Cluster bus.
    pub(super) bus: Option<u16>,
    /// Of its proxy. Clients know only this one.
    pub(super) proxy: u16,
}

impl Ports {
    /// Chooses free ports, all different.
    pub(super) fn choose(tls: bool, bus: bool) -> Result<Self, StackError> {
        let mut taken = Vec::new();
        let mut next = || {
            loop {
                let port = free_port().map_err(StackError::system("find a free port"))?;
                if !taken.contains(&port) {
                    taken.push(port);
                    return Ok::<_, StackError>(port);
                }
            }
        };
        let (plain, proxy) = (next()?, next()?);
        let tls = if tls { Some(next()?) } else { None };
        let bus = if bus { Some(next()?) } else { None };
        Ok(Self { plain, tls, bus, proxy })
    }

    /// Where the proxy passes connections on to.
    pub(super) fn upstream(&self) -> u16 {
        self.tls.unwrap_or(self.plain)
    }
}
