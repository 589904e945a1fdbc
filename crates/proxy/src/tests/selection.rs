//! Which connections a fault hits, and whether it reports them.

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

/// Which of 100 connections a reset with a share of 30 % hits.
fn hit_by_share(seed: u64, connection_scope: ConnectionScope) -> BTreeSet<usize> {
    let fixture = ProxyFixture::seeded(seed);
    let fault = LinkFault { share: 0.3, connection_scope, ..fault(LinkFaultKind::Reset) };
    if connection_scope == ConnectionScope::New {
        assert_eq!(fixture.proxy.inject(&fault, None).connections, 0);
        let mut clients: Vec<_> = (0..100).map(|_| fixture.connect()).collect();
        until("all to be accepted", || fixture.proxy.stats().accepted == 100);
        return (0..100).filter(|index| is_reset(&mut clients[*index])).collect();
    }
    let mut pairs: Vec<_> = (0..100).map(|_| fixture.pair()).collect();
    let injected = fixture.proxy.inject(&fault, None);
    let hit: BTreeSet<_> = (0..100).filter(|index| is_reset(&mut pairs[*index].client)).collect();
    assert_eq!(injected.connections, hit.len() as u64);
    hit
}

#[test]
fn a_share_hits_about_that_many_connections_and_the_same_ones_with_the_same_seed() {
    let hit = hit_by_share(7, ConnectionScope::Live);
    assert!((15..=45).contains(&hit.len()), "{} of 100", hit.len());
    assert_eq!(hit, hit_by_share(7, ConnectionScope::Live));
    assert_eq!(hit, hit_by_share(7, ConnectionScope::New));
    assert_ne!(hit, hit_by_share(8, ConnectionScope::Live));
}

#[test]
fn live_hits_open_connections_and_new_hits_later_ones() {
    let fixture = ProxyFixture::new();
    let mut before = fixture.pair();
    let new = fixture
        .proxy
        .inject(&LinkFault { connection_scope: ConnectionScope::New, ..fault(LinkFaultKind::BlackHole) }, None);
    assert_eq!(new.connections, 0);
    before.check();
    let mut held = fixture.connect();
    held.write_all(b"held").unwrap();
    assert_silent(&mut held);
    assert_eq!(fixture.proxy.remove(new.id).connections, 1);
    let mut server = fixture.accept();
    assert_eq!(receive(&mut server, 4), b"held");
    let live = fixture
        .proxy
        .inject(&LinkFault { connection_scope: ConnectionScope::Live, ..fault(LinkFaultKind::BlackHole) }, None);
    assert_eq!(live.connections, 2);
    fixture.pair();
    before.client.write_all(b"held").unwrap();
    assert_silent(&mut before.server);
    drop(held);
    assert_eq!(fixture.proxy.remove(live.id).connections, 2, "one client has closed, but the server does not know it");
}

#[test]
fn a_connection_made_just_before_the_fault_is_hit() {
    let fixture = ProxyFixture::new();
    for _ in 0..300 {
        let client = fixture.connect();
        let injected = fixture
            .proxy
            .inject(&LinkFault { connection_scope: ConnectionScope::Live, ..fault(LinkFaultKind::Reset) }, None);
        assert_eq!(injected.connections, 1);
        fixture.proxy.remove(injected.id);
        drop(client);
    }
    assert_eq!(fixture.proxy.stats().resets, 300);
}

#[test]
fn a_filter_limits_a_fault_to_its_clients_also_with_refuse() {
    let fixture = ProxyFixture::new();
    let (mut one, mut other) = (fixture.pair(), fixture.pair());
    let victim = one.client.local_addr().unwrap();
    let only: super::super::ClientFilter = Arc::new(move |address| address == victim);
    let injected = fixture.proxy.inject(&fault(LinkFaultKind::BlackHole), Some(Arc::clone(&only)));
    assert_eq!(injected.connections, 1);
    other.check();
    fixture.pair();
    one.client.write_all(b"held").unwrap();
    assert_silent(&mut one.server);
    fixture.proxy.remove(injected.id);
    assert_eq!(receive(&mut one.server, 4), b"held");
    // The kernel can only refuse all clients. With a filter they are accepted and reset at once.
    let all: super::super::ClientFilter = Arc::new(|_| true);
    fixture.proxy.inject(&fault(LinkFaultKind::Refuse), Some(all));
    match fixture.try_connect() {
        Ok(mut stream) => assert_reset(&mut stream),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    one.check();
}
