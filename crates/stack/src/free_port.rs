//! Free ports for servers and proxies.

use std::net::{Ipv4Addr, TcpListener};

use rand::Rng as _;

/// A port on 127.0.0.1 that is free now. It is below the range from which the system takes ports for outgoing connections, where
/// that range leaves room. Otherwise a client that reconnects to a dead server could get the server's own port for its
/// connection: it would be connected to itself, and the server could not start again.
///
/// # Errors
/// The system's.
pub fn free_port() -> std::io::Result<u16> {
    const LOWEST: u16 = 15_000;
    let outgoing: u16 = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(32_768);
    for _ in 0..50 {
        let port = if outgoing > LOWEST + 1000 { rand::rng().random_range(LOWEST..outgoing) } else { 0 };
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(listener.local_addr()?.port());
        }
    }
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
