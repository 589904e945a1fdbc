//! The attribute of `cache-layer` that memoises an async function. Use it from there: `cache_layer::cached`.

mod arguments;
mod expand;
mod span;

use proc_macro::TokenStream;

/// Memoises an async function: the answer for the same arguments comes from the cache for as long as its TTL.
///
/// | argument | |
/// |---|---|
/// | `cache = "self.cache"` | an expression for the [`Cache`](https://docs.rs/cache-layer), by the function's arguments |
/// | `ttl = "5m"` | how long: a whole number and `ms`, `s`, `m`, `h` or `d` |
/// | `prefix = "reports"` | the key's beginning, and the key class in the metrics: letters, digits, `-`, `_`, `.` |
/// | `key = "region, year"` | optional: the expressions that tell one answer from another, separated by commas; all arguments but `self` if left out |
///
/// The key is `{prefix}:{function}:{expression}:…`, each expression shown by `Display` and sanitised, so that two different lists of
/// texts never give one key. Two functions with the same name and prefix share their answers, in this program and every other on
/// the same cache. Values that `Display` shows alike are taken for the same: leave nothing out that tells answers apart, such as
/// the user.
///
/// The function returns `Result<T, E>`; `T` is kept as JSON (`Serialize` and `DeserializeOwned`), errors are not kept. Calls with the same
/// arguments at the same time share one; where loads are limited, a call waits for its turn, however long. Nothing invalidates the answers but their TTL, or `Invalidation::pattern("reports:*")`:
/// for rows that are written, use `Cache::get_or_load` with tags.
#[proc_macro_attribute]
pub fn cached(arguments: TokenStream, function: TokenStream) -> TokenStream {
    expand::cached(arguments.into(), function.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
