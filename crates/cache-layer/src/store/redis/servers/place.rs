//! Where a server is: at a fixed address, or where the sentinels say.

use super::dial::Dialer;
use super::sentinel::Sentinels;
use super::url::Address;
use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use std::sync::Arc;

/// Where one server is to be found, and how to speak to it.
pub(in crate::store::redis) enum Place {
    Fixed(Address, Dialer),
    /// The master of the moment.
    Watched(Arc<Sentinels>, Dialer),
}

impl Place {
    /// For what is shown before the first connection.
    pub(in crate::store::redis) fn first_guess(&self) -> Address {
        match self {
            Self::Fixed(address, _) => address.clone(),
            Self::Watched(sentinels, _) => sentinels.first(),
        }
    }

    pub(in crate::store::redis) fn dialer(&self) -> &Dialer {
        match self {
            Self::Fixed(_, dialer) | Self::Watched(_, dialer) => dialer,
        }
    }

    /// Where it is now.
    pub(in crate::store::redis) async fn locate(&self) -> RedisResult<Address> {
        match self {
            Self::Fixed(address, _) => Ok(address.clone()),
            Self::Watched(sentinels, _) => sentinels.master().await,
        }
    }

    /// Whether a new connection leads to where it should: sentinels may be behind the times.
    pub(in crate::store::redis) async fn check(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        match self {
            Self::Fixed(..) => redis::cmd("PING").exec_async(connection).await,
            Self::Watched(..) => {
                let role: Vec<redis::Value> = redis::cmd("ROLE").query_async(connection).await?;
                match role.first().map(redis::from_redis_value_ref::<String>) {
                    Some(Ok(role)) if role == "master" => Ok(()),
                    _ => Err(super::sentinel::no_master()),
                }
            }
        }
    }
}
