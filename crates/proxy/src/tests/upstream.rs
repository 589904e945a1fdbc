//! The proxy's port accepts and refuses as the server does.

use super::*;

#[test]
fn without_a_server_the_first_client_is_reset_and_the_next_are_refused() {
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
fn while_a_server_is_down_the_proxy_refuses_and_accepts_when_it_is_back() {
    let mut fixture = ProxyFixture::new();
    let address = fixture.server.local_addr().unwrap();
    for _ in 0..3 {
        let mut pair = fixture.pair();
        // The server ends: its port and its connection are closed.
        fixture.server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        drop(pair.server);
        assert_fin(&mut pair.client);
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
fn a_server_that_closes_one_connection_does_not_count_as_down() {
    let fixture = ProxyFixture::new();
    for _ in 0..20 {
        let mut pair = fixture.pair();
        drop(pair.server);
        assert_fin(&mut pair.client);
        drop(pair.client);
        // The queue also holds the proxy's checks whether the server accepts.
        fixture.server.set_nonblocking(true).unwrap();
        while fixture.server.accept().is_ok() {}
        fixture.server.set_nonblocking(false).unwrap();
        assert!(fixture.try_connect().is_ok());
        fixture.server.accept().unwrap();
    }
}

#[test]
fn the_port_refuses_as_long_as_the_fault_or_the_server_does() {
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
fn new_connections_go_to_the_new_upstream_and_open_ones_are_unchanged() {
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
