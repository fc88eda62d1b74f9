//! The tools: name, description, schemas, and the request each one is.
//!
//! Invariant: `default` offers at most eight tools, because a model chooses worse among many.
//!
//! Not here: sending the requests (`handler`).

use std::str::FromStr;

use http::Method;
use rmcp::model::{Tool, ToolAnnotations};
use serde_json::{Map, Value, json};

use super::schema::{self, Argument, Schema};
use crate::node::{
    model::{
        GraphInput, LinkInput, MemoryDraft, MemoryOut, MemoryPatch, PathInput, RecallAnswer,
        RecallInput, TimelineInput, Written,
        governance::{ActionInput, ActionOut},
        graph::{ChangeOut, GraphOut, PathOut},
        write::{
            BulkInput, BulkResult, ConsolidateInput, DuplicateInput, DuplicateOut, ForgetInput,
            ForgetResult, LinkRef, MemoryRef,
        },
    },
    service::{
        admin::StatusOut,
        conflicts::ConflictPage,
        reads::{MemoryPage, NamespaceOut},
    },
};

/// How many tools are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    /// What an agent needs every day.
    Default,
    /// Everything.
    Full,
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "default" => Ok(Self::Default),
            "full" => Ok(Self::Full),
            other => Err(format!("--profile: unknown value {other:?}; use default or full")),
        }
    }
}

/// A request of the HTTP contract.
pub(super) struct Request {
    pub method: Method,
    pub path: String,
    pub body: Option<Value>,
}

/// What a tool does to the store.
#[derive(Clone, Copy)]
enum Effect {
    Reads,
    Adds,
    Destroys,
}

/// A tool and the request it is.
pub(super) struct Spec {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    effect: Effect,
    input: fn() -> Schema,
    output: fn() -> Schema,
    /// Whether the answer is a list and is wrapped as `{"items": …}`.
    pub list: bool,
    pub request: fn(Map<String, Value>) -> Request,
}

fn post(path: &str, arguments: Map<String, Value>) -> Request {
    Request { method: Method::POST, path: path.to_owned(), body: Some(Value::Object(arguments)) }
}

/// Takes a text argument out; empty when it is missing, which the node refuses by name.
fn take(arguments: &mut Map<String, Value>, name: &str) -> String {
    match arguments.remove(name) {
        Some(Value::String(text)) => crate::api::encode(&text),
        Some(other) => crate::api::encode(&other.to_string()),
        None => String::new(),
    }
}

fn query(path: &str, arguments: Map<String, Value>) -> Request {
    let path = format!("{path}{}", crate::api::query(&Value::Object(arguments)));
    Request { method: Method::GET, path, body: None }
}

fn list_input() -> Schema {
    schema::plain(&[
        ("namespace", "string", "Only this namespace and those above it.", false),
        ("namespace_mode", "string", "ancestors (default), exact or within.", false),
        ("kinds", "string", "Only these kinds, comma-separated.", false),
        ("tags", "string", "All of these tags, comma-separated.", false),
        ("after", "string", "The `next` of the page before.", false),
        ("limit", "integer", "At most so many, 1 to 1000.", false),
        MIN_POSITION,
        CONSISTENCY,
    ])
}

/// What every read takes that asks for how new it is.
const MIN_POSITION: Argument =
    ("min_position", "string", "Token of a write that must be seen, from its durability.", false);
const CONSISTENCY: Argument =
    ("consistency", "string", "local (default), or quorum: sees every acknowledged write.", false);

fn id_input() -> Schema {
    schema::plain(&[("id", "string", "Id of the memory, or a unique prefix of it.", true)])
}

fn get_input() -> Schema {
    let id = ("id", "string", "Id of the memory, or a unique prefix of it.", true);
    schema::plain(&[id, MIN_POSITION, CONSISTENCY])
}

fn none_input() -> Schema {
    schema::plain(&[])
}

