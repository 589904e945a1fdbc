//! The load: arrival times, requests, and goose to send them.
//!
//! All randomness comes from the seed of the scenario: arrival `n` of phase `p` is the same request for the same keys
//! at the same offset in every run, whichever user sends it.
//!
//! # Where to start reading
//!
//! `arrivals` makes the times of requests, `plan` and `keys` make the requests themselves. `driver` waits and queues, and
//! `driver/iteration.rs` sends. `exchange` sends one request, has its answer read by `response` (hit or miss, item, version)
//! and judged by `freshness` (stale, wrong, lost), and records it in `recorder`.

mod arrivals;
mod body_hash;
mod driver;
mod exchange;
mod freshness;
mod keys;
mod plan;
mod recorder;
mod request;
pub mod response;

pub use arrivals::*;
pub use driver::*;
pub use exchange::*;
pub use freshness::*;
pub use keys::*;
pub use plan::*;
pub use recorder::*;
