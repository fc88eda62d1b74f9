//! Sessions: what is offered, and calls turned into requests.

use axum::{
    body::Body,
    extract::State,
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Method, Request, StatusCode, header, request::Parts};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
        ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
        ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, RequestMetaObject,
        Resource, ResourceContents, ResourceTemplate, ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
};
use runtime::span::TRACEPARENT;
use serde_json::Value;
use wire::serve::Peer;

use super::tools::{self, Profile};
use crate::api::{
    call::{Answer, ApiClient, Conditions, Payload},
    encode,
};

/// What a model is told about this server.
const INSTRUCTIONS: &str = "hivemem keeps memories that outlive this conversation and are shared \
    with the agents you work with. Recall before you answer from assumption; store what should be \
    known later: decisions with their reasons, facts about people and systems, instructions. Use \
    one namespace per project, such as acme/search.";
/// Scheme of a memory's resource.
const MEMORY_URI: &str = "hivemem://memory/";
/// Member of a call's `_meta` under which a tool is done at most once.
const IDEMPOTENCY_KEY: &str = "hivemem/idempotency-key";
/// Memories listed as resources.
const RESOURCES_LISTED: u32 = 50;

/// One session's server.
#[derive(Clone)]
pub(super) struct Handler {
    caller: ApiClient,
    profile: Profile,
    /// Whether calls must carry the request that brought them.
    over_http: bool,
}

/// Credentials and trace that a request carries on to the calls it makes.
fn credentials(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for name in ["authorization", "x-api-key", "x-agent-id", TRACEPARENT] {
        if let Some(value) = headers.get(name) {
            kept.insert(http::HeaderName::from_static(name), value.clone());
        }
    }
    kept
}

/// Refuses a request without valid credentials before the SDK sees it, with the same problem
/// document as any other route.
pub(super) async fn admit(
    State(api): State<ApiClient>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<Peer>().cloned();
    let api = api.as_request(credentials(request.headers()), peer);
    let answer =
        api.call(Method::GET, "/api/v1/capabilities", Payload::Empty, Conditions::default()).await;
    match answer {
        Ok(answer) if answer.status == 401 || answer.status == 403 => {
            let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::UNAUTHORIZED);
            let kind = [(header::CONTENT_TYPE, "application/problem+json")];
            (status, kind, answer.body.to_string()).into_response()
        }
        _ => next.run(request).await,
    }
}

impl Handler {
    pub(super) fn new(caller: ApiClient, profile: Profile, over_http: bool) -> Self {
        Self { caller, profile, over_http }
    }

    /// The caller for one call (`MCP-2`).
    fn caller(&self, context: &RequestContext<RoleServer>) -> ApiClient {
        if !self.over_http {
            return self.caller.clone();
        }
        match context.extensions.get::<Parts>() {
            Some(parts) => {
                let peer = parts.extensions.get::<Peer>().cloned();
                self.caller.as_request(credentials(&parts.headers), peer)
            }
            None => self.caller.as_request(HeaderMap::new(), None),
        }
    }

    async fn get(
        &self,
        context: &RequestContext<RoleServer>,
        path: &str,
    ) -> Result<Value, ErrorData> {
        let answer = self
            .caller(context)
            .call(Method::GET, path, Payload::Empty, Conditions::default())
            .await
            .map_err(|e| ErrorData::internal_error(e.to_string(), None))?;
        match answer.status {
            0..400 => Ok(answer.body),
            404 => Err(ErrorData::resource_not_found(refusal(&answer), Some(answer.body))),
            _ => Err(ErrorData::invalid_request(refusal(&answer), Some(answer.body))),
        }
    }
}

/// The at-most-once key in a call's `_meta`.
fn idempotency_key(
    meta: Option<&RequestMetaObject>,
    context: &RequestContext<RoleServer>,
) -> Result<Option<String>, ErrorData> {
    let value = meta.and_then(|meta| meta.get(IDEMPOTENCY_KEY));
    match value.or_else(|| context.meta.get(IDEMPOTENCY_KEY)) {
        None => Ok(None),
        Some(Value::String(key)) => Ok(Some(key.clone())),
        Some(_) => {
            let problem = format!("_meta[{IDEMPOTENCY_KEY:?}] needs to be a text");
            Err(ErrorData::invalid_params(problem, None))
        }
    }
}

/// A refusal in the words of the problem document.
fn refusal(answer: &Answer) -> String {
    let text = |name: &str| answer.body.get(name).and_then(Value::as_str).unwrap_or_default();
    format!("{}: {}", text("reason"), text("detail"))
}

fn text_of(memory: &Value, name: &str) -> String {
    memory.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_resources().build();
        let mut info = ServerConfig::new(capabilities);
        info.server_info = Implementation::new("hivemem", env!("CARGO_PKG_VERSION"));
        info.instructions = Some(INSTRUCTIONS.to_owned());
        info
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools::all(self.profile)))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools::all(self.profile).into_iter().find(|tool| tool.name == name)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(spec) = tools::find(self.profile, &request.name) else {
            let problem = format!("there is no tool {:?}", request.name);
            return Err(ErrorData::invalid_params(problem, None));
        };
        let call = (spec.request)(request.arguments.unwrap_or_default());
        let payload = call.body.map_or(Payload::Empty, Payload::Json);
        let key = idempotency_key(request.meta.as_ref(), &context)?;
        let conditions = Conditions { idempotency_key: key.as_deref(), ..Conditions::default() };
        let answer = self.caller(&context).call(call.method, &call.path, payload, conditions).await;
        let result = match answer {
            Ok(answer) if answer.status < 400 => {
                CallToolResult::structured(tools::structured(spec, answer.body))
            }
            Ok(answer) => CallToolResult::error(vec![ContentBlock::text(refusal(&answer))]),
            Err(error) => CallToolResult::error(vec![ContentBlock::text(error.to_string())]),
        };
        Ok(result.into())
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let path = format!("/api/v1/memories?limit={RESOURCES_LISTED}");
        let page = self.get(&context, &path).await?;
        let memories = page.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        let resources = memories
            .iter()
            .map(|memory| {
                let id = text_of(memory, "id");
                Resource::new(format!("{MEMORY_URI}{id}"), id)
                    .with_title(text_of(memory, "title"))
                    .with_mime_type("application/json")
            })
            .collect();
        Ok(ListResourcesResult::with_all_items(resources))
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let memory = ResourceTemplate::new(format!("{MEMORY_URI}{{id}}"), "memory")
            .with_title("A memory")
            .with_mime_type("application/json");
        Ok(ListResourceTemplatesResult::with_all_items(vec![memory]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let Some(id) = request.uri.strip_prefix(MEMORY_URI) else {
            let problem = format!("{:?} is no resource of this server", request.uri);
            return Err(ErrorData::resource_not_found(problem, None));
        };
        let memory = self.get(&context, &format!("/api/v1/memories/{}", encode(id))).await?;
        let contents = ResourceContents::text(memory.to_string(), request.uri)
            .with_mime_type("application/json");
        Ok(ReadResourceResult::new(vec![contents]).into())
    }
}