/// The tools of the default profile.
const DEFAULT: &[Spec] = &[
    Spec {
        name: "store",
        title: "Store a memory",
        description: "Keep something for later: a fact, a decision, an instruction, an observation. \
            It is durable when this answers. Storing the same title in the same namespace again \
            updates that memory.",
        effect: Effect::Adds,
        input: schema::of::<MemoryDraft>,
        output: schema::of::<Written<MemoryRef>>,
        list: false,
        request: |arguments| post("/api/v1/memories", arguments),
    },
    Spec {
        name: "recall",
        title: "Recall memories",
        description: "Find the memories that answer a question in natural words, best first. Ask \
            before you assume, and before you store what may be known already.",
        effect: Effect::Reads,
        input: schema::of::<RecallInput>,
        output: schema::of::<RecallAnswer>,
        list: false,
        request: |arguments| post("/api/v1/recall", arguments),
    },
    Spec {
        name: "get",
        title: "Get a memory",
        description: "Read one memory by its id or a unique prefix of it.",
        effect: Effect::Reads,
        input: get_input,
        output: schema::of::<MemoryOut>,
        list: false,
        request: |mut arguments| {
            let id = take(&mut arguments, "id");
            query(&format!("/api/v1/memories/{id}"), arguments)
        },
    },
    Spec {
        name: "list",
        title: "List memories",
        description: "Page through memories, newest first.",
        effect: Effect::Reads,
        input: list_input,
        output: schema::of::<MemoryPage>,
        list: false,
        request: |arguments| query("/api/v1/memories", arguments),
    },
    Spec {
        name: "update",
        title: "Update a memory",
        description: "Change fields of a memory; what you leave out stays. Give expected_version \
            to be refused if somebody changed it meanwhile.",
        effect: Effect::Adds,
        input: || schema::with::<MemoryPatch>("id", "Id of the memory, or a unique prefix of it."),
        output: schema::of::<Written<MemoryRef>>,
        list: false,
        request: |mut arguments| {
            let path = format!("/api/v1/memories/{}", take(&mut arguments, "id"));
            Request { method: Method::PATCH, path, body: Some(Value::Object(arguments)) }
        },
    },
    Spec {
        name: "forget",
        title: "Forget memories",
        description: "Move the memories that a namespace and a title pattern name into the \
            archive. With dry_run (the default) it only says which.",
        effect: Effect::Destroys,
        input: schema::of::<ForgetInput>,
        output: schema::of::<Written<ForgetResult>>,
        list: false,
        request: |arguments| post("/api/v1/forget", arguments),
    },
    Spec {
        name: "propose",
        title: "Propose an action",
        description: "Ask for an approval that the rules want before something is done (a refusal \
            with the reason approval_needed says so). Say what you would do; whoever may decide \
            approves or rejects it, and then you do it.",
        effect: Effect::Adds,
        input: schema::of::<ActionInput>,
        output: schema::of::<ActionOut>,
        list: false,
        request: |arguments| post("/api/v1/pending", arguments),
    },
    Spec {
        name: "status",
        title: "Node status",
        description: "What the node says of itself, and as whom you are acting.",
        effect: Effect::Reads,
        input: none_input,
        output: schema::of::<StatusOut>,
        list: false,
        request: |arguments| query("/api/v1/status", arguments),
    },
];

