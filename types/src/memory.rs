//! What a writer may say about a memory: all of it when it is new, some of it when it changes.
//!
//! Invariant: a [`NewMemory`] or [`Patch`] is built from validated parts and passes
//! [`NewMemory::check`] / [`Patch::check`] before it becomes an operation.
//!
//! Not here: what replication adds (stamps, dots, counters), which is the `record`'s.

use std::collections::BTreeSet;

use crate::{
    Audience, Content, Invalid, Kind, MemoryId, Metadata, Namespace, Scope, Tag, Tier, Title,
    limits::{
        EMBEDDING_DIMENSION_MAX, MODEL_BYTES_MAX, PRIORITY_DEFAULT, PRIORITY_RANGE,
        SOURCE_BYTES_MAX, SOURCES_MAX, TAGS_MAX,
    },
};

/// A vector supplied by the writer instead of being computed here.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// Name of the model, e.g. `all-MiniLM-L6-v2`.
    pub model: String,
    /// Version of the model.
    pub version: String,
    /// The components; their number is the dimension.
    pub values: Vec<f32>,
}

impl Embedding {
    /// Checks the names, the dimension and that every component is finite.
    ///
    /// # Errors
    /// [`Invalid`] naming `embedding`.
    pub fn check(&self) -> Result<(), Invalid> {
        let name_is_valid = |name: &str| name.len() <= MODEL_BYTES_MAX && !name.contains('\0');
        if self.model.is_empty() || ![&self.model, &self.version].iter().all(|n| name_is_valid(n)) {
            return Err(Invalid::new(
                "embedding",
                format!("needs a model, and at most {MODEL_BYTES_MAX} bytes of model and version"),
            ));
        }
        let n = self.values.len();
        if n == 0 || n > EMBEDDING_DIMENSION_MAX {
            return Err(Invalid::new(
                "embedding",
                format!("needs 1 to {EMBEDDING_DIMENSION_MAX} components, got {n}"),
            ));
        }
        if !self.values.iter().all(|x| x.is_finite()) || self.values.iter().all(|x| *x == 0.0) {
            return Err(Invalid::new("embedding", "needs finite components that are not all zero"));
        }
        Ok(())
    }
}

/// A span of validity. `until_ms` is exclusive; either end may be open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validity {
    /// First instant at which the memory is true, Unix milliseconds.
    pub from_ms: Option<u64>,
    /// First instant at which it no longer is, Unix milliseconds.
    pub until_ms: Option<u64>,
}

impl Validity {
    /// Checks that the span is not empty.
    ///
    /// # Errors
    /// [`Invalid`] naming `valid_until`.
    pub fn check(&self) -> Result<(), Invalid> {
        match (self.from_ms, self.until_ms) {
            (Some(from), Some(until)) if until <= from => {
                Err(Invalid::new("valid_until", "must be later than valid_from"))
            }
            _ => Ok(()),
        }
    }
}

/// Everything a writer says about a new memory.
#[derive(Clone, Debug, PartialEq)]
pub struct NewMemory {
    /// Its id, drawn by the node (or kept by an import).
    pub id: MemoryId,
    /// Where it belongs.
    pub namespace: Namespace,
    /// What it is about.
    pub title: Title,
    /// The memory itself.
    pub content: Content,
    /// How long it lives by default.
    pub tier: Tier,
    /// Labels.
    pub tags: BTreeSet<Tag>,
    /// 1 (least) to 10.
    pub priority: u8,
    /// 0 to 1000 permille.
    pub confidence_permille: u16,
    /// Where it came from, e.g. a URL or a tool; may be empty.
    pub source: String,
    /// What it is.
    pub kind: Kind,
    /// Who may see it.
    pub scope: Scope,
    /// Those whom the scope stands for, resolved from the author's affiliation.
    pub audience: Audience,
    /// Free-form facts.
    pub metadata: Metadata,
    /// When it expires, Unix milliseconds; `None` is never.
    pub expires_at_ms: Option<u64>,
    /// When it is true.
    pub validity: Validity,
    /// Exempt from deletion and retention.
    pub legal_hold: bool,
    /// Kinds of personal data it contains, e.g. `email`.
    pub pii_flags: BTreeSet<Tag>,
    /// Memories a reflection was drawn from; only for [`Kind::Reflection`].
    pub sources: BTreeSet<MemoryId>,
    /// Depth of a reflection: 1 + the greatest depth of its sources; 0 for anything else.
    pub reflection_depth: u8,
    /// Version of a persona; 0 for anything else.
    pub persona_version: u32,
    /// Vector supplied by the writer.
    pub embedding: Option<Embedding>,
    /// Whether it stays a memory of its own beside others with its title: its writer wanted both.
    pub apart: bool,
}

