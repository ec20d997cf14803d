//! `#[catch_panics]`, which stands above each `#[pymethods]` and `#[pyfunction]`.
//!
//! PyO3 raises a panic as `PanicException`, which `except Exception` does not catch: one bug of ours
//! would end a job that handles every error. This attribute wraps the body of each function in
//! `crate::panics::guarded`, which raises `InternalError` instead.

use proc_macro::{Delimiter, Group, TokenStream, TokenTree};

/// Has a panic in the function, or in any function of the `impl` block, raised as `InternalError`.
///
/// What returns `T` returns `PyResult<T>` then, also to Rust. `__traverse__` stays as it is: the
/// garbage collector takes no exceptions.
#[proc_macro_attribute]
pub fn catch_panics(_: TokenStream, item: TokenStream) -> TokenStream {
    let mut tokens: Vec<TokenTree> = item.into_iter().collect();
    if !tokens.iter().any(|token| is_word(token, "impl")) {
        return functions(tokens);
    }
    if let Some(TokenTree::Group(methods)) = tokens.pop() {
        let methods = functions(methods.stream());
        tokens.push(TokenTree::Group(Group::new(Delimiter::Brace, methods)));
    }
    tokens.into_iter().collect()
}

/// Wraps the body of each function among these tokens: the braces that follow its signature.
fn functions(tokens: impl IntoIterator<Item = TokenTree>) -> TokenStream {
    let mut wrapped = TokenStream::new();
    let mut signature: Option<Signature> = None;
    for token in tokens {
        match (&mut signature, token) {
            (Some(_), TokenTree::Group(body)) if body.delimiter() == Delimiter::Brace => {
                let signature = signature.take().expect("matched just now");
                wrapped.extend(signature.with_body(body));
            }
            (Some(signature), token) => signature.push(token),
            (None, token) => {
                if is_word(&token, "fn") {
                    signature = Some(Signature::default());
                }
                wrapped.extend([token]);
            }
        }
    }
    wrapped
}

/// What stands between `fn` and the body: all before the arrow, and the returned type.
#[derive(Default)]
struct Signature {
    before_arrow: Vec<TokenTree>,
    returned: Option<TokenStream>,
}

impl Signature {
    fn push(&mut self, token: TokenTree) {
        if let Some(returned) = &mut self.returned {
            returned.extend([token]);
            return;
        }
        let is_arrow = matches!(&token, TokenTree::Punct(mark) if mark.as_char() == '>')
            && matches!(self.before_arrow.last(),
                        Some(TokenTree::Punct(mark)) if mark.as_char() == '-');
        if is_arrow {
            self.before_arrow.pop();
            self.returned = Some(TokenStream::new());
        } else {
            self.before_arrow.push(token);
        }
    }

    fn with_body(self, body: Group) -> TokenStream {
        let is_traverse =
            self.before_arrow.first().is_some_and(|name| is_word(name, "__traverse__"));
        let returned = self.returned.unwrap_or_else(|| parsed("()"));
        let first = returned.clone().into_iter().next();
        let template = if is_traverse {
            "-> RETURNED BODY"
        } else if first.is_some_and(|first| is_word(&first, "PyResult")) {
            "-> RETURNED { crate::panics::guarded(move || -> RETURNED BODY) }"
        } else {
            "-> ::pyo3::PyResult<RETURNED> {
                 crate::panics::guarded(move || Ok((move || -> RETURNED BODY)()))
             }"
        };
        let mut whole: TokenStream = self.before_arrow.into_iter().collect();
        whole.extend(filled(parsed(template), &returned, &body));
        whole
    }
}

/// The template with `RETURNED` and `BODY` in place.
fn filled(template: TokenStream, returned: &TokenStream, body: &Group) -> TokenStream {
    let fill = |token: TokenTree| -> TokenStream {
        match token {
            TokenTree::Group(group) => {
                let inside = filled(group.stream(), returned, body);
                TokenTree::Group(Group::new(group.delimiter(), inside)).into()
            }
            token if is_word(&token, "RETURNED") => returned.clone(),
            token if is_word(&token, "BODY") => TokenTree::Group(body.clone()).into(),
            token => token.into(),
        }
    };
    template.into_iter().map(fill).collect()
}

fn parsed(code: &str) -> TokenStream {
    code.parse().expect("the templates above are valid")
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident.to_string() == word)
}
