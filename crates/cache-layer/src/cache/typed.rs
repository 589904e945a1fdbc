use super::{Cache, Deadline, Inner, LoadError, Lookup, Ttl};
use crate::key::Key;
use crate::store::CacheError;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// A [`Cache`] of values of one type, kept as JSON.
///
/// What is in the cache and is not of the type (written by another version of the service) is a miss, counted in
/// `cache_garbled_total`, and replaced by what is loaded.
pub struct Typed<T> {
    cache: Cache,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Typed<T> {
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone(), of: PhantomData }
    }
}

impl<T> fmt::Debug for Typed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Typed").field("of", &std::any::type_name::<T>()).finish()
    }
}

/// Why a typed value was not stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// It has no JSON form.
    #[error("the value cannot be encoded: {0}")]
    Unencodable(String),
    /// The cache did not confirm it.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// How a load of a typed value can fail.
enum Step<E> {
    Load(E),
    Encode(String),
}

impl Cache {
    /// This cache with values of a type, as JSON.
    #[must_use]
    pub fn typed<T: Serialize + DeserializeOwned + Send>(&self) -> Typed<T> {
        Typed { cache: self.clone(), of: PhantomData }
    }
}

impl<T: Serialize + DeserializeOwned + Send> Typed<T> {
    /// [`Cache::get_or_load`].
    ///
    /// # Errors
    /// Those of [`Cache::get_or_load`], and [`LoadError::Unencodable`].
    pub async fn get_or_load<L, F, E>(&self, key: &Key, ttl: Ttl, load: L) -> Result<Lookup<T>, LoadError<E>>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<Option<T>, E>>,
    {
        let inner = &*self.cache.inner;
        let (mut decoded, mut load) = (None, Some(load));
        let looked_up = {
            let load = || {
                let loading = load.take().map(|load| load());
                async move { encoded(loading.expect("a FnOnce is called once").await) }
            };
            inner.get_or_load(key, ttl, &mut taking(&mut decoded), load).await
        };
        match self.of(key, looked_up.map_err(flattened)?, decoded) {
            Some(lookup) => Ok(lookup),
            None => {
                let unread = || LoadError::Unencodable("it does not read as it was written".into());
                self.alone(key, load.take().ok_or_else(unread)?).await
            }
        }
    }

    /// [`Cache::get_or_refresh`].
    ///
    /// # Errors
    /// Those of [`Cache::get_or_refresh`], and [`LoadError::Unencodable`].
    pub async fn get_or_refresh<L, F, E>(&self, key: &Key, ttl: Ttl, load: L) -> Result<Lookup<T>, LoadError<E>>
    where
        L: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Option<T>, E>> + Send + 'static,
        E: Send + 'static,
    {
        let (mut decoded, load) = (None, Arc::new(load));
        let to_encode = {
            let load = Arc::clone(&load);
            move || {
                let loading = load();
                async move { encoded(loading.await) }
            }
        };
        let inner = &self.cache.inner;
        let looked_up = Inner::get_or_refresh(inner, key, ttl, &mut taking(&mut decoded), to_encode).await;
        match self.of(key, looked_up.map_err(flattened)?, decoded) {
            Some(lookup) => Ok(lookup),
            None => self.alone(key, &*load).await,
        }
    }

    /// A load that was shared with a reader of another type, or in the background found what one had stored, is of no use here.
    async fn alone<L, F, E>(&self, key: &Key, load: L) -> Result<Lookup<T>, LoadError<E>>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<Option<T>, E>>,
    {
        // Under the same limits as any load.
        let class = key.class();
        let (value, _) = self.cache.inner.load(class, Deadline::after(class.hard_timeout), load).await?;
        Ok(Lookup { value, status: super::Status::Miss { stored: false, collapsed: false } })
    }

    /// [`Cache::get`].
    ///
    /// # Errors
    /// The cache gave no answer.
    pub async fn get(&self, key: &Key) -> Result<Option<T>, CacheError> {
        let mut answers = self.get_many(std::slice::from_ref(key)).await;
        answers.pop().unwrap_or(Ok(None))
    }

    /// [`Cache::get_many`].
    pub async fn get_many(&self, keys: &[Key]) -> Vec<Result<Option<T>, CacheError>> {
        let answers = self.cache.get_many(keys).await;
        let parse = |(key, bytes): (&Key, Bytes)| {
            serde_json::from_slice(&bytes).map_err(|error| self.cache.inner.garbled(key.class(), &error)).ok()
        };
        keys.iter().zip(answers).map(|(key, answer)| Ok(answer?.and_then(|bytes| parse((key, bytes))))).collect()
    }

    /// [`Cache::set`].
    ///
    /// # Errors
    /// The value has no JSON form, or the cache did not confirm it.
    pub async fn set(&self, key: &Key, value: &T, ttl: Ttl) -> Result<(), SetError> {
        let json = serde_json::to_vec(value).map_err(|error| SetError::Unencodable(error.to_string()))?;
        Ok(self.cache.set(key, json.into(), ttl).await?)
    }

    /// The lookup with its value decoded, if it is of the type.
    fn of(&self, key: &Key, lookup: Lookup, decoded: Option<T>) -> Option<Lookup<T>> {
        let Lookup { value, status } = lookup;
        let value = match (value, decoded, status) {
            (None, ..) => None,
            // What was looked up last is what is served, unless it was loaded or shared since.
            (Some(_), Some(value), super::Status::Hit { .. } | super::Status::Stale { .. }) => Some(value),
            (Some(bytes), ..) => match serde_json::from_slice(&bytes) {
                Ok(value) => Some(value),
                Err(error) => {
                    self.cache.inner.garbled(key.class(), &error);
                    return None;
                }
            },
        };
        Some(Lookup { value, status })
    }
}

/// Takes what can be decoded, and keeps it.
fn taking<T: DeserializeOwned + Send>(decoded: &mut Option<T>) -> impl FnMut(&Bytes) -> bool + Send {
    |bytes| {
        *decoded = serde_json::from_slice(bytes).ok();
        decoded.is_some()
    }
}

fn encoded<T: Serialize, E>(loaded: Result<Option<T>, E>) -> Result<Option<Bytes>, Step<E>> {
    let Some(value) = loaded.map_err(Step::Load)? else { return Ok(None) };
    let json = serde_json::to_vec(&value).map_err(|error| Step::Encode(error.to_string()))?;
    Ok(Some(json.into()))
}

fn flattened<E>(error: LoadError<Step<E>>) -> LoadError<E> {
    match error {
        LoadError::Failed(Step::Load(error)) => LoadError::Failed(error),
        LoadError::Failed(Step::Encode(why)) | LoadError::Unencodable(why) => LoadError::Unencodable(why),
        LoadError::TimedOut => LoadError::TimedOut,
        LoadError::Overloaded(full) => LoadError::Overloaded(full),
    }
}