impl NewMemory {
    /// A memory with every default; the scope is private to `audience`.
    pub fn new(id: MemoryId, title: Title, content: Content, audience: Audience) -> Self {
        Self {
            id,
            namespace: Namespace::global(),
            title,
            content,
            tier: Tier::Mid,
            tags: BTreeSet::new(),
            priority: PRIORITY_DEFAULT,
            confidence_permille: 1000,
            source: String::new(),
            kind: Kind::Observation,
            scope: Scope::Private,
            audience,
            metadata: Metadata::empty(),
            expires_at_ms: None,
            validity: Validity::default(),
            legal_hold: false,
            pii_flags: BTreeSet::new(),
            sources: BTreeSet::new(),
            reflection_depth: 0,
            persona_version: 0,
            embedding: None,
            apart: false,
        }
    }

    /// Checks what the parts' own types cannot.
    ///
    /// # Errors
    /// [`Invalid`] naming the field.
    pub fn check(&self) -> Result<(), Invalid> {
        check_priority(self.priority)?;
        check_confidence(self.confidence_permille)?;
        check_source(&self.source)?;
        check_tag_count("tags", self.tags.len())?;
        check_tag_count("pii_flags", self.pii_flags.len())?;
        self.validity.check()?;
        if self.sources.len() > SOURCES_MAX {
            return Err(Invalid::new(
                "sources",
                format!("at most {SOURCES_MAX} of them, got {}", self.sources.len()),
            ));
        }
        if !self.sources.is_empty() && self.kind != Kind::Reflection {
            return Err(Invalid::new(
                "sources",
                "only a reflection has sources; set kind to reflection",
            ));
        }
        self.embedding.as_ref().map_or(Ok(()), Embedding::check)
    }
}

pub(crate) fn check_priority(priority: u8) -> Result<(), Invalid> {
    let (low, high) = PRIORITY_RANGE;
    if (low..=high).contains(&priority) {
        return Ok(());
    }
    Err(Invalid::new("priority", format!("needs {low} to {high}, got {priority}")))
}

pub(crate) fn check_confidence(permille: u16) -> Result<(), Invalid> {
    if permille <= 1000 {
        return Ok(());
    }
    Err(Invalid::new("confidence", "needs 0 to 1"))
}

fn check_source(source: &str) -> Result<(), Invalid> {
    if source.len() <= SOURCE_BYTES_MAX && !source.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Invalid::new(
        "source",
        format!("needs at most {SOURCE_BYTES_MAX} bytes without control characters"),
    ))
}

fn check_tag_count(field: &'static str, count: usize) -> Result<(), Invalid> {
    if count <= TAGS_MAX {
        return Ok(());
    }
    Err(Invalid::new(field, format!("at most {TAGS_MAX} of them, got {count}")))
}

/// A change to some fields; `None` leaves a field as it is. For optional fields the inner `None`
/// clears the field.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patch {
    /// New title.
    pub title: Option<Title>,
    /// New content.
    pub content: Option<Content>,
    /// New tier; an explicit change may go down.
    pub tier: Option<Tier>,
    /// Tags to add.
    pub add_tags: BTreeSet<Tag>,
    /// Tags to remove.
    pub remove_tags: BTreeSet<Tag>,
    /// New priority, 1 to 10.
    pub priority: Option<u8>,
    /// New confidence, 0 to 1000 permille.
    pub confidence_permille: Option<u16>,
    /// New source.
    pub source: Option<String>,
    /// New kind.
    pub kind: Option<Kind>,
    /// New scope with the audience it stands for.
    pub scope: Option<(Scope, Audience)>,
    /// New metadata, replacing the old object.
    pub metadata: Option<Metadata>,
    /// New expiry.
    pub expires_at_ms: Option<Option<u64>>,
    /// New validity.
    pub validity: Option<Validity>,
    /// New legal hold.
    pub legal_hold: Option<bool>,
    /// New personal-data flags, replacing the old set.
    pub pii_flags: Option<BTreeSet<Tag>>,
    /// New vector supplied by the writer.
    pub embedding: Option<Embedding>,
}

