//! Where look-ups ended: in Redis, in the first tier.

use super::hot::HotCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Found or absent: two counters, got hold of once, because each look-up counts.
#[derive(Clone, Debug)]
pub(crate) struct Lookups {
    family: Family<[(&'static str, &'static str); 1], HotCounter>,
    found: HotCounter,
    absent: HotCounter,
}

impl Default for Lookups {
    fn default() -> Self {
        let family: Family<[(&'static str, &'static str); 1], HotCounter> = Family::default();
        let [found, absent] = ["found", "absent"].map(|outcome| family.get_or_create(&[("outcome", outcome)]).clone());
        Self { family, found, absent }
    }
}

impl Lookups {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Keys and tags looked up in Redis, as Redis counts them";
        registry.register("cache_store_lookups", help, self.family.clone());
    }

    pub(crate) fn count(&self, found: bool) {
        if found {
            self.found.inc()
        } else {
            self.absent.inc()
        };
    }
}

/// The first of two tiers.
#[derive(Clone, Debug, Default)]
pub(crate) struct TierMetrics {
    local: Lookups,
    entries: Gauge,
    alive: Gauge,
}

impl TierMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Look-ups in the first of two tiers";
        registry.register("cache_local_lookups", help, self.local.family.clone());
        registry.register("cache_local_entries", "Entries in the first of two tiers", self.entries.clone());
        registry.register("cache_local_alive", "Whether the first of two tiers is used", self.alive.clone());
    }

    pub(crate) fn local(&self, found: bool) {
        self.local.count(found);
    }

    pub(crate) fn entries(&self, entries: u64) {
        self.entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    pub(crate) fn alive(&self, alive: bool) {
        self.alive.set(i64::from(alive));
    }
}
