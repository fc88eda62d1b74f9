//! What the generator cannot say by itself, said on the finished document.
//!
//! Invariants: every whole number has a range that is exactly its type's or narrower; a parameter is
//! never `null`, because a query string and a header cannot say that; no schema is left that nothing
//! refers to.
//!
//! Not here: anything about one route or one struct.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// Corrects the document in place.
pub(super) fn tidy(document: &mut Value) {
    each_object(document, &mut |object| {
        unsigned_formats(object);
        if object.get("default").is_some_and(|d| d.is_null() || *d == json!("")) {
            object.remove("default");
        }
        let is_parameter = object.contains_key("in") && object.contains_key("name");
        if is_parameter && let Some(Value::Object(schema)) = object.get_mut("schema") {
            never_null(schema);
        }
    });
    prune(document);
}

/// Visits every object of a value, outer ones first.
fn each_object(value: &mut Value, visit: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            visit(object);
            object.values_mut().for_each(|value| each_object(value, visit));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| each_object(value, visit)),
        _ => {}
    }
}

/// The generator calls every number of up to 32 bits `int32`, signed or not.
fn unsigned_formats(schema: &mut Map<String, Value>) {
    let unsigned = schema.get("minimum").and_then(Value::as_f64).is_some_and(|least| least >= 0.0);
    if !unsigned {
        return;
    }
    let (format, greatest) = match schema.get("format").and_then(Value::as_str) {
        Some("int32") => ("uint32", u64::from(u32::MAX)),
        Some("int64") => ("uint64", u64::MAX),
        _ => return,
    };
    schema.insert("format".to_owned(), format.into());
    schema.entry("maximum").or_insert(greatest.into());
}

fn never_null(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(kinds)) = schema.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [only] = kinds.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(any)) = schema.get_mut("oneOf") {
        any.retain(|one| *one != json!({"type": "null"}));
        if let [Value::Object(only)] = any.as_slice() {
            *schema = only.clone();
        }
    }
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            let name = fields.get("$ref").and_then(Value::as_str);
            if let Some(name) = name.and_then(|r| r.strip_prefix("#/components/schemas/")) {
                found.insert(name.to_owned());
            }
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

/// Removes schemas that no route leads to.
fn prune(document: &mut Value) {
    let mut wanted = BTreeSet::new();
    references(&document["paths"], &mut wanted);
    let mut open: Vec<String> = wanted.iter().cloned().collect();
    while let Some(name) = open.pop() {
        let mut inner = BTreeSet::new();
        references(&document["components"]["schemas"][&name], &mut inner);
        for name in inner {
            if wanted.insert(name.clone()) {
                open.push(name);
            }
        }
    }
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.retain(|name, _| wanted.contains(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_get_ranges_parameters_lose_null_and_orphans_go() {
        let mut document = json!({
            "paths": {"/a": {"get": {"parameters": [
                {"name": "n", "in": "query", "schema":
                    {"type": ["integer", "null"], "format": "int64", "minimum": 0}},
                {"name": "m", "in": "query", "schema":
                    {"oneOf": [{"$ref": "#/components/schemas/A"}, {"type": "null"}]}},
            ]}}},
            "components": {"schemas": {
                "A": {"properties": {"b": {"$ref": "#/components/schemas/B"}}},
                "B": {"type": ["string", "null"], "default": null},
                "C": {"type": "string"},
            }},
        });
        tidy(&mut document);
        assert_eq!(
            document,
            json!({
                "paths": {"/a": {"get": {"parameters": [
                    {"name": "n", "in": "query", "schema": {"type": "integer", "format": "uint64",
                        "minimum": 0, "maximum": 18_446_744_073_709_551_615_u64}},
                    {"name": "m", "in": "query", "schema": {"$ref": "#/components/schemas/A"}},
                ]}}},
                "components": {"schemas": {
                    "A": {"properties": {"b": {"$ref": "#/components/schemas/B"}}},
                    "B": {"type": ["string", "null"]},
                }},
            })
        );
    }
}
