//! What [`crate::cached`] expands to. Not for use by hand.

use crate::cache::{Cache, LoadError, admitted, is_admitted};
use crate::key::{Key, KeyClass, sanitised};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;

/// `{prefix}:{function}:{argument}:…`, each argument sanitised: colons stand between the parts and nowhere else.
pub fn key(class: KeyClass, function: &str, arguments: &[&dyn Display]) -> Key {
    let mut name = format!("{}:{function}", class.name);
    for argument in arguments {
        name.push(':');
        name.push_str(&sanitised(&argument.to_string()));
    }
    Key::new(class, name)
}

/// The answer of a function for these arguments: remembered, or else computed and remembered.
pub async fn remembered<T, E, L, F>(cache: &Cache, key: &Key, compute: L) -> Result<T, E>
where
    T: Serialize + DeserializeOwned + Send,
    L: FnOnce() -> F,
    F: Future<Output = Result<T, E>>,
{
    let (mut decoded, mut computed, mut compute) = (None::<T>, None, Some(compute));
    let looked_up = {
        let (compute, computed) = (&mut compute, &mut computed);
        let mut take = |bytes: &bytes::Bytes| {
            decoded = serde_json::from_slice(bytes).ok();
            decoded.is_some()
        };
        let load = || async move {
            let compute = compute.take().expect("a FnOnce is called once");
            let value = compute().await.map_err(Some)?;
            let json = serde_json::to_vec(&value);
            *computed = Some(value);
            // Without a JSON form it is answered, but cannot be kept.
            json.map(|json| Some(json.into())).map_err(|_| None)
        };
        cache.inner.get_or_load(key, crate::Ttl::Class, &mut take, load).await
    };
    if let Some(value) = computed.or(decoded.filter(|_| looked_up.as_ref().is_ok_and(is_hit))) {
        return Ok(value);
    }
    let shared = match looked_up {
        Ok(lookup) => lookup.value.and_then(|bytes| serde_json::from_slice(&bytes).ok()),
        Err(LoadError::Failed(Some(error))) => return Err(error),
        Err(_) => None,
    };
    match (shared, compute) {
        (Some(value), _) => Ok(value),
        // What was shared is of another type: another function has the same prefix and name. Or too many compute already, for which
        // the function has no error: it waits for its turn.
        (None, Some(compute)) => {
            let pass = match &cache.inner.settings.bulkhead {
                Some(bulkhead) if !is_admitted() => bulkhead.wait().await,
                _ => None,
            };
            match pass {
                Some(_pass) => admitted(compute()).await,
                None => compute().await,
            }
        }
        (None, None) => unreachable!("what was computed was answered, and its class has no timeouts"),
    }
}

fn is_hit(lookup: &crate::Lookup) -> bool {
    matches!(lookup.status, crate::Status::Hit { .. })
}
