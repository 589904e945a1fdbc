use super::super::judge::{ItemKey, Judge, VersionUpdate};
use super::*;

const KEY: ItemKey = ItemKey { space: 0, id: 1 };
const MS: RunNanos = 1_000_000;

fn item(version: u64) -> ReadOutcome {
    ReadOutcome::Item { version: Some(version) }
}

/// A write that is acknowledged.
fn write(judge: &Judge, kind: WriteKind, at: RunNanos, version: Option<u64>) {
    let write = judge.begin_write(KEY, kind, at * MS).expect("no other is in flight");
    judge.end_write(write, WriteOutcome::Acked { version }, (at + 1) * MS);
}

/// A read that is stale.
fn stale(judge: &Judge, at: RunNanos, result: ReadOutcome) -> Staleness {
    let before = judge.begin_read(KEY);
    match judge.end_read(KEY, &before, result, at * MS, (at + 1) * MS) {
        ReadVerdict::Stale(staleness) => staleness,
        other => panic!("{result:?} is stale, not {other:?}"),
    }
}

#[test]
fn an_item_created_again_is_not_compared_with_its_former_versions() {
    let judge = Judge::new([(10, false)]);
    write(&judge, WriteKind::Put, 0, Some(5));
    let staleness = stale(&judge, 10, item(4));
    let recheck = |result| judge.recheck(KEY, staleness.generation, Some(staleness.floor), result);
    assert_eq!(
        (recheck(item(4)), recheck(item(5)), recheck(ReadOutcome::Missing)),
        (RecheckResult::Stale, RecheckResult::Fresh, RecheckResult::Fresh)
    );

    let deletion = judge.begin_write(KEY, WriteKind::Delete, 20 * MS).expect("no other is in flight");
    assert_eq!(recheck(item(1)), RecheckResult::OtherGeneration, "it may be deleted and created again by now");
    judge.end_write(deletion, WriteOutcome::Acked { version: None }, 21 * MS);
    write(&judge, WriteKind::Put, 30, Some(1));
    for result in [item(1), item(4), ReadOutcome::Missing] {
        assert_eq!(recheck(result), RecheckResult::OtherGeneration, "the database counts from 1 again");
    }
}

#[test]
fn the_last_write_is_known_where_no_other_may_have_been_stored_after_it() {
    let judge = Judge::new([(10, false)]);
    assert_eq!(judge.last_number(KEY), None);
    write(&judge, WriteKind::Put, 0, None);
    write(&judge, WriteKind::Put, 2, None);
    assert_eq!(judge.last_number(KEY), Some(2));
    let refused = judge.begin_write(KEY, WriteKind::Put, 4 * MS).expect("a write");
    assert_eq!(judge.last_number(KEY), None, "it is in flight");
    judge.end_write(refused, WriteOutcome::Refused, 5 * MS);
    assert_eq!(judge.last_number(KEY), Some(2), "it was not stored");
    let (one, other) = (judge.begin_write(KEY, WriteKind::Put, 6 * MS), judge.begin_write(KEY, WriteKind::Put, 7 * MS));
    for write in [other, one] {
        judge.end_write(write.expect("a write"), WriteOutcome::Acked { version: None }, 8 * MS);
    }
    assert_eq!(judge.last_number(KEY), None, "they were stored in either order");
    write(&judge, WriteKind::Put, 10, None);
    assert_eq!(judge.last_number(KEY), Some(6));
    let unknown = judge.begin_write(KEY, WriteKind::Put, 20 * MS).expect("a write");
    judge.end_write(unknown, WriteOutcome::Unknown, 21 * MS);
    write(&judge, WriteKind::Put, 30, None);
    assert_eq!(judge.last_number(KEY), None, "it may be stored late");
}

