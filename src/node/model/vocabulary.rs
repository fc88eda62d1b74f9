//! The words of the contract as OpenAPI schemas: closed lists, ids, names and times.
//!
//! Fields keep these as text, because their parsing gives better errors than serde's; the document
//! still has to say what is accepted, exactly.
//!
//! Invariant: `VOC-1` a schema accepts what the parser of the same name accepts, as far as a schema
//! can say it: lengths in bytes appear as lengths in characters.
//!
//! Not here: the parsers (`types`).

use std::borrow::Cow;

use types::{
    Kind, Relation, Scope, Tier,
    limits::{AGENT_BYTES_MAX, NAMESPACE_BYTES_MAX, TAG_BYTES_MAX, TITLE_CHARS_MAX},
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        KnownFormat, ObjectBuilder, RefOr, SchemaFormat,
        schema::{OneOfBuilder, Schema, Type},
    },
};

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $title:literal, $schema:expr) => {
        $(#[$doc])*
        pub struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                $schema.into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                $title.into()
            }
        }
    };
}

word!(
    /// How long a memory lives by default.
    TierName,
    "Tier",
    text()
        .description(Some("How long a memory lives by default: hours, days, or for ever."))
        .enum_values(Some(Tier::ALL.iter().map(|t| t.as_str())))
);
word!(
    /// How new a read must be.
    PositionText,
    "MinPosition",
    OneOfBuilder::new()
        .description(Some(
            "A position of the node that is asked, or the token of a write, which means the same on every node."
        ))
        .item(ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)))
        .item(text().pattern(Some("^([0-9]{1,19}|[0-9a-f-]{36}:[0-9]{1,19}(,[0-9a-f-]{36}:[0-9]{1,19}){0,255})$")))
);
word!(
    /// What a memory is.
    KindName,
    "Kind",
    text()
        .description(Some("What a memory is."))
        .enum_values(Some(Kind::ALL.iter().map(|k| k.as_str())))
);
word!(
    /// Who may see a memory.
    ScopeName,
    "Scope",
    text()
        .description(Some("Who may see a memory, from its author alone to everyone."))
        .enum_values(Some(Scope::ALL.iter().map(|s| s.as_str())))
);
word!(
    /// What a link says.
    RelationName,
    "Relation",
    text()
        .description(Some("What a link says of its two ends."))
        .enum_values(Some(Relation::ALL.iter().map(|r| r.as_str())))
);
word!(
    /// A hierarchical namespace.
    NamespacePath,
    "Namespace",
    text()
        .description(Some("Hierarchical place of memories: at most 12 segments, separated by `/`."))
        .pattern(Some(r"^[a-z0-9_-][a-z0-9_.-]*(/[a-z0-9_-][a-z0-9_.-]*){0,11}$"))
        .max_length(Some(NAMESPACE_BYTES_MAX))
);
word!(
    /// Name of an agent.
    AgentName,
    "AgentId",
    text()
        .description(Some("Name of an agent."))
        .pattern(Some(r"^[A-Za-z0-9._:@/-]+$"))
        .max_length(Some(AGENT_BYTES_MAX))
);
word!(
    /// A title: one line that is not blank.
    TitleText,
    "Title",
    text()
        .description(Some("What a memory is about: one line that is not blank."))
        .pattern(Some(r"^[^\x00-\x1F\x7F-\x9F]*[^\s\x00-\x1F\x7F-\x9F][^\x00-\x1F\x7F-\x9F]*$"))
        .min_length(Some(1))
        .max_length(Some(TITLE_CHARS_MAX))
);
word!(
    /// A label.
    TagText,
    "Tag",
    text()
        .description(Some(
            "A label of at most 64 bytes of UTF-8, without white space, commas and control characters."
        ))
        .pattern(Some(r"^[^\s,\x00-\x1F\x7F-\x9F]+$"))
        .min_length(Some(1))
        .max_length(Some(TAG_BYTES_MAX))
);
word!(
    /// A memory's whole id.
    MemoryKey,
    "MemoryId",
    text()
        .description(Some("Id of a memory (UUIDv7)."))
        .format(Some(SchemaFormat::Custom("uuid".to_owned())))
);
word!(
    /// A memory's id or a prefix of it.
    MemoryRefKey,
    "MemoryIdOrPrefix",
    text()
        .description(Some(
            "Id of a memory, or its first digits when they fit only one; hyphens do not matter."
        ))
        .pattern(Some("^-*([0-9A-Fa-f]-*){4,32}$"))
);
word!(
    /// A link's id.
    LinkKey,
    "LinkId",
    text()
        .description(Some("Id of a link (UUIDv7)."))
        .format(Some(SchemaFormat::Custom("uuid".to_owned())))
);
word!(
    /// An instant.
    InstantText,
    "Instant",
    text()
        .description(Some("An instant from 1970 to 9999 (RFC 3339)."))
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .pattern(Some("^(19[7-9][0-9]|[2-9][0-9]{3})-"))
);
word!(
    /// Free-form facts.
    FactsObject,
    "Metadata",
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some("A JSON object of free-form facts, at most 16 KiB and 16 levels deep."))
        .additional_properties(Some(
            utoipa::openapi::schema::AdditionalProperties::<Schema>::FreeForm(true)
        ))
);
