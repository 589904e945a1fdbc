//! What becomes of the function.

use crate::arguments;
use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, Expr, FnArg, ItemFn, Pat, ReturnType};

/// The function with its body behind the cache.
pub(crate) fn cached(arguments: TokenStream, function: TokenStream) -> syn::Result<TokenStream> {
    let arguments = arguments::parse(arguments)?;
    let function: ItemFn = syn::parse2(function)?;
    let signature = &function.sig;
    if signature.asyncness.is_none() {
        return Err(Error::new(
            signature.fn_token.span(),
            "only an async fn can be cached: the cache is asked over the network",
        ));
    }
    let ReturnType::Type(_, returned) = &signature.output else {
        return Err(Error::new(signature.ident.span(), "a cached function returns a Result: its errors are not kept"));
    };
    let parts = match arguments.key {
        Some(parts) => parts,
        None => signature.inputs.iter().filter_map(named).collect::<syn::Result<_>>()?,
    };
    // Under names of their own, so that an error points at the expression it is about.
    let names: Vec<_> = (0..parts.len()).map(|i| format_ident!("__part_{i}")).collect();
    let shown = parts.iter().zip(&names).map(|(part, name)| {
        quote_spanned! { part.span() => let #name: &dyn ::core::fmt::Display = &(#part); }
    });
    let (cache, ttl_ms, prefix) = (&arguments.cache, arguments.ttl_ms, &arguments.prefix);
    let (attributes, visibility, body) = (&function.attrs, &function.vis, &function.block);
    let name = signature.ident.to_string();
    Ok(quote! {
        #(#attributes)*
        #visibility #signature {
            const __CLASS: ::cache_layer::KeyClass =
                ::cache_layer::KeyClass::new(#prefix, ::core::time::Duration::from_millis(#ttl_ms));
            let __key = {
                #(#shown)*
                ::cache_layer::memo::key(__CLASS, #name, &[#(#names),*])
            };
            let __cache: ::cache_layer::Cache = ::core::clone::Clone::clone(&(#cache));
            let __answer: #returned = ::cache_layer::memo::remembered(&__cache, &__key, || async move {
                let __computed: #returned = async move #body.await;
                __computed
            }).await;
            __answer
        }
    })
}

/// The name of an argument; nothing for `self`.
fn named(argument: &FnArg) -> Option<syn::Result<Expr>> {
    let FnArg::Typed(argument) = argument else { return None };
    Some(match &*argument.pat {
        Pat::Ident(name) => {
            let name = &name.ident;
            syn::parse2(quote!(#name))
        }
        other => Err(Error::new(other.span(), "this argument has no name to make a key of: say `key = \"…\"`")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(arguments: &str, function: &str) -> Result<String, String> {
        let expanded = cached(arguments.parse().expect("tokens"), function.parse().expect("tokens"));
        expanded.map(|tokens| tokens.to_string()).map_err(|error| error.to_string())
    }

    const GOOD: &str = r#"cache = "cache", ttl = "5m", prefix = "p""#;

    #[test]
    fn the_key_is_made_of_all_arguments_or_of_those_named() {
        let function = "async fn f(cache: &Cache, a: u8, mut b: String) -> Result<u8, E> { Ok(a) }";
        let expanded = expand(GOOD, function).expect("good");
        assert!(expanded.contains("& (a)") && expanded.contains("& (b)"), "{expanded}");
        let expanded = expand(&format!("{GOOD}, key = \"a\""), function).expect("good");
        assert!(expanded.contains("& (a)") && !expanded.contains("& (b)"), "{expanded}");
    }

    #[test]
    fn functions_that_cannot_be_cached_say_why() {
        let refused = |function| expand(GOOD, function).expect_err("refused");
        assert!(refused("fn f() -> Result<u8, E> { Ok(1) }").contains("async"));
        assert!(refused("async fn f() { }").contains("Result"));
        assert!(refused("async fn f((a, b): (u8, u8)) -> Result<u8, E> { Ok(a) }").contains("key ="));
        assert!(expand(GOOD, "struct S;").is_err());
    }
}
