//! Which process group owns a connection on this machine, from /proc.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A younger snapshot of the sockets is used again, for sockets that are in it.
const SNAPSHOT_MAX_AGE: Duration = Duration::from_millis(50);

/// Recognizes the connections of a process group.
#[derive(Debug)]
pub(super) struct ConnectionOwner {
    group: u32,
    /// The port that they connect to: one local port can be used for several destinations.
    destination_port: u16,
    snapshot: Mutex<SocketSnapshot>,
}

#[derive(Debug)]
struct SocketSnapshot {
    at: Option<Instant>,
    /// The local port of every connection to that port, and whether the group owns it.
    ports: HashMap<u16, bool>,
}

impl ConnectionOwner {
    /// For the connections of this process group to this port.
    pub(super) fn of(group: u32, destination_port: u16) -> Self {
        Self { group, destination_port, snapshot: Mutex::new(SocketSnapshot { at: None, ports: HashMap::new() }) }
    }

    /// Whether the client with this address belongs to the group.
    pub(super) fn owns(&self, client: SocketAddr) -> bool {
        let mut snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        if snapshot.at.is_some_and(|at| at.elapsed() < SNAPSHOT_MAX_AGE)
            && let Some(owned) = snapshot.ports.get(&client.port())
        {
            return *owned;
        }
        let inodes = sockets_of_group(self.group);
        snapshot.ports = tcp_sockets(self.destination_port)
            .into_iter()
            .map(|(port, inode)| (port, inodes.contains(&inode)))
            .collect();
        snapshot.at = Some(Instant::now());
        snapshot.ports.get(&client.port()).copied().unwrap_or(false)
    }
}

/// Local port and inode of every TCP connection on this machine to this port.
#[cfg(target_os = "linux")]
fn tcp_sockets(destination_port: u16) -> Vec<(u16, u64)> {
    [procfs::net::tcp(), procfs::net::tcp6()]
        .into_iter()
        .flat_map(Result::unwrap_or_default)
        .filter(|socket| socket.remote_address.port() == destination_port)
        .map(|socket| (socket.local_address.port(), socket.inode))
        .collect()
}

/// Inodes of the sockets that the processes of a group have open.
#[cfg(target_os = "linux")]
fn sockets_of_group(group: u32) -> HashSet<u64> {
    use procfs::process::{FDTarget, all_processes};

    let in_group =
        |process: &procfs::process::Process| process.stat().is_ok_and(|stat| u32::try_from(stat.pgrp) == Ok(group));
    all_processes()
        .into_iter()
        .flatten()
        .flatten()
        .filter(in_group)
        .filter_map(|process| process.fd().ok())
        .flatten()
        .filter_map(|file| match file.ok()?.target {
            FDTarget::Socket(inode) => Some(inode),
            _ => None,
        })
        .collect()
}

/// Only Linux has /proc: no connection is known to be anybody's.
#[cfg(not(target_os = "linux"))]
fn tcp_sockets(_destination_port: u16) -> Vec<(u16, u64)> {
    Vec::new()
}

#[cfg(not(target_os = "linux"))]
fn sockets_of_group(_group: u32) -> HashSet<u64> {
    HashSet::new()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_belongs_to_the_group_of_this_process_and_to_no_other() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let own = u32::try_from(nix::unistd::getpgrp().as_raw()).unwrap();
        let owner = ConnectionOwner::of(own, address.port());
        assert!(owner.owns(client.local_addr().unwrap()));
        assert!(!ConnectionOwner::of(own + 1_000_000, address.port()).owns(client.local_addr().unwrap()));
        assert!(!ConnectionOwner::of(own, address.port() ^ 1).owns(client.local_addr().unwrap()), "to another port");
        let later = TcpStream::connect(address).unwrap();
        assert!(owner.owns(later.local_addr().unwrap()), "an unknown socket causes a new snapshot");
    }
}
