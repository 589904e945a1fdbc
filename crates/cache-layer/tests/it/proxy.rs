//! A TCP proxy whose connections of the moment can be made to swallow everything, while new ones work.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub struct BlackHole {
    pub port: u16,
    live: Arc<Mutex<Vec<Arc<AtomicBool>>>>,
    pub accepted: Arc<AtomicUsize>,
    _accepting: JoinSet<()>,
}

impl BlackHole {
    pub async fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (live, accepted) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let mut accepting = JoinSet::new();
        accepting.spawn({
            let (live, accepted) = (live.clone(), accepted.clone());
            async move {
                let mut connections = JoinSet::new();
                while let Ok((client, _)) = listener.accept().await {
                    accepted.fetch_add(1, Ordering::SeqCst);
                    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { continue };
                    let silent = Arc::new(AtomicBool::new(false));
                    live.lock().expect("no panic").push(silent.clone());
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    connections.spawn(pass(from_client, to_server, silent.clone()));
                    connections.spawn(pass(from_server, to_client, silent));
                }
            }
        });
        Self { port, live, accepted, _accepting: accepting }
    }

    /// From now on nothing comes through on the connections that there are, nor are they closed.
    pub fn swallow(&self) {
        self.live.lock().expect("no panic").drain(..).for_each(|silent| silent.store(true, Ordering::SeqCst));
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, silent: Arc<AtomicBool>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if !silent.load(Ordering::SeqCst) && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    if silent.load(Ordering::SeqCst) {
        // Not even the end of a connection comes through.
        std::future::pending::<()>().await;
    }
}
