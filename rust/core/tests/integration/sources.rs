//! Rules that the sources follow and the compiler does not check.

use std::path::Path;

use syn::visit::{self, Visit};

use super::layers::{is_test, rust_files};

/// What breaks a rule, one line for each, in the sources outside of code for tests.
fn broken(folder: &str, rule: impl Fn(&syn::File) -> Vec<(usize, String)>) -> String {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = String::new();
    for file in rust_files(&sources) {
        let text = std::fs::read_to_string(&file).expect("a source file can be read");
        let parsed = syn::parse_file(&text).expect("the compiler has read it, too");
        for (line, problem) in rule(&parsed) {
            found += &format!("\n{}:{line}: {problem}", file.display());
        }
    }
    found
}

/// Parallel work outside of `threads::run` would start the global pool, which ignores
/// `PROTEINFLEX_NUM_THREADS`, and for which a forked child waits for ever.
#[derive(Default)]
struct Parallel {
    in_pool: bool,
    found: Vec<(usize, String)>,
}

impl<'ast> Visit<'ast> for Parallel {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        let is_run = matches!(&*call.func, syn::Expr::Path(function)
            if function.path.segments.iter().map(|part| part.ident.to_string()).eq(["threads", "run"]));
        let before = self.in_pool;
        self.in_pool |= is_run;
        visit::visit_expr_call(self, call);
        self.in_pool = before;
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let name = call.method.to_string();
        if !self.in_pool && (name.starts_with("par_") || name == "into_par_iter") {
            let problem = format!("`{name}` is not inside of `threads::run(…)`");
            self.found.push((call.method.span().start().line, problem));
        }
        visit::visit_expr_method_call(self, call);
    }
}

fn parallel_outside_of_the_pool(file: &syn::File) -> Vec<(usize, String)> {
    let mut visitor = Parallel::default();
    visitor.visit_file(file);
    visitor.found
}

/// What Python calls without `#[catch_panics]`.
#[derive(Default)]
struct Unguarded(Vec<(usize, String)>);

impl Unguarded {
    fn check(&mut self, attributes: &[syn::Attribute]) {
        let find = |name| attributes.iter().find(|attribute| attribute.path().is_ident(name));
        if let Some(called) = find("pymethods").or_else(|| find("pyfunction"))
            && find("catch_panics").is_none()
        {
            let line = called.pound_token.span.start().line;
            self.0.push((line, "`#[catch_panics]` is missing".to_owned()));
        }
    }
}

impl<'ast> Visit<'ast> for Unguarded {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.check(&function.attrs);
        visit::visit_item_fn(self, function);
    }

    fn visit_item_impl(&mut self, block: &'ast syn::ItemImpl) {
        self.check(&block.attrs);
        visit::visit_item_impl(self, block);
    }
}

fn unguarded(file: &syn::File) -> Vec<(usize, String)> {
    let mut visitor = Unguarded::default();
    visitor.visit_file(file);
    visitor.0
}

#[test]
fn parallel_work_runs_on_the_threads_of_this_process() {
    let found = broken("src", parallel_outside_of_the_pool);
    assert!(found.is_empty(), "{found}");
}

#[test]
fn no_panic_gets_past_what_python_calls() {
    let found = broken("../bindings/src", unguarded);
    assert!(found.is_empty(), "{found}");
}

#[test]
fn what_breaks_a_rule_is_found() {
    let lines = |found: Vec<(usize, String)>| -> Vec<usize> {
        found.into_iter().map(|(line, _)| line).collect()
    };
    let parsed = |text| syn::parse_file(text).expect("it is Rust");
    let file = parsed(
        "fn f() {
            threads::run(|| a.par_iter().for_each(g));
            a.into_par_iter().for_each(g);
            threads::run(|| b.par_chunks(2).zip(c.par_chunks_mut(2)).for_each(g));
            let parts = b.par_chunks(2);
        }
        #[cfg(test)]
        mod tests { fn f() { a.par_iter(); } }",
    );
    assert_eq!(lines(parallel_outside_of_the_pool(&file)), [3, 5]);
    let file = parsed(
        "#[pyfunction]
        fn f() {}
        #[catch_panics]
        #[pymethods]
        impl A {}
        #[pymethods]
        impl B {}
        impl C {}",
    );
    assert_eq!(lines(unguarded(&file)), [1, 6]);
}
