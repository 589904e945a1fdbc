//! Whose connection it is: the process group behind a socket on this machine, from /proc.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A picture of the sockets this young is good for sockets that are in it.
const SNAPSHOT_MAX_AGE: Duration = Duration::from_millis(50);

/// Tells a process group's connections from others.
#[derive(Debug)]
pub(super) struct ConnectionOwner {
    group: u32,
    /// The port that they connect to: one port of their own may serve for several destinations.
    destination_port: u16,
    snapshot: Mutex<SocketSnapshot>,
}

#[derive(Debug)]
struct SocketSnapshot {
    at: Option<Instant>,
    /// The local port of every connection to that port, and whether the group has it.
    ports: HashMap<u16, bool>,
}

impl ConnectionOwner {
    /// Of the process group with this number, to this port.
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

/// Inodes of the sockets that the processes of a group have open.
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

/// The third field behind the name, which may hold spaces and brackets.
fn group_of(process: &std::path::Path) -> Option<u32> {
    let stat = std::fs::read_to_string(process.join("stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_of_this_process_is_its_groups_and_no_others() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let own = group_of(std::path::Path::new("/proc/self")).unwrap();
        let owner = ConnectionOwner::of(own, address.port());
        assert!(owner.owns(client.local_addr().unwrap()));
        assert!(!ConnectionOwner::of(own + 1_000_000, address.port()).owns(client.local_addr().unwrap()));
        assert!(!ConnectionOwner::of(own, address.port() ^ 1).owns(client.local_addr().unwrap()), "to another port");
        let later = TcpStream::connect(address).unwrap();
        assert!(owner.owns(later.local_addr().unwrap()), "a socket that is not in the picture makes a new one");
    }
}
