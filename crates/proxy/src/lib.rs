//! The TCP proxy between the app and a server: a port that stays the same for the whole run, and faults on the connections.
//!
//! Each [`Proxy`] has one thread with its own event loop, which owns all sockets and faults. The thread executes a call
//! ([`Proxy::inject`], [`Proxy::remove`]…) between two events. For a fault, connections accepted before are live, and later ones are
//! new. When the call returns, the effect is complete: connections that a fault resets have been reset. The timing does not depend on
//! the load generator's runtime.
//!
//! Without a fault, bytes are forwarded as they arrive, TLS included, and a connection ends as the other side ended it: FIN as FIN, RST as
//! RST. While the server refuses connections, the proxy's port refuses them too, but the port stays bound.
//!
//! Faults can be combined, and each is removed separately. In one direction of a connection, delays add up, the smallest of several
//! bandwidths and slice sizes applies, and a black hole stops everything. What each fault does, exactly:
//!
//! - **latency**: each chunk of bytes is forwarded at its arrival time plus the delay, so a pipelined connection gets the same delay as a
//!   serial one. The end of the stream, FIN or RST, is delayed in the same way. A delay never becomes negative through a large jitter. In
//!   both directions, a round trip takes twice the delay. Opening a connection is not delayed. When the fault is removed, delayed bytes
//!   are forwarded at once.
//! - **bandwidth**: shared by all connections that the fault hits, as on one link; each direction has its own.
//! - **refuse**: the kernel answers ECONNREFUSED. With a share below 1, or with a client filter, a connection is accepted and reset at
//!   once, because the kernel accepts before the proxy can choose.
//! - **reset**: RST to both ends, also on an idle connection. In one direction only, RST to the end that this direction leads to, and FIN
//!   to the other.
//! - **black hole**: nothing is read and nothing forwarded, so the sender's bytes wait in the kernel, as on a network that drops packets
//!   which are later retransmitted. A close is not forwarded either. When the fault is removed, what waited is delivered in order, late
//!   writes included, as after a healed partition. A connection opened meanwhile reaches the server only then, and only if its client has
//!   not closed it. (The client's connect succeeds: only a firewall can make it hang.)
//! - **slice**: the bytes of a direction are split into pieces, with a gap after each.
//! - **half-open**: the connection to the server is closed, or never opened for a new client; what the client sends is discarded. When the
//!   fault is removed, a client that has sent something is reset, and any other client as soon as it sends, as by a host that has
//!   restarted and does not know the connection.
//!
//! Start reading at [`Proxy`] in `handle.rs`, then `event_loop.rs`; `link.rs` is one direction of a connection.

mod conditions;
mod connection;
mod event_loop;
mod faults;
mod handle;
mod link;
mod listener;
mod sockets;
mod timers;
mod upstream;

#[cfg(test)]
mod tests;

pub use faults::{ClientFilter, FaultId};
pub use handle::{Injected, Proxy, Removed, Stats};
