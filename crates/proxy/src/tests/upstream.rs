//! The proxy's port does as the server's does.

use super::*;

#[test]
fn a_server_that_is_not_there_is_reset_for_the_first_client_and_refused_for_the_next() {
    let proxy = Proxy::start(None, unused_address(), 1).unwrap();
    match TcpStream::connect(proxy.address()).map(ready) {
        Ok(mut client) => assert_reset(&mut client),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    for _ in 0..10 {
        assert_refused(TcpStream::connect(proxy.address()));
    }
    let stats = proxy.stats();
    assert_eq!((stats.accepted, stats.resets, stats.unreached, stats.open), (1, 1, 1, 0));
}

#[test]
fn a_server_that_dies_is_refused_by_the_proxy_too_and_accepted_again_when_it_is_back() {
    let mut fixture = ProxyFixture::new();
    let address = fixture.server.local_addr().unwrap();
    for _ in 0..3 {
        let mut pair = fixture.pair();
        // Dying: the port is closed and the connection ends.
        fixture.server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        drop(pair.server);
        assert_end(&mut pair.client);
        until("the proxy to refuse", || {
            fixture.try_connect().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        });
        for _ in 0..10 {
            assert_refused(fixture.try_connect());
        }
        fixture.server = TcpListener::bind(address).unwrap();
        until("the proxy to accept", || fixture.try_connect().is_ok());
    }
}

#[test]
fn a_server_that_closes_a_connection_is_not_dead() {
    let fixture = ProxyFixture::new();
    for _ in 0..20 {
        let mut pair = fixture.pair();
        drop(pair.server);
        assert_end(&mut pair.client);
        drop(pair.client);
        // Questions whether it still accepts stand in the queue as well, and end at once.
        fixture.server.set_nonblocking(true).unwrap();
        while fixture.server.accept().is_ok() {}
        fixture.server.set_nonblocking(false).unwrap();
        assert!(fixture.try_connect().is_ok());
        fixture.server.accept().unwrap();
    }
}

#[test]
fn a_refusal_by_fault_outlasts_the_server_s_and_the_other_way_round() {
    let proxy = Proxy::start(None, unused_address(), 1).unwrap();
    drop(TcpStream::connect(proxy.address()));
    until("the proxy to refuse", || TcpStream::connect(proxy.address()).is_err());
    let refuse = proxy.inject(&fault(LinkFaultKind::Refuse), None);
    proxy.remove(refuse.id);
    assert_refused(TcpStream::connect(proxy.address()));
    let refuse = proxy.inject(&fault(LinkFaultKind::Refuse), None);
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    proxy.set_upstream(server.local_addr().unwrap());
    server.accept().unwrap();
    std::thread::sleep(QUIET_PERIOD);
    assert_refused(TcpStream::connect(proxy.address()));
    proxy.remove(refuse.id);
    TcpStream::connect(proxy.address()).unwrap();
}

#[test]
fn new_connections_go_to_the_new_upstream_and_open_ones_stay() {
    let fixture = ProxyFixture::new();
    let mut before = fixture.pair();
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    fixture.proxy.set_upstream(other.local_addr().unwrap());
    assert_eq!(fixture.proxy.upstream(), other.local_addr().unwrap());
    let client = fixture.connect();
    let server = ready(other.accept().unwrap().0);
    Pair { client, server }.check();
    before.check();
}
