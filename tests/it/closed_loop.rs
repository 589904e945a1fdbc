//! Fails if a user of the closed loop does not wait for the answer.

use crate::support::{edited, root, run_scenario};

#[test]
fn users_of_a_closed_loop_send_one_request_after_another() {
    let changes = [("rate = \"300/s\"", "users = 4"), ("lasts = \"5s\"", "lasts = \"3s\"")];
    let (_kept, file) = edited(&root().join("tests/scenarios/nginx.toml"), &changes);
    let ran = run_scenario(&file, &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.said());
    let measurements = ran.measurements();
    let all = measurements.total(|_| true);
    let phases: f64 = measurements.phases.keys().map(|phase| measurements.phase_seconds(*phase)).sum();
    // Little's law for 4 users without think time: requests × mean time = 4 × length, minus the users' own overhead.
    let busy = all.mean().expect("there are samples") * all.count() as f64 / 1e9 / phases;
    assert!(busy > 1.0 && busy <= 4.05, "{busy:.2} requests in flight on average, for 4 users");
    assert_eq!(all.response, all.service, "without a schedule both times are equal");
    assert!(measurements.coarse_slices.iter().all(|slice| slice.counts.backlog == 0), "nothing waits in a closed loop");
}
