//! `#[catch_panics]`, which stands above each `#[pymethods]` and `#[pyfunction]`.
//!
//! PyO3 raises a panic as `PanicException`, which `except Exception` does not catch: one bug of ours
//! would end a job that handles every error. This attribute wraps the body of each function in
//! `crate::panics::guarded`, which raises `InternalError` instead.

use proc_macro::TokenStream;
use quote::quote;
use syn::{Block, ImplItem, Item, ReturnType, Signature, Type, parse_macro_input, parse_quote};

/// Has a panic in the function, or in any function of the `impl` block, raised as `InternalError`.
///
/// A function that returns `T` returns `PyResult<T>` then, also to Rust. `__traverse__` stays as it
/// is: the garbage collector takes no exceptions.
#[proc_macro_attribute]
pub fn catch_panics(_: TokenStream, item: TokenStream) -> TokenStream {
    let mut item = parse_macro_input!(item as Item);
    match &mut item {
        Item::Fn(function) => guard(&mut function.sig, &mut function.block),
        Item::Impl(block) => {
            for item in &mut block.items {
                if let ImplItem::Fn(method) = item
                    && method.sig.ident != "__traverse__"
                {
                    guard(&mut method.sig, &mut method.block);
                }
            }
        }
        other => {
            let error = syn::Error::new_spanned(other, "expected a function or an impl block");
            return error.to_compile_error().into();
        }
    }
    quote!(#item).into()
}

fn guard(signature: &mut Signature, body: &mut Block) {
    let returned: Type = match &signature.output {
        ReturnType::Default => parse_quote!(()),
        ReturnType::Type(_, returned) => (**returned).clone(),
    };
    if is_result(&returned) {
        *body = parse_quote!({ crate::panics::guarded(move || -> #returned #body) });
    } else {
        signature.output = parse_quote!(-> ::pyo3::PyResult<#returned>);
        *body = parse_quote!({
            crate::panics::guarded(move || Ok((move || -> #returned #body)()))
        });
    }
}

fn is_result(returned: &Type) -> bool {
    let Type::Path(path) = returned else { return false };
    path.path.segments.last().is_some_and(|segment| segment.ident == "PyResult")
}
