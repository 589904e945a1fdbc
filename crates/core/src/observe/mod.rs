//! What was seen: the recorder that takes every answer, the journal that keeps it all, and [`Measurements`], the one reading of a journal that verdict, report and terminal share.

mod beats;
mod event;
mod event_sink;
mod freshness;
mod histogram;
mod journal;
mod measurements;
mod pulse;
mod recorder;

pub use beats::Beat;
pub use event::*;
pub use event_sink::*;
pub use freshness::*;
pub use histogram::*;
pub use journal::*;
pub use measurements::*;
pub use pulse::{Pulse, PulseCell};
pub use recorder::*;
