//! The OpenAPI document: committed, complete, and exact about what it accepts.

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::{Value, json};

use super::super::openapi;

fn committed_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json")
}

fn document() -> Value {
    serde_json::from_str(&openapi::text()).expect("the document is JSON")
}

fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("a path item") {
            all.push((path.clone(), method.clone(), operation.clone()));
        }
    }
    all
}

#[test]
fn the_committed_document_is_the_generated_one() {
    let generated = openapi::text();
    if std::env::var_os("HIVEMEM_WRITE_OPENAPI").is_some() {
        fs::write(committed_path(), &generated).expect("docs/openapi.json can be written");
    }
    let committed = fs::read_to_string(committed_path()).expect("docs/openapi.json is committed");
    assert!(
        committed == generated,
        "docs/openapi.json is out of date: run this test with HIVEMEM_WRITE_OPENAPI=1"
    );
}

/// Every `$ref` in `value`.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                found.insert(reference.clone());
            }
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_is_used() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for reference in &found {
        let pointer = reference.strip_prefix('#').expect("a local reference");
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    for name in document["components"]["schemas"].as_object().expect("schemas").keys() {
        assert!(found.contains(&format!("#/components/schemas/{name}")), "{name} is not used");
    }
}

#[test]
fn operations_have_names_of_their_own_and_declare_their_problems() {
    let document = document();
    let mut names = BTreeSet::new();
    let all = operations(&document);
    assert!(all.len() >= 45, "{} operations", all.len());
    for (path, method, operation) in all {
        let name = operation["operationId"].as_str().expect("a name").to_owned();
        assert!(names.insert(name.clone()), "{name} twice");
        assert!(operation["summary"].is_string(), "{name} has no summary");
        let responses = operation["responses"].as_object().expect("responses");
        for (status, response) in responses {
            let is_problem = status.as_str() >= "400";
            let content = response.get("content").and_then(Value::as_object);
            let types: Vec<&String> = content.into_iter().flat_map(|c| c.keys()).collect();
            assert_eq!(
                types.contains(&&"application/problem+json".to_owned()),
                is_problem,
                "{name} {status} {types:?}"
            );
            assert!(
                is_problem || status == "304" || !types.is_empty(),
                "{name} {status} has no type"
            );
        }
        let needs_key = operation.get("security").is_none();
        assert_eq!(responses.contains_key("401"), needs_key, "{method} {path}");
        assert_eq!(responses.contains_key("415"), operation.get("requestBody").is_some());
        for variable in path.split('/').filter_map(|s| s.strip_prefix('{')?.strip_suffix('}')) {
            let declared = operation["parameters"].as_array().is_some_and(|all| {
                all.iter()
                    .any(|p| p["name"] == variable && p["in"] == "path" && p["required"] == true)
            });
            assert!(declared, "{method} {path} does not declare {variable}");
        }
    }
}

#[test]
fn every_reason_of_the_table_is_a_declared_status() {
    let document = document();
    let declared = |path: &str, method: &str| {
        document["paths"][path][method]["responses"].as_object().expect("responses").clone()
    };
    let mut all = declared("/api/v1/memories", "post");
    all.extend(declared("/api/v1/watch", "get"));
    all.extend(declared("/api/v1/locks/acquire", "post"));
    for row in wire::errors::TABLE {
        let status = row.http.to_string();
        let declared = all.contains_key(&status);
        assert!(declared, "{} answers {status}, which is not declared", row.reason);
    }
    let reasons = document["components"]["schemas"]["Problem"]["properties"]["reason"]["enum"]
        .as_array()
        .expect("a closed list");
    assert_eq!(reasons.len(), types::Reason::ALL.len());
}

#[test]
fn inputs_are_closed_and_bounded() {
    let document = document();
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    for (name, schema) in schemas {
        let input = name.ends_with("Input") || name == "MemoryDraft" || name == "MemoryPatch";
        if !input {
            continue;
        }
        assert_eq!(schema["additionalProperties"], json!(false), "{name} is open");
        for (field, schema) in schema["properties"].as_object().expect("properties") {
            let kind = &schema["type"];
            let is = |wanted: &str| {
                kind == wanted || kind.as_array().is_some_and(|k| k.contains(&wanted.into()))
            };
            if is("integer") {
                assert!(schema.get("minimum").is_some(), "{name}.{field} has no minimum");
            }
        }
    }
}
