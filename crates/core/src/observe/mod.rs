//! What was seen: the recorder that takes every answer, the journal that keeps it all, and [`Measurements`], the one reading of a journal that verdict, report and terminal share.

mod beats;
mod event;
mod freshness;
mod histogram;
mod hub;
mod journal;
mod measurements;
mod pulse;
mod recorder;

pub use beats::Beat;
pub use event::*;
pub use freshness::*;
pub use histogram::*;
pub use hub::*;
pub use journal::*;
pub use measurements::*;
pub use pulse::{Pulse, PulseCell};
pub use recorder::*;
