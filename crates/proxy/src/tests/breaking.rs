//! Faults that break connections or refuse new ones.

use super::*;

#[test]
fn reset_is_seen_as_rst_by_open_idle_connections_at_both_ends_and_by_new_ones() {
    let fixture = ProxyFixture::new();
    let mut pairs: Vec<_> = (0..5).map(|_| fixture.pair()).collect();
    let injected = fixture.inject(LinkFaultKind::Reset);
    assert_eq!(injected.connections, 5);
    assert_eq!(fixture.proxy.stats().open, 0, "reset before the call returns");
    for pair in &mut pairs {
        assert_reset(&mut pair.client);
        assert_reset(&mut pair.server);
    }
    match fixture.try_connect() {
        Ok(mut stream) => assert_reset(&mut stream),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    assert_eq!(fixture.proxy.remove(injected.id).connections, 0);
    fixture.pair();
}

#[test]
fn reset_in_one_direction_is_rst_to_that_end_and_fin_to_the_other() {
    let fixture = ProxyFixture::new();
    let one_way = |direction| LinkFault { direction, ..fault(LinkFaultKind::Reset) };
    let mut pair = fixture.pair();
    let injected = fixture.proxy.inject(&one_way(Direction::ToClient), None);
    assert_reset(&mut pair.client);
    assert_fin(&mut pair.server);
    fixture.proxy.remove(injected.id);
    let mut pair = fixture.pair();
    fixture.proxy.inject(&one_way(Direction::ToServer), None);
    assert_reset(&mut pair.server);
    assert_fin(&mut pair.client);
}

#[test]
fn refuse_answers_econnrefused_while_the_port_stays_bound() {
    let fixture = ProxyFixture::new();
    let mut open = fixture.pair();
    for _ in 0..3 {
        let injected = fixture.inject(LinkFaultKind::Refuse);
        assert_eq!(injected.connections, 0);
        for _ in 0..10 {
            assert_refused(fixture.try_connect());
        }
        open.check();
        // std sets SO_REUSEADDR, as servers do.
        assert_eq!(TcpListener::bind(fixture.proxy.address()).unwrap_err().kind(), ErrorKind::AddrInUse);
        fixture.proxy.remove(injected.id);
        fixture.pair();
        open.check();
    }
}

#[test]
fn a_black_hole_loses_nothing_and_delivers_in_order_when_removed() {
    let fixture = ProxyFixture::new();
    let mut pair = fixture.pair();
    let mut idle = fixture.pair();
    let injected = fixture.inject(LinkFaultKind::BlackHole);
    assert_eq!(injected.connections, 2);
    for word in [b"one ", b"two ", b"last"] {
        pair.client.write_all(word).unwrap();
        pair.server.write_all(word).unwrap();
    }
    drop(idle.client);
    assert_silent(&mut pair.server);
    assert_silent(&mut pair.client);
    assert_silent(&mut idle.server);
    assert_eq!(fixture.proxy.remove(injected.id).connections, 2);
    assert_eq!(receive(&mut pair.server, 12), b"one two last");
    assert_eq!(receive(&mut pair.client, 12), b"one two last");
    assert_fin(&mut idle.server);
    pair.check();
}

#[test]
fn a_black_hole_in_one_direction_does_not_affect_the_other() {
    let fixture = ProxyFixture::new();
    for direction in [Direction::ToServer, Direction::ToClient] {
        let mut pair = fixture.pair();
        let injected = fixture.proxy.inject(&LinkFault { direction, ..fault(LinkFaultKind::BlackHole) }, None);
        let (held, open) = match direction {
            Direction::ToServer => (&mut pair.client, &mut pair.server),
            _ => (&mut pair.server, &mut pair.client),
        };
        assert_passes(open, held, b"passes");
        held.write_all(b"held").unwrap();
        assert_silent(open);
        fixture.proxy.remove(injected.id);
        assert_eq!(receive(open, 4), b"held");
    }
}

#[test]
fn a_connection_made_in_a_black_hole_reaches_the_server_afterwards_unless_its_client_closed_it() {
    let fixture = ProxyFixture::new();
    let injected = fixture.inject(LinkFaultKind::BlackHole);
    let mut closed = fixture.connect();
    closed.write_all(b"SET late").unwrap();
    let mut waits = fixture.connect();
    waits.write_all(b"still here").unwrap();
    until("both", || fixture.proxy.stats().open == 2);
    drop(closed);
    fixture.wait_for_open(1);
    fixture.server.set_nonblocking(true).unwrap();
    assert_eq!(fixture.server.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    fixture.server.set_nonblocking(false).unwrap();
    assert_eq!(fixture.proxy.remove(injected.id).connections, 1);
    let mut server = fixture.accept();
    assert_eq!(receive(&mut server, 10), b"still here");
    assert_passes(&mut server, &mut waits, b"welcome");
}

#[test]
fn half_open_closes_the_servers_side_and_resets_the_client_only_when_it_sends_afterwards() {
    let fixture = ProxyFixture::new();
    let (mut spoke, mut idle) = (fixture.pair(), fixture.pair());
    let injected = fixture.inject(LinkFaultKind::HalfOpen);
    assert_eq!(injected.connections, 2);
    assert_fin(&mut spoke.server);
    assert_fin(&mut idle.server);
    let mut new = fixture.connect();
    spoke.client.write_all(b"hello?").unwrap();
    new.write_all(b"hello?").unwrap();
    assert_silent(&mut spoke.client);
    assert_silent(&mut idle.client);
    assert_silent(&mut new);
    assert_eq!(fixture.proxy.remove(injected.id).connections, 3);
    assert_reset(&mut spoke.client);
    assert_reset(&mut new);
    assert_silent(&mut idle.client);
    idle.client.write_all(b"hello?").unwrap();
    assert_reset(&mut idle.client);
    fixture.wait_for_open(0);
}
