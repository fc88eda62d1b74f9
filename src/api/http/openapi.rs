//! The OpenAPI 3.1 document, made from the same handlers and structs that answer.
//!
//! Invariants: `HTTP-1` of the parent module; every operation lists every status it can answer, each
//! problem with its media type; `docs/openapi.json` is this document (a test compares them; run it
//! with `HIVEMEM_WRITE_OPENAPI=1` to write it).
//!
//! Not here: what the routes do.

mod tidy;

use serde_json::Value;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Components, ContentBuilder, Info, OpenApiBuilder, Paths, Ref, RefOr, ResponseBuilder,
        header::HeaderBuilder,
        path::{Operation, PathItem},
        schema::{AdditionalProperties, Object, Schema, SchemaType, Type},
        security::{
            ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
        },
    },
};
use wire::errors::PROBLEM_CONTENT_TYPE;

use super::{guarded, open, problem::ProblemDocument};

const DESCRIPTION: &str = "Shared memory for fleets of AI agents.\n\n\
Every refusal is a problem document (RFC 9457) whose `reason` is the same at every door. \
`X-Timeout-Ms` sets the time for an answer, `X-Agent-Id` names the agent you act as, and \
`X-Request-Id` comes back with every response. Unknown fields and parameters are refused.";

/// Problems that any route behind the guard can answer.
const GUARDED: &[(&str, &str)] = &[
    ("400", "Malformed, or an argument breaks a rule; `field` names it."),
    ("401", "No credentials, or wrong ones."),
    ("403", "Not allowed, or the agent was revoked."),
    ("404", "No such thing, or none that you may see."),
    (
        "409",
        "In a state that does not allow this, an ambiguous id prefix, or a position not reached yet.",
    ),
    ("500", "The store failed, or the audit chain does not hold."),
    ("501", "This build or topology does not offer it."),
    ("503", "Overloaded or stopping; see Retry-After."),
    ("504", "The deadline passed; the outcome of a write is unknown."),
];
/// Problems that only writes can answer.
const WRITES: &[(&str, &str)] = &[
    ("412", "The version is not the one in If-Match."),
    ("422", "Idempotency key reused, embedding of another space, or a reflection too deep."),
    ("429", "A quota is used up; see Retry-After."),
    ("507", "The disk is full; nothing was kept."),
];
/// Problems of requests with a body.
const BODIES: &[(&str, &str)] = &[
    ("413", "The body or the batch is too large."),
    ("415", "The media type is not the one this path takes."),
];
/// Problems of the routes outside the guard.
const OPEN: &[(&str, &str)] = &[("500", "The store failed."), ("503", "Not ready.")];
/// Routes that ask for credentials although they are outside the guard.
const CREDENTIALS: &[(&str, &str)] = &[
    ("400", "A header is malformed."),
    ("401", "No credentials, or wrong ones."),
    ("403", "Not allowed, or the agent was revoked."),
];
/// The change stream can be asked for a position that is gone.
const GONE: (&str, &str) = ("410", "The stream cannot be resumed at that position any more.");

/// A lock can be held by others.
const LOCKED: (&str, &str) = ("423", "Held by others, or waited for by too many.");

fn problem(description: &str) -> utoipa::openapi::Response {
    let schema = Ref::from_schema_name(ProblemDocument::name().as_ref());
    let text = || HeaderBuilder::new().schema(Some(Object::with_type(Type::String))).build();
    ResponseBuilder::new()
        .description(description)
        .header("X-Request-Id", text())
        .content(PROBLEM_CONTENT_TYPE, ContentBuilder::new().schema(Some(schema)).build())
        .build()
}

fn declare(operation: &mut Operation, problems: &[(&str, &str)]) {
    for (status, description) in problems {
        let responses = &mut operation.responses.responses;
        responses.entry((*status).to_owned()).or_insert_with(|| RefOr::T(problem(description)));
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (bool, &mut Operation)> {
    let writes = [&mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
    let writes = writes.into_iter().filter_map(|op| op.as_mut().map(|op| (true, op)));
    item.get.as_mut().map(|op| (false, op)).into_iter().chain(writes)
}

fn declare_problems(guarded: &mut Paths, open: &mut Paths) {
    let guarded = guarded.paths.iter_mut();
    let guarded = guarded.flat_map(|(path, item)| operations(item).map(move |op| (path, op)));
    for (path, (write, operation)) in guarded {
        declare(operation, GUARDED);
        if write && path.starts_with("/api/v1/locks/") {
            declare(operation, &[LOCKED]);
        }
        if write {
            declare(operation, WRITES);
        }
        if operation.request_body.is_some() {
            declare(operation, BODIES);
        }
        if operation.operation_id.as_deref() == Some("watch") {
            declare(operation, &[GONE]);
        }
    }
    for (_, operation) in open.paths.values_mut().flat_map(operations) {
        declare(operation, OPEN);
        if operation.security.is_none() {
            declare(operation, CREDENTIALS);
        }
    }
}

/// Facts of a reason are members of the document, so it is open to further members.
fn problem_schema() -> RefOr<Schema> {
    let mut schema = ProblemDocument::schema();
    if let RefOr::T(Schema::Object(object)) = &mut schema {
        object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(true)));
        let reasons = types::Reason::ALL.iter().map(|r| Value::from(r.code())).collect();
        let mut reason = Object::with_type(SchemaType::Type(Type::String));
        reason.enum_values = Some(reasons);
        reason.description = Some("Stable reason code, the same at every door.".to_owned());
        object.properties.insert("reason".to_owned(), RefOr::T(Schema::Object(reason)));
    }
    schema
}

fn components(schemas: Vec<(String, RefOr<Schema>)>) -> Components {
    let mut components = Components::new();
    components.schemas.extend(schemas);
    components.schemas.insert(ProblemDocument::name().into_owned(), problem_schema());
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("The API key, the operator key, or an agent's token."))
        .build();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    let key = ApiKeyValue::with_description("X-Api-Key", "The same as a bearer token.");
    components.add_security_scheme("api_key", SecurityScheme::ApiKey(ApiKey::Header(key)));
    components
}

/// The whole document.
pub fn document() -> Value {
    let (mut guarded, mut open) = (guarded(), open());
    declare_problems(&mut guarded.paths, &mut open.paths);
    let mut paths = guarded.paths;
    paths.paths.extend(open.paths.paths);
    let mut schemas = guarded.schemas;
    schemas.extend(open.schemas);
    let mut info = Info::new("hivemem", env!("CARGO_PKG_VERSION"));
    info.description = Some(DESCRIPTION.to_owned());
    let none: [&str; 0] = [];
    let document = OpenApiBuilder::new()
        .info(info)
        .paths(paths)
        .components(Some(components(schemas)))
        .security(Some([
            SecurityRequirement::new("bearer", none),
            SecurityRequirement::new("api_key", none),
        ]))
        .build();
    let mut document = serde_json::to_value(&document)
        .expect("the document has only text keys, so it is always JSON");
    tidy::tidy(&mut document);
    document
}

/// The document as text, ended by a newline.
pub(super) fn text() -> String {
    format!("{:#}\n", document())
}