#[test]
fn an_item_that_is_stale_during_its_deletion_is_of_the_generation_that_ends() {
    let judge = Judge::new([(10, false)]);
    write(&judge, WriteKind::Put, 0, Some(5));
    let deletion = judge.begin_write(KEY, WriteKind::Delete, 2 * MS).expect("no other is in flight");
    let before = judge.begin_read(KEY);
    judge.end_write(deletion, WriteOutcome::Acked { version: None }, 3 * MS);
    let ReadVerdict::Stale(staleness) = judge.end_read(KEY, &before, item(4), 2 * MS, 4 * MS) else {
        panic!("version 5 was acknowledged before the read")
    };
    let recheck = |result| judge.recheck(KEY, staleness.generation, Some(staleness.floor), result);
    let recreation = judge.begin_write(KEY, WriteKind::Put, 5 * MS).expect("no other is in flight");
    assert_eq!(recheck(item(1)), RecheckResult::Unknown, "it may be stored already");
    judge.end_write(recreation, WriteOutcome::Acked { version: Some(1) }, 6 * MS);
    assert_eq!(recheck(item(1)), RecheckResult::OtherGeneration);
}

#[test]
fn a_late_response_to_a_write_before_a_deletion_does_not_raise_the_floor_of_the_next_generation() {
    let judge = Judge::new([(10, false)]);
    write(&judge, WriteKind::Put, 0, Some(5));
    let begin = |kind| judge.begin_write(KEY, kind, 2 * MS).expect("the database numbers them");
    let (early, deletion, recreation) = (begin(WriteKind::Put), begin(WriteKind::Delete), begin(WriteKind::Put));
    judge.end_write(recreation, WriteOutcome::Acked { version: Some(1) }, 3 * MS);
    judge.end_write(deletion, WriteOutcome::Acked { version: None }, 4 * MS);
    judge.end_write(early, WriteOutcome::Acked { version: Some(6) }, 5 * MS);
    let before = judge.begin_read(KEY);
    let verdict = judge.end_read(KEY, &before, item(1), 6 * MS, 7 * MS);
    assert!(matches!(verdict, ReadVerdict::Fresh { .. } | ReadVerdict::NotJudged), "the item is at 1: {verdict:?}");
}

#[test]
fn versions_assigned_by_the_harness_continue_in_the_next_generation() {
    let judge = Judge::new([(10, true)]);
    write(&judge, WriteKind::Put, 0, None);
    write(&judge, WriteKind::Put, 2, None);
    let staleness = stale(&judge, 10, item(1));
    write(&judge, WriteKind::Delete, 20, None);
    write(&judge, WriteKind::Put, 30, None);
    let recheck = |result| judge.recheck(KEY, staleness.generation, Some(staleness.floor), result);
    assert_eq!((recheck(item(1)), recheck(item(3))), (RecheckResult::Stale, RecheckResult::Fresh));
}

#[test]
fn an_item_that_was_created_again_need_not_be_gone_any_more() {
    let judge = Judge::new([(10, false)]);
    write(&judge, WriteKind::Put, 0, Some(5));
    write(&judge, WriteKind::Delete, 2, None);
    let staleness = stale(&judge, 10, item(5));
    let recheck = |result| judge.recheck(KEY, staleness.generation, None, result);
    assert_eq!((recheck(item(5)), recheck(ReadOutcome::Missing)), (RecheckResult::Stale, RecheckResult::Fresh));
    let recreation = judge.begin_write(KEY, WriteKind::Put, 20 * MS).expect("no other is in flight");
    assert_eq!(recheck(item(5)), RecheckResult::Unknown, "it may be the new one");
    judge.end_write(recreation, WriteOutcome::Acked { version: Some(1) }, 21 * MS);
    assert_eq!(recheck(item(5)), RecheckResult::OtherGeneration);
}

/// What a write that is sent and acknowledged with a version shows.
fn update(judge: &Judge, at: RunNanos, version: Option<u64>) -> Option<VersionUpdate> {
    let write = judge.begin_write(KEY, WriteKind::Put, at * MS).expect("the database numbers them");
    judge.end_write(write, WriteOutcome::Acked { version }, (at + 1) * MS)
}

#[test]
fn an_acknowledged_write_without_a_new_version_is_told() {
    use VersionUpdate::{New, Older, Same};
    let judge = Judge::new([(10, false)]);
    assert_eq!(update(&judge, 0, Some(5)), None, "there is nothing to compare the first one with");
    assert_eq!(update(&judge, 2, Some(6)), Some(New));
    assert_eq!(update(&judge, 4, Some(6)), Some(Same));
    assert_eq!(update(&judge, 6, Some(5)), Some(Older));
    assert_eq!(update(&judge, 8, None), None, "no version, no judgement");
    assert_eq!(update(&judge, 10, Some(7)), Some(New));

    // A read showed version 9 before the write was sent.
    let before = judge.begin_read(KEY);
    judge.end_read(KEY, &before, item(9), 12 * MS, 13 * MS);
    assert_eq!(update(&judge, 14, Some(8)), Some(Older));
}

