//! The proxies in front of the servers.

use std::io::ErrorKind;
use std::net::SocketAddr;

use super::StackError;
use cacheproof_proxy::Proxy;

/// A proxy at a port. `None` when somebody else took the port first.
pub(super) fn start(port: u16, upstream: SocketAddr, seed: u64) -> Result<Option<Proxy>, StackError> {
    match Proxy::start(Some(port), upstream, seed) {
        Ok(proxy) => Ok(Some(proxy)),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(None),
        Err(error) => Err(StackError::system("start a proxy")(error)),
    }
}

/// A proxy at a free port.
pub(super) fn start_on_free_port(upstream: SocketAddr, seed: u64) -> Result<Proxy, StackError> {
    for _ in 0..10 {
        let port = super::free_port().map_err(StackError::system("find a free port"))?;
        if let Some(proxy) = start(port, upstream, seed)? {
            return Ok(proxy);
        }
    }
    Err(StackError::NoPort("a proxy"))
}

/// The seed of the proxy in front of the node of that name: the same in every run with the same seed, and another
/// than its neighbour's (FNV-1a).
pub(super) fn seed(of_run: u64, name: &str) -> u64 {
    name.bytes()
        .fold(of_run ^ 0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
