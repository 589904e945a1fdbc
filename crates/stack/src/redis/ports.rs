//! The ports of one node.

use super::super::StackError;
use super::super::local::free_port;

/// The ports of one node on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    /// Where it speaks plainly: for cacheproof's own questions, and for the app where there is no TLS.
    pub(super) plain: u16,
    /// Where it speaks TLS.
    pub(super) tls: Option<u16>,
    /// Where the nodes of a Cluster speak to each other.
    pub(super) bus: Option<u16>,
    /// Its proxy's. Clients know this one only.
    pub(super) proxy: u16,
}

impl Ports {
    /// Free ones, all different.
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
