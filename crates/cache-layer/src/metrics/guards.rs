use crate::breaker::Instruments;
use crate::bulkhead::BulkheadInstruments;
use crate::store::StoreStatus;
use prometheus_client::registry::Registry;

/// What stands before Redis and before the database.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guards {
    pub(crate) breaker: Instruments,
    pub(crate) bulkhead: BulkheadInstruments,
}

impl Guards {
    pub(super) fn register(&self, registry: &mut Registry) {
        let Self { breaker, bulkhead } = self;
        registry.register("cache_breaker_state", "0 closed, 1 open, 2 half-open", breaker.state.clone());
        registry.register("cache_breaker_opens", "How often a breaker opened", breaker.opened.clone());
        let help = "Commands not sent because a breaker was open";
        registry.register("cache_breaker_refusals", help, breaker.refused.clone());
        registry.register("cache_loads_running", "Loads from the database that run", bulkhead.running.clone());
        registry.register("cache_loads_waiting", "Loads that wait for others to end", bulkhead.waiting.clone());
        let help = "Loads refused because too many ran already";
        registry.register("cache_bulkhead_rejections", help, bulkhead.rejections.clone());
    }

    /// Each breaker shows itself when it changes; with several servers the worst is what counts.
    pub(super) fn status(&self, status: &StoreStatus) {
        self.breaker.state.set(status.breaker as i64);
    }
}
