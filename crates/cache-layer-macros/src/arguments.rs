//! What stands in the attribute.

use crate::span;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, Ident, LitStr, Token};

/// The attribute's arguments, checked.
pub(crate) struct Arguments {
    pub(crate) cache: Expr,
    pub(crate) ttl_ms: u64,
    pub(crate) prefix: String,
    pub(crate) key: Option<Vec<Expr>>,
}

struct Argument {
    name: Ident,
    value: LitStr,
}

impl Parse for Argument {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let name = input.parse()?;
        input.parse::<Token![=]>()?;
        Ok(Self { name, value: input.parse()? })
    }
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let (mut cache, mut ttl_ms, mut prefix, mut key) = (None, None, None, None);
        for Argument { name, value } in Punctuated::<Argument, Token![,]>::parse_terminated(input)? {
            let again = || Error::new(name.span(), format!("`{name}` is given twice"));
            match name.to_string().as_str() {
                "cache" => set(&mut cache, value.parse()?, again)?,
                "ttl" => {
                    let length = span::milliseconds(&value.value()).map_err(|why| Error::new(value.span(), why))?;
                    set(&mut ttl_ms, length, again)?;
                }
                "prefix" => set(&mut prefix, plain(&value)?, again)?,
                "key" => set(&mut key, expressions(&value)?, again)?,
                _ => {
                    let advice = format!("there is no argument `{name}`: write cache, ttl, prefix or key");
                    return Err(Error::new(name.span(), advice));
                }
            }
        }
        let missing = |what: &str| input.error(format!("`{what}` is missing"));
        Ok(Self {
            cache: cache.ok_or_else(|| missing("cache = \"…\""))?,
            ttl_ms: ttl_ms.ok_or_else(|| missing("ttl = \"…\""))?,
            prefix: prefix.ok_or_else(|| missing("prefix = \"…\""))?,
            key,
        })
    }
}

fn set<T>(place: &mut Option<T>, value: T, again: impl FnOnce() -> Error) -> syn::Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(again()),
    }
}

/// A prefix in which no byte has a meaning in keys or patterns.
fn plain(text: &LitStr) -> syn::Result<String> {
    let value = text.value();
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if value.is_empty() || !value.bytes().all(fits) {
        let advice =
            "a prefix is made of letters, digits, `-`, `_` and `.`: colons separate it from the rest of the key";
        return Err(Error::new(text.span(), advice));
    }
    Ok(value)
}

fn expressions(text: &LitStr) -> syn::Result<Vec<Expr>> {
    let list = text.parse_with(|input: ParseStream<'_>| Punctuated::<Expr, Token![,]>::parse_terminated(input))?;
    Ok(list.into_iter().collect())
}

/// Parses the attribute's arguments.
pub(crate) fn parse(tokens: proc_macro2::TokenStream) -> syn::Result<Arguments> {
    Arguments::parse.parse2(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let tokens = text.parse().expect("tokens");
        parse(tokens).err().expect("refused").to_string()
    }

    #[test]
    fn all_arguments_in_any_order() {
        let text = r#"prefix = "reports", key = "user.id, page + 1", ttl = "5m", cache = "self.cache","#;
        let arguments = parse(text.parse().expect("tokens")).expect("good");
        assert_eq!((arguments.prefix.as_str(), arguments.ttl_ms), ("reports", 300_000));
        assert_eq!(arguments.key.expect("a key").len(), 2);
        assert!(matches!(arguments.cache, Expr::Field(_)));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(refused(r#"ttl = "5m", prefix = "p""#).contains("`cache = \"…\"` is missing"));
        assert!(refused(r#"cache = "c", prefix = "p""#).contains("`ttl = \"…\"` is missing"));
        assert!(refused(r#"cache = "c", ttl = "5m""#).contains("`prefix = \"…\"` is missing"));
        assert!(refused(r#"cache = "c", ttl = "5 minutes""#).contains("is no length of time"));
        assert!(refused(r#"cache = "c", lifetime = "5m""#).contains("no argument `lifetime`"));
        assert!(refused(r#"ttl = "5m", ttl = "6m""#).contains("twice"));
        assert!(refused(r#"prefix = "a:b""#).contains("colons"));
        assert!(refused(r#"prefix = """#).contains("letters"));
        assert!(!refused(r#"cache = "self.""#).is_empty());
        assert!(!refused("ttl = 5").is_empty());
    }
}
