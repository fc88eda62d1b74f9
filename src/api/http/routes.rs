//! One list of routes that is both the router and the document.
//!
//! Invariant: `HTTP-1`: path, method and name of a route are read from the description that
//! `#[utoipa::path]` made of its handler, so the two cannot drift apart.
//!
//! Not here: the routes themselves.

use std::collections::BTreeMap;

use axum::{
    Router,
    handler::Handler,
    http::Method,
    routing::{MethodFilter, on},
};
use types::limits::IDEMPOTENCY_KEY_BYTES_MAX;
use utoipa::{
    __dev::SchemaReferences,
    Path,
    openapi::{
        Paths, RefOr, Required,
        path::{HttpMethod, Operation, Parameter, ParameterBuilder, ParameterIn},
        schema::{Object, Schema, Type},
    },
};

use super::App;

/// Names of the operations, by path template and method.
#[derive(Clone, Default)]
pub(super) struct Operations(BTreeMap<(String, &'static str), &'static str>);

impl Operations {
    /// The operation's name, as metrics and the document use it.
    pub(super) fn name(&self, template: &str, method: &Method) -> Option<&'static str> {
        // A HEAD is answered by the handler of GET.
        let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
        self.0
            .iter()
            .find(|((path, verb), _)| path == template && *verb == method)
            .map(|(_, name)| *name)
    }

    /// Both lists as one.
    pub(super) fn merged(mut self, other: &Operations) -> Self {
        self.0.extend(other.0.clone());
        self
    }
}

/// Routes that are being collected.
pub(super) struct Routes {
    /// What answers.
    pub router: Router<App>,
    /// What describes.
    pub paths: Paths,
    /// Schemas that the descriptions refer to.
    pub schemas: Vec<(String, RefOr<Schema>)>,
    /// Names for metrics.
    pub operations: Operations,
}

impl Default for Routes {
    fn default() -> Self {
        Self {
            router: Router::new(),
            paths: Paths::new(),
            schemas: Vec::new(),
            operations: Operations::default(),
        }
    }
}

/// The router's and the metrics' words for a method of the document.
fn method_of(method: &HttpMethod) -> (MethodFilter, &'static str) {
    match method {
        HttpMethod::Get => (MethodFilter::GET, "GET"),
        HttpMethod::Post => (MethodFilter::POST, "POST"),
        HttpMethod::Put => (MethodFilter::PUT, "PUT"),
        HttpMethod::Delete => (MethodFilter::DELETE, "DELETE"),
        HttpMethod::Options => (MethodFilter::OPTIONS, "OPTIONS"),
        HttpMethod::Head => (MethodFilter::HEAD, "HEAD"),
        HttpMethod::Patch => (MethodFilter::PATCH, "PATCH"),
        HttpMethod::Trace => (MethodFilter::TRACE, "TRACE"),
    }
}

/// The header under which a mutation is done at most once.
fn idempotency_key() -> Parameter {
    let mut text = Object::with_type(Type::String);
    (text.min_length, text.max_length) = (Some(1), Some(IDEMPOTENCY_KEY_BYTES_MAX));
    text.pattern = Some("^[ -~]*[!-~][ -~]*$".to_owned());
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("Same key and body: same answer, for 24 hours."))
        .schema(Some(text))
        .build()
}

/// The header with the token of a lock.
fn fence() -> Parameter {
    let mut number = Object::with_type(Type::Integer);
    (number.minimum, number.maximum) = (Some(0.into()), Some(9_007_199_254_740_991_i64.into()));
    ParameterBuilder::new()
        .name("X-Fence")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "Fencing token of the lock that the caller holds; needed for hot titles.",
        ))
        .schema(Some(number))
        .build()
}

impl Routes {
    /// Adds a handler under the path and method that its description names.
    pub(super) fn add<P, H, T>(
        &mut self,
        _description: P,
        name: &'static str,
        handler: H,
    ) -> &mut Self
    where
        P: Path + SchemaReferences,
        H: Handler<T, App>,
        T: 'static,
    {
        self.describe::<P, H, T>(name, handler, P::operation())
    }

    /// As [`Routes::add`], for a handler that changes memories, links or agents: it takes an
    /// idempotency key.
    pub(super) fn mutation<P, H, T>(
        &mut self,
        _description: P,
        name: &'static str,
        handler: H,
    ) -> &mut Self
    where
        P: Path + SchemaReferences,
        H: Handler<T, App>,
        T: 'static,
    {
        let mut operation = P::operation();
        let parameters = operation.parameters.get_or_insert_default();
        parameters.extend([idempotency_key(), fence()].map(RefOr::T));
        self.describe::<P, H, T>(name, handler, operation)
    }

    fn describe<P, H, T>(
        &mut self,
        name: &'static str,
        handler: H,
        mut operation: Operation,
    ) -> &mut Self
    where
        P: Path + SchemaReferences,
        H: Handler<T, App>,
        T: 'static,
    {
        let path = P::path();
        let methods = P::methods();
        operation.operation_id = Some(name.to_owned());
        for method in &methods {
            let (filter, verb) = method_of(method);
            let router = std::mem::take(&mut self.router);
            self.router = router.route(&path, on(filter, handler.clone()));
            self.operations.0.insert((path.clone(), verb), name);
        }
        self.paths.add_path_operation(&path, methods, operation);
        P::schemas(&mut self.schemas);
        self
    }
}
