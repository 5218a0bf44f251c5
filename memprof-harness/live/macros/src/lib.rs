//! `#[budget]`: a test's limits, written at the test. This crate takes the function apart and puts a call of `memprof`
//! around its body; what is measured, and what is said, is decided there.
//!
//! It parses by hand, because what it needs of a function is little, and nobody should wait for a parser of all of Rust.

extern crate proc_macro;

mod amount;
mod function;
mod limits;
mod spelling;
mod tokens;

use function::Function;
use limits::Limits;
use proc_macro::TokenStream;

/// See `memprof::budget`.
#[proc_macro_attribute]
pub fn budget(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let parsed = Limits::parse(arguments).and_then(|limits| Ok((limits, Function::parse(item.clone())?)));
    match parsed {
        Ok((limits, function)) => function.measured(&limits),
        // The function stays, so that nothing else is said to be missing.
        Err(wrong) => TokenStream::from_iter([wrong.into_tokens(), item]),
    }
}
