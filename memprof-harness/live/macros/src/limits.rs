//! The arguments of the attribute: `alloc_objects = 12, peak_space = "64KiB", leaked = 0`.

use crate::amount::amount;
use crate::spelling;
use crate::tokens::{braces, code, Wrong};
use proc_macro::{Delimiter, Group, Ident, Literal, Span, TokenStream, TokenTree};

/// The metrics that count blocks or calls.
const COUNTS: [&str; 3] = ["alloc_objects", "inuse_objects", "reallocs"];
/// All metrics that can be limited.
const METRICS: [&str; 7] =
    ["alloc_objects", "alloc_space", "peak_space", "leaked", "inuse_objects", "inuse_space", "reallocs"];
/// The one that is of the whole test, and not of the function.
const LEAKED: &str = "leaked";
const EXAMPLE: &str = "alloc_objects = 12, peak_space = \"64KiB\", leaked = 0";

/// Metrics and the most that each may be, in the order they were written.
pub struct Limits(Vec<(Ident, TokenStream)>);

impl Limits {
    pub fn parse(arguments: TokenStream) -> Result<Limits, Wrong> {
        let mut limits: Vec<(Ident, TokenStream)> = Vec::new();
        for argument in split(arguments) {
            let (metric, most) = limit(argument)?;
            if limits.iter().any(|(other, _)| other.to_string() == metric.to_string()) {
                return Err(Wrong::new(metric.span(), format!("`{metric}` is limited twice")));
            }
            limits.push((metric, most));
        }
        if limits.is_empty() {
            return Err(Wrong::new(Span::call_site(), format!("a budget needs limits: `#[budget({EXAMPLE})]`")));
        }
        Ok(Limits(limits))
    }

    /// `::memprof::__budget::Budget { limits: &[…], leaked: None }`, which borrows for as long as the statement it is in.
    pub fn to_budget(&self) -> TokenStream {
        let (leaked, counts): (Vec<_>, Vec<_>) = self.0.iter().partition(|(metric, _)| metric.to_string() == LEAKED);
        let number = |most: &TokenStream| {
            let typed = [code("let most: ::core::primitive::u64 ="), most.clone(), code("; most")];
            TokenStream::from(braces(TokenStream::from_iter(typed)))
        };
        let call = |function: &str, arguments: TokenStream| {
            let arguments = TokenTree::from(Group::new(Delimiter::Parenthesis, arguments));
            TokenStream::from_iter([code(function), arguments.into()])
        };
        let limit = |(metric, most): &(Ident, TokenStream)| {
            let name = TokenTree::from(Literal::string(&metric.to_string()));
            let arguments = TokenStream::from_iter([name.into(), code(", \"<=\","), number(most)]);
            [call("::memprof::__budget::Limit::new", arguments), code(",")]
        };
        let limits = Group::new(Delimiter::Bracket, counts.into_iter().flat_map(limit).collect());
        let leaked = match leaked.first() {
            Some((_, most)) => call("::core::option::Option::Some", number(most)),
            None => code("::core::option::Option::None"),
        };
        let fields = [code("limits: &"), TokenTree::from(limits).into(), code(", leaked:"), leaked];
        TokenStream::from_iter([code("::memprof::__budget::Budget"), braces(TokenStream::from_iter(fields)).into()])
    }
}

/// What stands between commas.
fn split(tokens: TokenStream) -> Vec<Vec<TokenTree>> {
    let mut parts = vec![Vec::new()];
    for token in tokens {
        match &token {
            TokenTree::Punct(comma) if comma.as_char() == ',' => parts.push(Vec::new()),
            _ => parts.last_mut().expect("it begins with one").push(token),
        }
    }
    // One comma may follow the last.
    if parts.last().is_some_and(Vec::is_empty) {
        parts.pop();
    }
    parts
}

fn limit(tokens: Vec<TokenTree>) -> Result<(Ident, TokenStream), Wrong> {
    let mut tokens = tokens.into_iter();
    let metric = match tokens.next() {
        Some(TokenTree::Ident(metric)) => metric,
        Some(other) => return Err(Wrong::new(other.span(), format!("expected a metric, as in `{EXAMPLE}`"))),
        None => return Err(Wrong::new(Span::call_site(), "there is nothing between two commas")),
    };
    let name = metric.to_string();
    if !METRICS.contains(&name.as_str()) {
        return Err(Wrong::new(metric.span(), unknown(&name)));
    }
    match tokens.next() {
        Some(TokenTree::Punct(is)) if is.as_char() == '=' => {}
        Some(other) => {
            return Err(Wrong::new(other.span(), format!("expected `=`: `{name} = 12` is the most it may be")));
        }
        None => return Err(Wrong::new(metric.span(), format!("`{name}` has no limit: write `{name} = 12`"))),
    }
    let most: Vec<TokenTree> = tokens.collect();
    let most = match &most[..] {
        [] => return Err(Wrong::new(metric.span(), format!("`{name}` has no limit: write `{name} = 12`"))),
        [TokenTree::Literal(text)] if text.to_string().starts_with('"') => amount_of(&name, text)?.into(),
        _ => most.into_iter().collect(),
    };
    Ok((metric, most))
}

fn unknown(name: &str) -> String {
    let all = METRICS.map(|metric| format!("`{metric}`")).join(", ");
    match spelling::nearest(name, &METRICS) {
        Some(meant) => format!("there is no metric `{name}`; did you mean `{meant}`?"),
        None => format!("there is no metric `{name}`; there are {all}"),
    }
}

/// `"64KiB"` as a number.
fn amount_of(metric: &str, text: &Literal) -> Result<TokenTree, Wrong> {
    let wrong = |message: String| Wrong::new(text.span(), message);
    if COUNTS.contains(&metric) {
        return Err(wrong(format!(
            "`{metric}` is a count and no amount of bytes: write a number, as in `{metric} = 12`"
        )));
    }
    let written = text.to_string();
    let bytes = amount(written.trim_matches('"'))
        .map_err(|why| wrong(format!("{written} is no amount of bytes: {why}; write one such as \"64KiB\"")))?;
    let mut number = Literal::u64_suffixed(bytes);
    number.set_span(text.span());
    Ok(number.into())
}
