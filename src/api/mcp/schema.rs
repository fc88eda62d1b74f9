//! JSON Schemas (2020-12) of tools, from the same structs that make the OpenAPI document.
//!
//! Invariant: a schema stands alone: what it refers to is in its own `$defs`.
//!
//! Not here: which tool has which.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// A JSON object, as the SDK wants schemas.
pub(super) type Schema = Arc<Map<String, Value>>;

/// Where utoipa's references point, and where ours do.
const FROM: &str = "#/components/schemas/";
const TO: &str = "#/$defs/";

fn retarget(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(target)) = fields.get_mut("$ref")
                && let Some(name) = target.strip_prefix(FROM)
            {
                *target = format!("{TO}{name}");
            }
            fields.values_mut().for_each(retarget);
        }
        Value::Array(items) => items.iter_mut().for_each(retarget),
        _ => {}
    }
}

/// The schema of a type as a value, with everything it refers to in `$defs`.
fn value_of<T: ToSchema>() -> Value {
    let mut schema = serde_json::to_value(T::schema()).unwrap_or_else(|_| json!({}));
    let mut parts = Vec::new();
    T::schemas(&mut parts);
    let defs: Map<String, Value> = parts
        .into_iter()
        .filter_map(|(name, part)| serde_json::to_value(part).ok().map(|part| (name, part)))
        .collect();
    if !defs.is_empty() {
        schema["$defs"] = Value::Object(defs);
    }
    retarget(&mut schema);
    schema
}

/// Flattens an `allOf` of objects (what `#[serde(flatten)]` becomes) into one object.
fn flatten(mut schema: Value) -> Value {
    let Some(Value::Array(parts)) = schema.get_mut("allOf").map(Value::take) else { return schema };
    let defs = schema.get("$defs").cloned().unwrap_or_else(|| json!({}));
    let mut properties = Map::new();
    let mut required = Vec::new();
    for part in parts {
        let target = part.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix(TO));
        let part = target.and_then(|name| defs.get(name)).cloned().unwrap_or(part);
        if let Some(Value::Object(more)) = part.get("properties").cloned() {
            properties.extend(more);
        }
        required
            .extend(part.get("required").and_then(Value::as_array).cloned().unwrap_or_default());
    }
    json!({ "type": "object", "properties": properties, "required": required, "$defs": defs })
}

fn object(schema: Value) -> Schema {
    match flatten(schema) {
        Value::Object(fields) => Arc::new(fields),
        _ => Arc::new(Map::new()),
    }
}

/// The schema of a type that is a JSON object.
pub(super) fn of<T: ToSchema>() -> Schema {
    object(value_of::<T>())
}

/// The schema of a type, with one more property that is required.
pub(super) fn with<T: ToSchema>(name: &str, description: &str) -> Schema {
    let mut schema = flatten(value_of::<T>());
    schema["properties"][name] = json!({ "type": "string", "description": description });
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.push(json!(name));
    } else {
        schema["required"] = json!([name]);
    }
    object(schema)
}

/// The schema of `{"items": [T]}`, for answers that are lists: MCP wants objects.
pub(super) fn items<T: ToSchema>() -> Schema {
    let mut inner = value_of::<T>();
    let defs = inner.as_object_mut().and_then(|o| o.remove("$defs")).unwrap_or_else(|| json!({}));
    object(json!({
        "type": "object",
        "properties": { "items": { "type": "array", "items": inner } },
        "required": ["items"],
        "$defs": defs,
    }))
}

/// A plain property: name, type, description, whether it is required.
pub(super) type Argument = (&'static str, &'static str, &'static str, bool);

/// An object of plain properties.
pub(super) fn plain(properties: &[Argument]) -> Schema {
    let fields: Map<String, Value> = properties
        .iter()
        .map(|(name, kind, text, _)| {
            ((*name).to_owned(), json!({ "type": kind, "description": text }))
        })
        .collect();
    let required: Vec<&str> = properties.iter().filter(|p| p.3).map(|p| p.0).collect();
    object(json!({
        "type": "object",
        "properties": fields,
        "required": required,
        "additionalProperties": false,
    }))
}
