//! Many requests miss one key at once, and one load is enough for all.
//!
//! **Promises**: in one process, requests for one key share a load where that cannot show one of them the past: the load began after
//! the request did, or its lease stood until the fill, after the request had come. Across processes, who misses takes the lease; the
//! others look again at growing, random intervals for up to [`Cache::with_lease_wait`](crate::Cache::with_lease_wait). So 1,000 misses
//! cost one load, in one process or in many, when the load is faster than that wait. A leader that fails or is cancelled gives its lease
//! back. Without Redis, each process still shares its own loads.
//!
//! **Gives up**: whose wait ends before the load does, loads as well, without storing: a slow load is done once for each process,
//! at most. The lease is for efficiency *and* for truth: a fill without it is refused, so that a leader which was paused for
//! longer than its lease cannot store what is outdated, as it can with a lock and a plain `SET`.
//!
//! Expiries are spread by [`KeyClass::jittered`](crate::KeyClass::jittered), so that what was stored together does not end together;
//! [`refresh_ahead`](super::refresh_ahead) loads hot keys before they end.
