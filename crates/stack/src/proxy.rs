//! Starts the proxies in front of the servers.

use std::io::ErrorKind;
use std::net::SocketAddr;

use crate::{StackError, free_port};
use cacheproof_proxy::Proxy;

/// Starts a proxy on this port. `None` when another program took the port first.
pub(super) fn start(port: u16, upstream: SocketAddr, seed: u64) -> Result<Option<Proxy>, StackError> {
    match Proxy::start(Some(port), upstream, seed) {
        Ok(proxy) => Ok(Some(proxy)),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(None),
        Err(error) => Err(StackError::system("start a proxy")(error)),
    }
}

/// Starts a proxy on a free port.
pub(super) fn start_on_free_port(upstream: SocketAddr, seed: u64) -> Result<Proxy, StackError> {
    for _ in 0..10 {
        let port = free_port().map_err(StackError::system("find a free port"))?;
        if let Some(proxy) = start(port, upstream, seed)? {
            return Ok(proxy);
        }
    }
    Err(StackError::NoPort("a proxy"))
}

/// The seed of the proxy of the node with this name: the same in every run with the same seed, and different for each node
/// (FNV-1a).
pub(super) fn seed(run_seed: u64, name: &str) -> u64 {
    name.bytes()
        .fold(run_seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