/// The tools that the full profile adds.
const MORE: &[Spec] = &[
    Spec {
        name: "bulk_store",
        title: "Store many memories",
        description: "Keep up to 1000 memories at once; each is accepted or refused on its own.",
        effect: Effect::Adds,
        input: schema::of::<BulkInput>,
        output: schema::of::<Written<BulkResult>>,
        list: false,
        request: |arguments| post("/api/v1/memories/bulk", arguments),
    },
    Spec {
        name: "delete",
        title: "Delete a memory",
        description: "Delete one memory for good.",
        effect: Effect::Destroys,
        input: id_input,
        output: schema::of::<Written<MemoryRef>>,
        list: false,
        request: |mut arguments| {
            let path = format!("/api/v1/memories/{}", take(&mut arguments, "id"));
            Request { method: Method::DELETE, path, body: None }
        },
    },
    Spec {
        name: "link",
        title: "Link two memories",
        description: "Say how two memories relate, e.g. that one supersedes the other.",
        effect: Effect::Adds,
        input: schema::of::<LinkInput>,
        output: schema::of::<Written<LinkRef>>,
        list: false,
        request: |arguments| post("/api/v1/links", arguments),
    },
    Spec {
        name: "graph",
        title: "Walk along links",
        description: "The memories around one, with the links among them.",
        effect: Effect::Reads,
        input: schema::of::<GraphInput>,
        output: schema::of::<GraphOut>,
        list: false,
        request: |arguments| post("/api/v1/kg/query", arguments),
    },
    Spec {
        name: "find_paths",
        title: "Find paths",
        description: "The shortest ways along links from one memory to another.",
        effect: Effect::Reads,
        input: schema::of::<PathInput>,
        output: schema::items::<PathOut>,
        list: true,
        request: |arguments| post("/api/v1/kg/find_paths", arguments),
    },
    Spec {
        name: "timeline",
        title: "History",
        description: "What happened to a memory, or in a namespace, in order of time.",
        effect: Effect::Reads,
        input: schema::of::<TimelineInput>,
        output: schema::items::<ChangeOut>,
        list: true,
        request: |arguments| post("/api/v1/kg/timeline", arguments),
    },
    Spec {
        name: "check_duplicate",
        title: "Check for duplicates",
        description: "Stored memories that say nearly the same as a text.",
        effect: Effect::Reads,
        input: schema::of::<DuplicateInput>,
        output: schema::items::<DuplicateOut>,
        list: true,
        request: |arguments| post("/api/v1/check-duplicate", arguments),
    },
    Spec {
        name: "consolidate",
        title: "Consolidate memories",
        description: "Store one memory in place of several, which are archived.",
        effect: Effect::Destroys,
        input: schema::of::<ConsolidateInput>,
        output: schema::of::<Written<MemoryRef>>,
        list: false,
        request: |arguments| post("/api/v1/consolidate", arguments),
    },
    Spec {
        name: "conflicts",
        title: "List conflicts",
        description: "Memories that several nodes made under one title without having heard of each other, with \
            what differs. They are shown as one; update or delete it by any of the ids to settle it.",
        effect: Effect::Reads,
        input: || {
            schema::plain(&[
                ("after", "string", "The `next` of the page before.", false),
                ("limit", "integer", "At most so many, 1 to 1000.", false),
            ])
        },
        output: schema::of::<ConflictPage>,
        list: false,
        request: |arguments| query("/api/v1/conflicts", arguments),
    },
    Spec {
        name: "namespaces",
        title: "List namespaces",
        description: "Namespaces with the number of memories you can see in them.",
        effect: Effect::Reads,
        input: none_input,
        output: schema::items::<NamespaceOut>,
        list: true,
        request: |arguments| query("/api/v1/namespaces", arguments),
    },
];

fn offered(profile: Profile) -> impl Iterator<Item = &'static Spec> {
    let more = if profile == Profile::Full { MORE } else { &[] };
    DEFAULT.iter().chain(more)
}

/// The tool of a name, if the profile offers it.
pub(super) fn find(profile: Profile, name: &str) -> Option<&'static Spec> {
    offered(profile).find(|spec| spec.name == name)
}

/// All tools of a profile, as the SDK lists them.
pub(super) fn all(profile: Profile) -> Vec<Tool> {
    offered(profile).map(tool).collect()
}

fn tool(spec: &Spec) -> Tool {
    let reads = matches!(spec.effect, Effect::Reads);
    let hints = ToolAnnotations::new()
        .read_only(reads)
        .destructive(matches!(spec.effect, Effect::Destroys))
        .idempotent(reads)
        .open_world(false);
    Tool::new_with_raw(spec.name, Some(spec.description.into()), (spec.input)())
        .with_title(spec.title)
        .with_raw_output_schema((spec.output)())
        .with_annotations(hints)
}

/// Wraps a list, because structured content is an object.
pub(super) fn structured(spec: &Spec, answer: Value) -> Value {
    if spec.list && answer.is_array() { json!({ "items": answer }) } else { answer }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_profile_is_small_and_every_tool_describes_itself() {
        assert!(DEFAULT.len() <= 8);
        for tool in all(Profile::Full) {
            assert_eq!(tool.input_schema["type"], "object", "{}", tool.name);
            let output = tool.output_schema.expect("MCP-3");
            assert_eq!(output["type"], "object", "{}", tool.name);
            let text = serde_json::to_string(&*output).expect("JSON");
            assert!(!text.contains("#/components/"), "{} refers outside itself", tool.name);
        }
    }
}
