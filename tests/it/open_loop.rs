//! Fails if the response time does not include the wait before the request is sent (coordinated omission).

use cacheproof::measurements::Totals;

use crate::support::{root, run_scenario};

#[test]
fn an_app_frozen_for_2_of_10_seconds_has_a_p95_above_one_second() {
    let ran = run_scenario(&root().join("tests/scenarios/frozen.toml"), &[]);
    assert_eq!(ran.code, Some(1), "the rule on P95 must fail: {}", ran.said());
    let measurements = ran.measurements();
    let all: Totals = measurements.total(|_| true);
    // 200/s for 10 s: the arrivals keep coming while the app is frozen.
    assert!((1_700..2_300).contains(&all.count()), "{} requests", all.count());
    let p95 = all.response.quantile(0.95).expect("there are samples");
    assert!(p95 > 1_000_000_000, "P95 of the response time is {} ms", p95 / 1_000_000);
    // The requests after the 64 that hang are sent late, so their service time hides the freeze.
    let service = all.service.quantile(0.5).expect("there are samples");
    assert!(service < 1_000_000_000, "the median service time is {} ms", service / 1_000_000);
}
