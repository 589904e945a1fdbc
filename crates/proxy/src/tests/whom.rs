//! Which connections a fault hits, and that it says so.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;

/// Whether the connection has been reset.
fn is_reset(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    match stream.read(&mut [0; 1]) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => true,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        other => panic!("neither reset nor open: {other:?}"),
    }
}

/// Which of a hundred connections a reset hits that is meant for 30 %.
fn hit_by_share(seed: u64, reach: Reach) -> BTreeSet<usize> {
    let bench = Bench::seeded(seed);
    let fault = LinkFault { share: 0.3, reach, ..fault(LinkFaultKind::Reset) };
    if reach == Reach::New {
        assert_eq!(bench.proxy.inject(&fault, None).connections, 0);
        let mut clients: Vec<_> = (0..100).map(|_| bench.connect()).collect();
        until("all to be accepted", || bench.proxy.stats().accepted == 100);
        // A fault on something else: when it is injected, those before it have been dealt with.
        return (0..100).filter(|index| is_reset(&mut clients[*index])).collect();
    }
    let mut pairs: Vec<_> = (0..100).map(|_| bench.pair()).collect();
    let injected = bench.proxy.inject(&fault, None);
    let hit: BTreeSet<_> = (0..100).filter(|index| is_reset(&mut pairs[*index].client)).collect();
    assert_eq!(injected.connections, hit.len() as u64);
    hit
}

#[test]
fn a_share_hits_about_so_many_and_with_the_same_seed_the_same_ones_live_or_new() {
    let hit = hit_by_share(7, Reach::Live);
    assert!((15..=45).contains(&hit.len()), "{} of 100", hit.len());
    assert_eq!(hit, hit_by_share(7, Reach::Live));
    assert_eq!(hit, hit_by_share(7, Reach::New));
    assert_ne!(hit, hit_by_share(8, Reach::Live));
}

#[test]
fn live_hits_those_that_are_open_and_new_those_that_come() {
    let bench = Bench::new();
    let mut before = bench.pair();
    let new = bench.proxy.inject(&LinkFault { reach: Reach::New, ..fault(LinkFaultKind::BlackHole) }, None);
    assert_eq!(new.connections, 0);
    before.check();
    let mut held = bench.connect();
    held.write_all(b"held").unwrap();
    assert_silent(&mut held);
    assert_eq!(bench.proxy.remove(new.id).connections, 1);
    let mut server = bench.accept();
    assert_eq!(receive(&mut server, 4), b"held");
    let live = bench.proxy.inject(&LinkFault { reach: Reach::Live, ..fault(LinkFaultKind::BlackHole) }, None);
    assert_eq!(live.connections, 2);
    bench.pair();
    before.client.write_all(b"held").unwrap();
    assert_silent(&mut before.server);
    drop(held);
    assert_eq!(bench.proxy.remove(live.id).connections, 2, "one closed its end, but the server has not heard of it");
}

#[test]
fn a_connection_that_was_made_just_before_the_fault_does_not_slip_through() {
    let bench = Bench::new();
    for _ in 0..300 {
        let client = bench.connect();
        let injected = bench.proxy.inject(&LinkFault { reach: Reach::Live, ..fault(LinkFaultKind::Reset) }, None);
        assert_eq!(injected.connections, 1);
        bench.proxy.remove(injected.id);
        drop(client);
    }
    assert_eq!(bench.proxy.stats().resets, 300);
}

#[test]
fn a_filter_hits_only_its_clients_even_with_a_refusal() {
    let bench = Bench::new();
    let (mut one, mut other) = (bench.pair(), bench.pair());
    let victim = one.client.local_addr().unwrap();
    let only: super::super::ClientFilter = Arc::new(move |address| address == victim);
    let injected = bench.proxy.inject(&fault(LinkFaultKind::BlackHole), Some(Arc::clone(&only)));
    assert_eq!(injected.connections, 1);
    other.check();
    bench.pair();
    one.client.write_all(b"held").unwrap();
    assert_silent(&mut one.server);
    bench.proxy.remove(injected.id);
    assert_eq!(receive(&mut one.server, 4), b"held");
    // The kernel refuses all or none; some are accepted and reset at once.
    let everybody: super::super::ClientFilter = Arc::new(|_| true);
    bench.proxy.inject(&fault(LinkFaultKind::Refuse), Some(everybody));
    match bench.try_connect() {
        Ok(mut stream) => assert_reset(&mut stream),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    one.check();
}
