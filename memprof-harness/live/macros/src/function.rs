//! Takes a function apart, as far as is needed to put code around its body.

use crate::limits::Limits;
use crate::tokens::{braces, code, Wrong};
use proc_macro::{Delimiter, Group, Span, TokenStream, TokenTree};

/// A function with a body.
pub struct Function {
    /// Everything in front of the body.
    head: Vec<TokenTree>,
    body: Group,
    /// `()` where none is written.
    returns: TokenStream,
    is_async: bool,
    should_panic: bool,
}

impl Function {
    pub fn parse(item: TokenStream) -> Result<Function, Wrong> {
        let mut head: Vec<TokenTree> = item.into_iter().collect();
        let is_fn = |token: &TokenTree| matches!(token, TokenTree::Ident(word) if word.to_string() == "fn");
        let at = head.iter().position(is_fn);
        let (Some(at), Some(TokenTree::Group(body))) = (at, head.pop()) else { return Err(no_function()) };
        if body.delimiter() != Delimiter::Brace {
            return Err(no_function());
        }
        let is_async =
            head[..at].iter().any(|token| matches!(token, TokenTree::Ident(word) if word.to_string() == "async"));
        let should_panic = head[..at].iter().any(is_should_panic);
        let returns = returned(&head[at..]);
        Ok(Function { head, body, returns, is_async, should_panic })
    }

    /// The function, with its body measured.
    pub fn measured(self, limits: &Limits) -> TokenStream {
        let Function { head, body, returns, is_async, should_panic } = self;
        let measure = match (is_async, should_panic) {
            (false, false) => "::memprof::__budget::run",
            (false, true) => "::memprof::__budget::run_to_panic",
            (true, false) => "::memprof::__budget::run_async",
            (true, true) => "::memprof::__budget::run_async_to_panic",
        };
        let body_span = body.span();
        let body = TokenStream::from(TokenTree::from(body));
        let work = match is_async {
            false if is_opaque(&returns) => TokenStream::from_iter([code("move ||"), body]),
            false => TokenStream::from_iter([code("move || ->"), returns, body]),
            true => TokenStream::from_iter([code("async move"), braces(awaited(returns, body)).into()]),
        };
        let arguments = TokenStream::from_iter([limits.to_budget(), code(","), work]);
        let call = TokenTree::from(Group::new(Delimiter::Parenthesis, arguments));
        let awaited = if is_async { code(".await") } else { TokenStream::new() };
        let mut measured = Group::new(Delimiter::Brace, TokenStream::from_iter([code(measure), call.into(), awaited]));
        measured.set_span(body_span);
        head.into_iter().chain([measured.into()]).collect()
    }
}

fn no_function() -> Wrong {
    Wrong::new(Span::call_site(), "`#[budget]` is for a function with a body, such as a test")
}

/// The brackets of `#[should_panic…]`.
fn is_should_panic(token: &TokenTree) -> bool {
    let TokenTree::Group(group) = token else { return false };
    let first = group.stream().into_iter().next();
    group.delimiter() == Delimiter::Bracket
        && matches!(first, Some(TokenTree::Ident(word)) if word.to_string() == "should_panic")
}

/// The type behind `->`, in `fn name<…>(…) -> … where …`.
fn returned(signature: &[TokenTree]) -> TokenStream {
    let is = |token: &TokenTree, sign: char| matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign);
    let is_group =
        |token: &TokenTree| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis);
    let is_where = |token: &TokenTree| matches!(token, TokenTree::Ident(word) if word.to_string() == "where");
    // Parameters may be generic over functions, whose parentheses and arrows stand between angle brackets.
    let mut depth = 0;
    let mut parameters = None;
    for (at, token) in signature.iter().enumerate() {
        let is_arrow = at > 0 && is(token, '>') && is(&signature[at - 1], '-');
        if is(token, '<') {
            depth += 1;
        } else if is(token, '>') && !is_arrow {
            depth -= 1;
        } else if depth == 0 && is_group(token) {
            parameters = Some(at);
            break;
        }
    }
    let behind = parameters.map_or(&[][..], |at| &signature[at + 1..]);
    match behind {
        [dash, arrow, returns @ ..] if is(dash, '-') && is(arrow, '>') => {
            returns.iter().take_while(|token| !is_where(token)).cloned().collect()
        }
        _ => code("()"),
    }
}

/// Whether the type is `impl …`, which cannot be written where a closure or a variable is.
fn is_opaque(returns: &TokenStream) -> bool {
    matches!(returns.clone().into_iter().next(), Some(TokenTree::Ident(word)) if word.to_string() == "impl")
}

/// An async block cannot say what it gives, and `?` in it has to know: a `return` that is never reached says so.
fn awaited(returns: TokenStream, body: TokenStream) -> TokenStream {
    if is_opaque(&returns) {
        return body;
    }
    let never = TokenStream::from_iter([code("let never:"), returns, code("= ::core::unreachable!(); return never;")]);
    let says = [code("#[allow(unreachable_code, clippy::all)] if false"), braces(never).into(), body];
    TokenStream::from_iter(says)
}
