//! The ways to use a cache in front of a database, each with what it promises and gives up.
//!
//! | pattern | here | reads see | costs |
//! |---|---|---|---|
//! | [`cache_aside`] | [`Cache::get_or_load`](crate::Cache::get_or_load), [`Cache::write_around`](crate::Cache::write_around) | every invalidated write | a load for each miss |
//! | [`stale_while_revalidate`] | [`Cache::get_or_refresh`](crate::Cache::get_or_refresh) | values past their TTL, marked | nobody waits for a load |
//! | [`refresh_ahead`] | [`Cache::get_or_refresh`](crate::Cache::get_or_refresh) | every invalidated write | loads that nobody may need |
//! | [`write_through`] | [`Cache::write_through`](crate::Cache::write_through) | every invalidated write | one read more for each write |
//! | [`write_behind`] | [`WriteBehind`](write_behind::WriteBehind) | writes before they are in the database | a crash loses what is queued |
//! | [`batch`] | [`Cache::get_many_or_load`](crate::Cache::get_many_or_load) | every invalidated write | one round trip for all |
//! | [`stampede`] | in all of the above | | waiting for another's load |
//! | [`two_tiers`] | the strategy `two-tier` | every invalidated write, a message later | memory in each process |

pub mod batch;
pub mod cache_aside;
pub mod refresh_ahead;
pub mod stale_while_revalidate;
pub mod stampede;
pub mod two_tiers;
pub mod write_behind;
pub mod write_through;
