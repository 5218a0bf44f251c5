//! `#[budget]`: a test's limits, written at the test. This crate takes the function apart and puts a call of `memprof`
//! around its body; what is measured, and what is said, is decided there.
//!
//! It parses by hand, because what it needs of a function is little, and nobody should wait for a parser of all of Rust.

extern crate proc_macro;

mod amount;
mod function;
mod limits;
mod spelling;

use function::Function;
use limits::Limits;
use proc_macro::{Delimiter, Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};

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

/// What is wrong, and where.
struct Wrong {
    at: Span,
    message: String,
}

impl Wrong {
    fn new(at: Span, message: impl Into<String>) -> Wrong {
        Wrong { at, message: message.into() }
    }

    /// `::core::compile_error! { "…" }`
    fn into_tokens(self) -> TokenStream {
        let mut text = Literal::string(&self.message);
        text.set_span(self.at);
        let path = ["core", "compile_error"].into_iter().flat_map(|name| {
            let colon = |spacing| TokenTree::from(Punct::new(':', spacing));
            [colon(Spacing::Joint), colon(Spacing::Alone), Ident::new(name, self.at).into()]
        });
        let call = [Punct::new('!', Spacing::Alone).into(), braces(TokenTree::from(text).into())];
        let tokens = path.chain(call).map(|mut token: TokenTree| {
            token.set_span(self.at);
            token
        });
        tokens.collect()
    }
}

fn braces(tokens: TokenStream) -> TokenTree {
    Group::new(Delimiter::Brace, tokens).into()
}

/// Code that is written here.
fn code(text: &str) -> TokenStream {
    text.parse().expect("it is Rust")
}
