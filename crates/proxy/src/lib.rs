//! The TCP proxy between the app and a server: a port that stays the same for the whole run, and faults on what passes.
//!
//! Each [`Proxy`] has one thread with its own event loop, which owns every socket and every fault. What is asked of it ([`Proxy::inject`],
//! [`Proxy::remove`]…) is done by that thread between two events: whatever was open before is live, whatever comes after is new, and
//! when the call returns it has happened: sockets that were to be reset have been. The load generator's runtime has no part in its timing.
//!
//! Without a fault, bytes pass as they come, TLS included, and a connection ends as the other side ended it: FIN as FIN, RST as RST.
//! While the server refuses connections, so does the proxy's port; the port itself is never let go.
//!
//! Faults stack, and each is removed by itself. On one direction of a connection, delays add up, the smallest of several bandwidths
//! and slices counts, and a black hole holds back everything. What each fault does, exactly:
//!
//! - **latency**: a chunk of bytes is stamped when it arrives and passed on at stamp + delay, so that a pipelined connection gets
//!   the same delay as a serial one. The end of the stream, FIN or RST, travels through the same line. A jitter larger than the delay stops at
//!   no delay. With both directions, a round trip takes twice the delay. Opening a connection is not delayed. When it is removed, what
//!   is on its way arrives at once.
//! - **bandwidth**: for all connections that are hit together, as on a link that they share; each direction has its own.
//! - **refuse**: the kernel answers ECONNREFUSED. With a share below 1, or for some clients only, a connection is accepted and reset at once,
//!   because the kernel asks nobody before it accepts.
//! - **reset**: RST to both ends, also if nothing is being sent; with one direction, RST to the end that this direction leads to, and a plain close
//!   to the other.
//! - **black hole**: nothing is read and nothing passed on, so that the sender's bytes wait in the kernel, as on a network that lost its
//!   packets and will send them again; nor is it seen if an end closes. When it is removed, what waited is delivered in order: a healed
//!   partition does the same, late writes included. A connection made meanwhile reaches the server only then, and not if its client has
//!   given up. (Its connect succeeds: only a firewall can make it hang.)
//! - **slice**: one direction's bytes in pieces, a gap after each.
//! - **half-open**: the server's side is closed, or for a new connection never opened; what the client sends is lost. When it is removed, a client
//!   that has sent something is reset, and any other as soon as it sends, as by a host that came back and knows nothing of the connection.

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