#[test]
fn writes_at_the_same_time_may_be_acknowledged_in_any_order() {
    use VersionUpdate::{New, Same};
    let judge = Judge::new([(10, false)]);
    assert_eq!(update(&judge, 0, Some(5)), None);
    let begin = |at| judge.begin_write(KEY, WriteKind::Put, at * MS).expect("the database numbers them");
    let end = |write, version, at| judge.end_write(write, WriteOutcome::Acked { version: Some(version) }, at * MS);
    let (first, second, third) = (begin(2), begin(2), begin(2));
    assert_eq!((end(second, 7, 3), end(first, 6, 4)), (Some(New), Some(New)));
    assert_eq!(end(third, 7, 5), Some(Same), "two writes cannot have one version");
}

#[test]
fn versions_that_start_again_after_a_deletion_are_not_compared() {
    let judge = Judge::new([(10, false)]);
    assert_eq!(update(&judge, 0, Some(5)), None);
    write(&judge, WriteKind::Delete, 2, None);
    assert_eq!(update(&judge, 4, Some(1)), None);
}

/// A read of a version at a time that is stale, after a write of each version at each time (ms).
fn age(writes: &[(RunNanos, u64)], version: u64, at: RunNanos) -> (RunNanos, RunNanos) {
    let judge = Judge::new([(10, false)]);
    for (at, version) in writes {
        write(&judge, WriteKind::Put, *at, Some(*version));
    }
    let staleness = stale(&judge, at, item(version));
    (staleness.at_least / MS, staleness.at_most / MS)
}

#[test]
fn the_age_of_a_stale_read_is_known_after_any_number_of_writes() {
    let writes: Vec<(RunNanos, u64)> = (0..50).map(|count| (100 * count, 2 + count)).collect();
    // Version 31 was superseded by the write that was sent at 3,000 and acknowledged at 3,001; the read took a ms.
    assert_eq!(age(&writes, 31, 10_000), (6_999, 7_001));
    assert_eq!(age(&writes, 1, 10_000), (9_999, 10_001), "from before the first write");
    let many: Vec<(RunNanos, u64)> = (0..5_000).map(|count| (100 * count, 2 + count)).collect();
    for version in [4_995, 4_960, 4_000, 100, 2] {
        let superseded = 100 * (version - 1);
        let (at_least, at_most) = age(&many, version, 600_000);
        let truth = 600_000 - superseded;
        assert!(at_least <= truth && truth <= at_most, "{version}: {at_least}, {truth}, {at_most}");
        assert!(at_most < 2 * truth, "{version}: {truth}, {at_most}");
    }
}

#[test]
fn the_age_is_that_of_the_next_write_where_versions_are_times() {
    let writes = [(0, 1_000_000), (600_000, 601_000_000), (600_500, 601_500_000)];
    assert_eq!(age(&writes, 1_000_000, 601_000), (999, 1_001));
}

#[test]
fn a_count_that_skips_a_number_was_raised_by_a_write_that_is_not_known() {
    // 4 is of nobody: it may have been stored at any time after 3 was.
    assert_eq!(age(&[(0, 2), (100, 3), (9_000, 5)], 3, 10_000), (999, 9_901));
}

#[test]
fn a_read_that_outlasts_many_writes_is_no_more_stale_than_when_it_was_sent() {
    let judge = Judge::new([(10, false)]);
    write(&judge, WriteKind::Put, 0, Some(5));
    // Another read shows version 7, whose write nobody acknowledged.
    let other = judge.begin_read(KEY);
    judge.end_read(KEY, &other, item(7), 2 * MS, 3 * MS);
    let before = judge.begin_read(KEY);
    for number in 0..20 {
        write(&judge, WriteKind::Put, 10 + number, Some(8 + number));
    }
    let verdict = judge.end_read(KEY, &before, item(6), 4 * MS, 40 * MS);
    assert!(
        matches!(verdict, ReadVerdict::NonMonotonic(_)),
        "6 is newer than 5, the only acknowledged one: {verdict:?}"
    );
}
