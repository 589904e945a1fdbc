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

/// Local port and inode of every TCP connection to this port.
fn tcp_sockets(destination_port: u16) -> Vec<(u16, u64)> {
    let mut all = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = std::fs::read_to_string(table).unwrap_or_default();
        all.extend(text.lines().skip(1).filter_map(|line| parse_socket_line(line, destination_port)));
    }
    all
}

/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …`
fn parse_socket_line(line: &str, destination_port: u16) -> Option<(u16, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let port = |field: usize| u16::from_str_radix(fields.get(field)?.rsplit_once(':')?.1, 16).ok();
    (port(2)? == destination_port).then_some((port(1)?, fields.get(9)?.parse().ok()?))
}

/// Inodes of the open sockets of the processes in a group.
fn sockets_of_group(group: u32) -> HashSet<u64> {
    let mut inodes = HashSet::new();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let is_number = process.file_name().to_str().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        if !is_number || group_of(&process.path()) != Some(group) {
            continue;
        }
        for file in std::fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
            let target = std::fs::read_link(file.path()).unwrap_or_default();
            let inode: Option<u64> =
                target.to_str().and_then(|name| name.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            inodes.extend(inode);
        }
    }
    inodes
}

/// The third field after the name, which may contain spaces and parentheses.
fn group_of(process: &std::path::Path) -> Option<u32> {
    let stat = std::fs::read_to_string(process.join("stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(2)?.parse().ok()
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
        let own = group_of(std::path::Path::new("/proc/self")).unwrap();
        let owner = ConnectionOwner::of(own, address.port());
        assert!(owner.owns(client.local_addr().unwrap()));
        assert!(!ConnectionOwner::of(own + 1_000_000, address.port()).owns(client.local_addr().unwrap()));
        assert!(!ConnectionOwner::of(own, address.port() ^ 1).owns(client.local_addr().unwrap()), "to another port");
        let later = TcpStream::connect(address).unwrap();
        assert!(owner.owns(later.local_addr().unwrap()), "an unknown socket causes a new snapshot");
    }
}
