//! What the servers' answers mean. Whatever looks a key or tag up is counted here as Redis counts it.

use super::scripts;
use super::servers::parsed;
use crate::metrics::Lookups;
use crate::store::{CacheError, Cached, Lease, Leased};
use redis::Value;
use std::time::Duration;

pub(super) type Answer = Result<Value, CacheError>;

/// The answers to a batch, taken one by one in the order of its commands.
pub(super) struct Answers<'a> {
    left: std::vec::IntoIter<Answer>,
    lookups: &'a Lookups,
}

/// What a script did, and whether it found its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bits {
    pub(super) done: bool,
    pub(super) found: bool,
}

/// A value with the generations that its tags had when it was stored.
type Entry = (Cached, Option<Vec<u8>>);

impl<'a> Answers<'a> {
    pub(super) fn new(answers: Vec<Answer>, lookups: &'a Lookups) -> Self {
        Self { left: answers.into_iter(), lookups }
    }

    pub(super) fn next(&mut self) -> Answer {
        self.left.next().unwrap_or(Err(CacheError::Unavailable("an answer is missing")))
    }

    /// The entry of a key with so many tags: the answers to its look-up. The entry was asked for first: should a tag change in
    /// between, the entry shows as outdated.
    pub(super) fn found(&mut self, tags: usize) -> Result<Option<Cached>, CacheError> {
        let entry = self.next().and_then(|value| self.entry(value));
        if tags == 0 {
            return Ok(entry?.map(|(cached, _)| cached));
        }
        let now = self.generations(tags);
        let (Some((cached, kept)), now) = (entry?, now?) else { return Ok(None) };
        // A tag without a generation is none that an entry could have been stored under.
        let mut expected = Vec::with_capacity(tags * 16);
        now.iter().flatten().for_each(|generation| expected.extend(generation.to_be_bytes()));
        Ok((expected.len() == tags * 16 && kept.as_deref() == Some(&expected[..])).then_some(cached))
    }

    /// The answer to `HMGET v e u [t]`.
    fn entry(&self, answer: Value) -> Result<Option<Entry>, CacheError> {
        let mut fields = fields(answer)?.into_iter();
        let mut next = || fields.next().unwrap_or(Value::Nil);
        let (value, end, loading, generations) = (next(), next(), next(), next());
        self.lookups.count(end != Value::Nil || loading != Value::Nil);
        let Value::BulkString(value) = value else { return Ok(None) };
        let ttl = parsed::<Option<u64>>(end)?.map_or(Duration::ZERO, scripts::left);
        // Beside a lease the key may outlive its value.
        if loading != Value::Nil && ttl.is_zero() {
            return Ok(None);
        }
        let generations = parsed::<Option<Vec<u8>>>(generations)?;
        Ok(Some((Cached { value: value.into(), ttl }, generations)))
    }

    /// The answer to `HMGET e u`: what is left of the life of a value or counter.
    pub(super) fn left(&mut self) -> Result<Option<Duration>, CacheError> {
        let (end, loading): (Option<u64>, Option<u64>) = parsed(self.next()?)?;
        self.lookups.count(end.is_some() || loading.is_some());
        Ok(end.map(scripts::left).filter(|left| loading.is_none() || !left.is_zero()))
    }

    /// The generations of so many tags; all of their answers are taken, whatever they are.
    pub(super) fn generations(&mut self, tags: usize) -> Result<Vec<Option<u128>>, CacheError> {
        let mut all = Ok(Vec::with_capacity(tags));
        for _ in 0..tags {
            match (&mut all, self.next().and_then(|value| self.generation(value))) {
                (Ok(all), Ok(generation)) => all.push(generation),
                (Ok(_), Err(error)) => all = Err(error),
                (Err(_), _) => {}
            }
        }
        all
    }

    fn generation(&self, answer: Value) -> Result<Option<u128>, CacheError> {
        let bytes: Option<Vec<u8>> = parsed(answer)?;
        self.lookups.count(bytes.is_some());
        let no_generation = || CacheError::Server("a tag holds what is no generation".into());
        bytes.map(|bytes| scripts::parse_generation(&bytes).ok_or_else(no_generation)).transpose()
    }

    /// What became of one lease. Its generations are those of Redis, or the new ones where Redis had none.
    pub(super) fn leased(&mut self, mut lease: Lease) -> Result<Leased, CacheError> {
        let granted = self.next();
        let before = self.generations(lease.tags.len());
        let left: u64 = parsed(granted?)?;
        for ((_, generation), before) in lease.tags.iter_mut().zip(before?) {
            *generation = before.unwrap_or(*generation);
        }
        Ok(if left > 0 { Leased::Held(Duration::from_millis(left)) } else { Leased::Granted(lease) })
    }

    /// Whether one fill stored a value that can be seen. The generations follow its answer, or come by themselves.
    pub(super) fn filled(&mut self, later: Option<&mut Self>, lease: &Lease) -> Result<bool, CacheError> {
        let stored = self.next();
        let now = later.unwrap_or(self).generations(lease.tags.len());
        let stored = parsed::<u8>(stored?)? == 1;
        Ok(stored && lease.tags.iter().zip(now?).all(|((_, generation), now)| now == Some(*generation)))
    }

    /// What a script did that says whether it found its key.
    pub(super) fn bits(&mut self) -> Result<bool, CacheError> {
        let bits = scripts::bits(parsed(self.next()?)?);
        self.lookups.count(bits.found);
        Ok(bits.done)
    }

    /// The count after adding.
    pub(super) fn added(&mut self, by: i64) -> Result<i64, CacheError> {
        let (before, found): (i64, i8) = parsed(self.next()?)?;
        self.lookups.count(found != 0);
        let refused = |why: &str| CacheError::Server(why.to_owned());
        if found < 0 {
            return Err(refused("the key holds a value, not a counter"));
        }
        before.checked_add(by).ok_or_else(|| refused("the counter would leave its range"))
    }
}

fn fields(answer: Value) -> Result<Vec<Value>, CacheError> {
    match answer {
        Value::Array(fields) => Ok(fields),
        _ => Err(CacheError::Server("an answer that is no list of fields".into())),
    }
}
