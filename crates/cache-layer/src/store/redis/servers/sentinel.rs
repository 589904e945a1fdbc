//! Asking sentinels which server is the master, and hearing from them when it changes.

use super::dial::Dialer;
use super::url::Address;
use crate::backoff::Backoff;
use crate::store::redis::pool::Pool;
use redis::{ErrorKind, PushInfo, PushKind, RedisError, RedisResult};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{sleep, timeout};

/// A subscription is looked at this often: one that died unseen would announce nothing.
const HEARTBEAT: Duration = Duration::from_secs(1);

pub(in crate::store::redis) struct Sentinels {
    master: String,
    /// The one that answered last comes first.
    addresses: RwLock<Vec<Address>>,
    dialer: Dialer,
    /// The last answer, and when its question was asked.
    last: Mutex<Option<(Instant, Address)>>,
}

impl Sentinels {
    pub(super) fn new(master: String, addresses: Vec<Address>, dialer: Dialer) -> Self {
        Self { master, addresses: RwLock::new(addresses), dialer, last: Mutex::new(None) }
    }

    pub(super) fn addresses(&self) -> Vec<Address> {
        self.addresses.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn first(&self) -> Address {
        self.addresses().swap_remove(0)
    }

    /// Where the master is, from a question asked after this call began: those who wait at the same time share one.
    pub(super) async fn master(&self) -> RedisResult<Address> {
        let called = Instant::now();
        let mut last = self.last.lock().await;
        if let Some((asked, address)) = &*last
            && *asked >= called
        {
            return Ok(address.clone());
        }
        let mut trouble = no_master();
        for sentinel in self.addresses() {
            let asked = Instant::now();
            match self.ask(&sentinel).await {
                Ok(address) => {
                    self.prefer(&sentinel);
                    *last = Some((asked, address.clone()));
                    return Ok(address);
                }
                Err(error) => trouble = error,
            }
        }
        Err(trouble)
    }

    async fn ask(&self, sentinel: &Address) -> RedisResult<Address> {
        let mut line = self.dialer.connect(sentinel, None).await?;
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master);
        let answer = question.query_async::<Option<(String, u16)>>(&mut line.inner);
        let answer = timeout(self.dialer.patience, answer).await.map_err(|_| super::dial::silence())??;
        answer.map(|(host, port)| Address { host, port }).ok_or_else(no_master)
    }

    fn prefer(&self, sentinel: &Address) {
        let mut addresses = self.addresses.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = addresses.iter().position(|address| address == sentinel) {
            addresses[..=at].rotate_right(1);
        }
    }

    /// Listens to one sentinel for as long as the store lives. Each is listened to: one of them may be cut off.
    pub(super) async fn listen(self: Arc<Self>, sentinel: Address, pool: Arc<Pool>) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            let begun = Instant::now();
            if let Err(error) = self.listen_once(&sentinel, &pool).await {
                tracing::debug!(%sentinel, %error, "a sentinel is not listened to at the moment");
            }
            if begun.elapsed() > HEARTBEAT {
                backoff.reset();
            }
            sleep(backoff.next_wait()).await;
        }
    }

    async fn listen_once(&self, sentinel: &Address, pool: &Pool) -> RedisResult<()> {
        let (heard, mut news) = mpsc::unbounded_channel();
        let mut line = self.dialer.connect(sentinel, Some(heard)).await?;
        let subscribe = line.inner.subscribe("+switch-master");
        timeout(self.dialer.patience, subscribe).await.map_err(|_| super::dial::silence())??;
        // What was announced while nobody listened. No question is better than this one: the listener of another sentinel asks, too.
        if let Ok(address) = self.master().await {
            pool.moved_to(&address);
        }
        loop {
            tokio::select! {
                push = news.recv() => match push {
                    Some(push) => if let Some(address) = self.announced(&push) {
                        tracing::info!(%address, "the sentinels have a new master for the cache");
                        pool.moved_to(&address);
                    },
                    None => return Ok(()),
                },
                _ = line.driver.join_next() => return Ok(()),
                () = sleep(HEARTBEAT) => {
                    let ping = redis::cmd("PING");
                    let ping = ping.exec_async(&mut line.inner);
                    timeout(self.dialer.patience, ping).await.map_err(|_| super::dial::silence())??;
                }
            }
        }
    }

    /// The new address, when a message says `name old-host old-port new-host new-port` of our master.
    fn announced(&self, push: &PushInfo) -> Option<Address> {
        if push.kind != PushKind::Message {
            return None;
        }
        let text: String = redis::from_redis_value_ref(push.data.get(1)?).ok()?;
        let mut words = text.split(' ');
        let (name, host, port) = (words.next()?, words.nth(2)?, words.next()?);
        (name == self.master).then_some(Address { host: host.to_owned(), port: port.parse().ok()? })
    }
}

/// The kind tells it from an error of the way there: trying on helps.
pub(super) fn no_master() -> RedisError {
    RedisError::from((ErrorKind::MasterNameNotFoundBySentinel, "no master is known"))
}
