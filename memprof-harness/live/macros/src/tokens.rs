//! The tokens that the attribute writes: code, and errors about the user's code.

use proc_macro::{Delimiter, Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};

/// What is wrong, and where.
pub struct Wrong {
    at: Span,
    message: String,
}

impl Wrong {
    pub fn new(at: Span, message: impl Into<String>) -> Wrong {
        Wrong { at, message: message.into() }
    }

    /// `::core::compile_error! { "…" }`
    pub fn into_tokens(self) -> TokenStream {
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

/// `{ … }`
pub fn braces(tokens: TokenStream) -> TokenTree {
    Group::new(Delimiter::Brace, tokens).into()
}

/// Code that is written here.
pub fn code(text: &str) -> TokenStream {
    text.parse().expect("it is Rust")
}
