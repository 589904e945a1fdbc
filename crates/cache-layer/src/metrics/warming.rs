use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What warming did, by plan and outcome: both are names in the code, so they stay few.
#[derive(Clone, Debug, Default)]
pub(crate) struct Warming {
    keys: Family<Warmed, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Warmed {
    plan: &'static str,
    outcome: &'static str,
}

impl Warming {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("cache_warmed_keys", "Keys that warming went through", self.keys.clone());
    }

    pub(crate) fn key(&self, plan: &'static str, outcome: &'static str) {
        self.keys.get_or_create(&Warmed { plan, outcome }).inc();
    }
}
