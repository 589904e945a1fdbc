//! Values with units, as they stand in scenario files and rules.

use std::time::Duration;

/// A value with its unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quantity {
    /// A time: `150ms`, `1.5s`, `20us`.
    Time(Duration),
    /// A share of 1: `60%` is 0.6.
    Share(f64),
    /// A plain number: `0`, `10_000`.
    Count(f64),
    /// Bytes: `64mb` (1 kb = 1024 bytes, as Redis has it).
    Bytes(u64),
    /// Events a second: `400/s`.
    Rate(f64),
}
