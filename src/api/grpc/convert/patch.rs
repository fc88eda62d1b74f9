//! Updates: a field mask and the values it names.
//!
//! Invariants: only what the mask names is changed; a name that is no field, or one that never
//! changes, is refused; naming a field that is not set clears it where it can be empty and is refused
//! where it cannot.
//!
//! Not here: validation of the values.

use prost_types::FieldMask;
use types::{Invalid, Kind, Scope, Tier};
use wire::{convert::struct_to_value, v1};

use super::{
    memory::{embedding, priority},
    time_in, validity_in, word,
};
use crate::node::model::MemoryPatch;

const MASK: &str = "update_mask";

fn set<T>(field: &'static str, value: Option<T>) -> Result<Option<T>, Invalid> {
    match value {
        Some(value) => Ok(Some(value)),
        None => Err(Invalid::new(field, "is named in update_mask but has no value")),
    }
}

/// Applies one path of the mask.
fn take(patch: &mut MemoryPatch, from: &mut v1::NewMemory, path: &str) -> Result<(), Invalid> {
    match path {
        "title" => patch.title = Some(std::mem::take(&mut from.title)),
        "content" => patch.content = Some(std::mem::take(&mut from.content)),
        "tier" => patch.tier = set("tier", word::<Tier>(from.tier)?)?,
        "tags" => patch.tags = Some(std::mem::take(&mut from.tags)),
        "priority" => {
            let value = from.priority.map(|p| priority("priority", p)).transpose()?;
            patch.priority = set("priority", value)?;
        }
        "confidence" => patch.confidence = set("confidence", from.confidence)?,
        "source" => patch.source = Some(std::mem::take(&mut from.source)),
        "kind" => patch.kind = set("kind", word::<Kind>(from.kind)?)?,
        "scope" => patch.scope = set("scope", word::<Scope>(from.scope)?)?,
        "metadata" => {
            let object = from.metadata.take().unwrap_or_default();
            patch.metadata = Some(struct_to_value(&object)?);
        }
        "expires_at" => {
            patch.expires_at = Some(time_in("expires_at", from.expires_at.as_ref())?);
        }
        "validity" => {
            let (valid_from, valid_until) = validity_in(from.validity.as_ref())?;
            patch.valid_from = Some(valid_from);
            patch.valid_until = Some(valid_until);
        }
        "legal_hold" => patch.legal_hold = Some(from.legal_hold),
        "pii_flags" => patch.pii_flags = Some(std::mem::take(&mut from.pii_flags)),
        "embedding" => patch.embedding = set("embedding", from.embedding.take())?.map(embedding),
        "id" | "namespace" | "sources" | "persona_version" => {
            return Err(Invalid::new(MASK, format!("{path} never changes")));
        }
        other => {
            return Err(Invalid::new(
                MASK,
                format!("{other:?} is no field of a memory; name whole fields such as title"),
            ));
        }
    }
    Ok(())
}

/// A change to the fields that the mask names.
///
/// # Errors
/// [`Invalid`] naming the mask or the field.
pub(in crate::api::grpc) fn patch(
    memory: Option<v1::NewMemory>,
    mask: Option<FieldMask>,
    add_tags: Vec<String>,
    remove_tags: Vec<String>,
    expected_version: Option<u64>,
) -> Result<MemoryPatch, Invalid> {
    let mut paths = mask.unwrap_or_default().paths;
    // A path named twice means the same as named once.
    paths.sort();
    paths.dedup();
    if paths.is_empty() && add_tags.is_empty() && remove_tags.is_empty() {
        return Err(Invalid::new(MASK, "names no field, so there is nothing to change"));
    }
    let mut from = memory.unwrap_or_default();
    let mut patch = MemoryPatch { add_tags, remove_tags, expected_version, ..Default::default() };
    for path in &paths {
        take(&mut patch, &mut from, path)?;
    }
    if patch.tags.is_some() && !(patch.add_tags.is_empty() && patch.remove_tags.is_empty()) {
        return Err(Invalid::new(
            "tags",
            "name tags in update_mask, or use add_tags and remove_tags",
        ));
    }
    Ok(patch)
}

#[cfg(test)]
mod tests {
    use wire::convert::timestamp;

    use super::*;

    fn masked(memory: v1::NewMemory, paths: &[&str]) -> Result<MemoryPatch, Invalid> {
        let paths = paths.iter().map(|p| (*p).to_owned()).collect();
        patch(Some(memory), Some(FieldMask { paths }), vec![], vec![], Some(3))
    }

    #[test]
    fn only_what_the_mask_names_is_changed() {
        let memory = v1::NewMemory {
            title: "new".into(),
            content: "ignored".into(),
            tier: v1::Tier::Long.into(),
            tags: vec!["a".into()],
            ..Default::default()
        };
        let expected = MemoryPatch {
            title: Some("new".into()),
            tags: Some(vec!["a".into()]),
            expected_version: Some(3),
            ..Default::default()
        };
        assert_eq!(masked(memory, &["title", "tags", "title"]), Ok(expected));
    }

    #[test]
    fn naming_what_is_not_set_clears_it_or_is_refused() {
        let cleared = masked(
            v1::NewMemory::default(),
            &["expires_at", "validity", "source", "metadata", "tags", "legal_hold"],
        );
        let expected = MemoryPatch {
            expires_at: Some(None),
            valid_from: Some(None),
            valid_until: Some(None),
            source: Some(String::new()),
            metadata: Some(serde_json::json!({})),
            tags: Some(vec![]),
            legal_hold: Some(false),
            expected_version: Some(3),
            ..Default::default()
        };
        assert_eq!(cleared, Ok(expected));
        for path in ["tier", "priority", "confidence", "kind", "scope", "embedding"] {
            let refused = masked(v1::NewMemory::default(), &[path]).expect_err(path);
            assert_eq!(refused.field, path);
        }
    }

    #[test]
    fn set_values_are_carried() {
        let memory = v1::NewMemory {
            expires_at: Some(timestamp(1000)),
            validity: Some(v1::Validity { valid_from: Some(timestamp(0)), valid_until: None }),
            priority: Some(7),
            ..Default::default()
        };
        let patch = masked(memory, &["expires_at", "validity", "priority"]).expect("a patch");
        assert_eq!(patch.expires_at, Some(Some("1970-01-01T00:00:01.000Z".into())));
        assert_eq!(patch.valid_from, Some(Some("1970-01-01T00:00:00.000Z".into())));
        assert_eq!((patch.valid_until, patch.priority), (Some(None), Some(7)));
    }

    #[test]
    fn unknown_and_unchangeable_paths_are_refused_by_name() {
        for path in ["titel", "*", "validity.valid_from", "id", "namespace", ""] {
            let refused = masked(v1::NewMemory::default(), &[path]).expect_err(path);
            assert_eq!(refused.field, MASK);
            assert!(refused.problem.contains(path), "{refused}");
        }
        assert_eq!(masked(v1::NewMemory::default(), &[]).expect_err("nothing").field, MASK);
        let both = patch(
            None,
            Some(FieldMask { paths: vec!["tags".into()] }),
            vec!["a".into()],
            vec![],
            None,
        );
        assert_eq!(both.expect_err("two ways").field, "tags");
    }
}