impl Patch {
    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Checks what the parts' own types cannot.
    ///
    /// # Errors
    /// [`Invalid`] naming the field; `update_mask` when the patch is empty.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.is_empty() {
            return Err(Invalid::new("update_mask", "names no field to change"));
        }
        self.priority.map_or(Ok(()), check_priority)?;
        self.confidence_permille.map_or(Ok(()), check_confidence)?;
        self.source.as_deref().map_or(Ok(()), check_source)?;
        check_tag_count("add_tags", self.add_tags.len())?;
        check_tag_count("remove_tags", self.remove_tags.len())?;
        check_tag_count("pii_flags", self.pii_flags.as_ref().map_or(0, BTreeSet::len))?;
        self.validity.as_ref().map_or(Ok(()), Validity::check)?;
        if let Some(both) = self.add_tags.intersection(&self.remove_tags).next() {
            return Err(Invalid::new("tags", format!("tag {both} is both added and removed")));
        }
        self.embedding.as_ref().map_or(Ok(()), Embedding::check)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn memory() -> NewMemory {
        NewMemory::new(
            MemoryId(Uuid::from_u128(1)),
            "a title".parse().expect("a title"),
            Content::default(),
            Audience::everyone(),
        )
    }

    fn tags(count: usize) -> BTreeSet<Tag> {
        (0..count).map(|n| format!("t{n}").parse().expect("a tag")).collect()
    }

    fn vector(values: Vec<f32>) -> Embedding {
        Embedding { model: "m".into(), version: String::new(), values }
    }

    #[test]
    fn each_rule_of_a_new_memory_names_its_field() {
        assert_eq!(memory().check(), Ok(()));
        let broken = [
            ("priority", NewMemory { priority: 0, ..memory() }),
            ("priority", NewMemory { priority: 11, ..memory() }),
            ("confidence", NewMemory { confidence_permille: 1001, ..memory() }),
            ("source", NewMemory { source: "x".repeat(SOURCE_BYTES_MAX + 1), ..memory() }),
            ("source", NewMemory { source: "a\nb".into(), ..memory() }),
            ("tags", NewMemory { tags: tags(TAGS_MAX + 1), ..memory() }),
            ("pii_flags", NewMemory { pii_flags: tags(TAGS_MAX + 1), ..memory() }),
            ("sources", NewMemory { sources: [memory().id].into(), ..memory() }),
            ("embedding", NewMemory { embedding: Some(vector(vec![0.0])), ..memory() }),
        ];
        for (field, new) in broken {
            assert_eq!(new.check().expect_err(field).field, field);
        }
        assert!(NewMemory { tags: tags(TAGS_MAX), ..memory() }.check().is_ok());
        let sources = (0..=SOURCES_MAX as u128).map(|n| MemoryId(Uuid::from_u128(n))).collect();
        let reflection = NewMemory { sources, kind: Kind::Reflection, ..memory() };
        assert_eq!(reflection.check().expect_err("too many").field, "sources");
    }

    #[test]
    fn a_vector_needs_a_model_and_finite_components() {
        assert!(vector(vec![0.0, 1.0]).check().is_ok());
        assert!(Embedding { model: String::new(), ..vector(vec![1.0]) }.check().is_err());
        let long = "m".repeat(MODEL_BYTES_MAX + 1);
        assert!(Embedding { version: long, ..vector(vec![1.0]) }.check().is_err());
        for values in [vec![], vec![f32::NAN], vec![1.0, f32::INFINITY]] {
            assert!(vector(values.clone()).check().is_err(), "{values:?}");
        }
        assert!(vector(vec![1.0; EMBEDDING_DIMENSION_MAX]).check().is_ok());
        assert!(vector(vec![1.0; EMBEDDING_DIMENSION_MAX + 1]).check().is_err());
    }

    #[test]
    fn each_rule_of_a_patch_names_its_field() {
        assert_eq!(Patch::default().check().expect_err("empty").field, "update_mask");
        let empty = Validity { from_ms: Some(2), until_ms: Some(2) };
        let broken = [
            ("priority", Patch { priority: Some(0), ..Patch::default() }),
            ("confidence", Patch { confidence_permille: Some(1001), ..Patch::default() }),
            ("valid_until", Patch { validity: Some(empty), ..Patch::default() }),
            ("add_tags", Patch { add_tags: tags(TAGS_MAX + 1), ..Patch::default() }),
            ("remove_tags", Patch { remove_tags: tags(TAGS_MAX + 1), ..Patch::default() }),
            ("pii_flags", Patch { pii_flags: Some(tags(TAGS_MAX + 1)), ..Patch::default() }),
            ("tags", Patch { add_tags: tags(2), remove_tags: tags(1), ..Patch::default() }),
            ("embedding", Patch { embedding: Some(vector(vec![])), ..Patch::default() }),
        ];
        for (field, patch) in broken {
            assert_eq!(patch.check().expect_err(field).field, field);
        }
        assert!(Patch { expires_at_ms: Some(None), ..Patch::default() }.check().is_ok());
    }
}
