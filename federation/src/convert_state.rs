//! Messages about state and what they mean.
//!
//! Invariant: as in `convert`: what does not fit is refused with the name of its field.
//!
//! Not here: whether to believe it (`exchange`).

use storage::state::{
    Alias, CoveredFeed, Holding, Item, ItemDigest, ItemKey, KeyRange, Table, Visible,
};
use types::{
    Hlc, MemoryId, NamespaceGlob, Reason, Reject, Stamp,
    codec::{self, CodecError, Columns},
};
use wire::v1::{
    SyncAlias, SyncDigest, SyncHead, SyncHolding, SyncItem, SyncMemory, SyncRange, SyncRangeTold,
    SyncStamp, sync_item,
};

use crate::{
    compare::{RangeSum, Told},
    convert,
};

/// Most patterns of namespaces in a message.
const PATTERNS_MAX: usize = 1024;

fn malformed(field: &'static str, problem: impl std::fmt::Display) -> Reject {
    Reject::new(Reason::Malformed, format!("{field}: {problem}")).with("field", field)
}

fn decoded<T>(result: Result<T, CodecError>, field: &'static str) -> Result<T, Reject> {
    result.map_err(|error| malformed(field, error))
}

/// A key as a message has it.
pub fn told_key(key: &ItemKey) -> Vec<u8> {
    std::iter::once(key.table as u8).chain(key.id).collect()
}

/// The inverse of [`told_key`].
///
/// # Errors
/// [`Reason::Malformed`].
pub fn key(bytes: &[u8], field: &'static str) -> Result<ItemKey, Reject> {
    let Some((table, id)) = bytes.split_first() else {
        return Err(malformed(field, "needs 17 bytes"));
    };
    let table = Table::from_number(*table).ok_or_else(|| malformed(field, "an unknown table"))?;
    Ok(ItemKey { table, id: convert::bytes(id, field)? })
}

/// A range as a message has it.
pub fn told_range(asked: &RangeSum) -> SyncRange {
    SyncRange {
        from: told_key(&asked.range.from),
        to: asked.range.to.as_ref().map(told_key).unwrap_or_default(),
        count: asked.count,
        sum: asked.sum.to_be_bytes().to_vec(),
    }
}

/// The inverse of [`told_range`].
///
/// # Errors
/// [`Reason::Malformed`].
pub fn range(told: &SyncRange) -> Result<RangeSum, Reject> {
    let from = key(&told.from, "ranges.from")?;
    let to = match told.to.is_empty() {
        true => None,
        false => Some(key(&told.to, "ranges.to")?),
    };
    let sum = u128::from_be_bytes(convert::bytes(&told.sum, "ranges.sum")?);
    Ok(RangeSum { range: KeyRange { from, to }, count: told.count, sum })
}

/// What is told of a range, as a message has it.
pub fn told_of_range(told: Told) -> SyncRangeTold {
    match told {
        Told::Same => SyncRangeTold { same: true, ..SyncRangeTold::default() },
        Told::Parts(parts) => SyncRangeTold {
            parts: parts.iter().map(told_range).collect(),
            ..SyncRangeTold::default()
        },
        Told::List(items) => SyncRangeTold {
            items: items
                .iter()
                .map(|item| SyncDigest { key: told_key(&item.key), digest: item.digest })
                .collect(),
            ..SyncRangeTold::default()
        },
    }
}

/// The inverse of [`told_of_range`]. Lists come back in order of keys, each once.
///
/// # Errors
/// [`Reason::Malformed`].
pub fn of_range(told: &SyncRangeTold) -> Result<Told, Reject> {
    if told.same {
        return Ok(Told::Same);
    }
    if !told.parts.is_empty() {
        return Ok(Told::Parts(told.parts.iter().map(range).collect::<Result<_, _>>()?));
    }
    let item = |item: &SyncDigest| {
        Ok(ItemDigest { key: key(&item.key, "items.key")?, digest: item.digest })
    };
    let mut items: Vec<ItemDigest> = told.items.iter().map(item).collect::<Result<_, Reject>>()?;
    items.sort_by_key(|item| item.key);
    items.dedup_by_key(|item| item.key);
    Ok(Told::List(items))
}

fn told_stamp(stamp: Stamp) -> SyncStamp {
    let Stamp { fence, hlc, origin } = stamp;
    SyncStamp { fence, hlc: hlc.as_u64(), origin: origin.as_bytes().to_vec() }
}

fn stamp(told: Option<&SyncStamp>, field: &'static str) -> Result<Stamp, Reject> {
    let told = told.ok_or_else(|| malformed(field, "is missing"))?;
    let origin = convert::node(&told.origin, field)?;
    Ok(Stamp { fence: told.fence, hlc: Hlc::from_u64(told.hlc), origin })
}

/// What is held, as a message has it.
pub fn told_holding(holding: &Holding) -> SyncHolding {
    SyncHolding {
        key: told_key(&holding.key),
        vector: convert::covered(&holding.vector),
        created: Some(told_stamp(holding.created)),
    }
}

/// The inverse of [`told_holding`].
///
/// # Errors
/// [`Reason::Malformed`].
pub fn holding(told: &SyncHolding) -> Result<Holding, Reject> {
    Ok(Holding {
        key: key(&told.key, "held.key")?,
        vector: convert::vector(&told.vector)?,
        created: stamp(told.created.as_ref(), "held.created")?,
    })
}

/// A head with what may be missing before it, as a message has it.
pub fn told_head(covered: CoveredFeed) -> SyncHead {
    let CoveredFeed { word, unseen_seq } = covered;
    SyncHead { head: Some(convert::told_proof(word, &[])), unseen_seq }
}

/// The inverse of [`told_head`].
///
/// # Errors
/// [`Reason::Malformed`].
pub fn head(told: &SyncHead) -> Result<CoveredFeed, Reject> {
    let proof = told.head.as_ref().ok_or_else(|| malformed("heads.head", "is missing"))?;
    let (word, _) = convert::proof(proof)?;
    Ok(CoveredFeed { word, unseen_seq: told.unseen_seq })
}

/// Patterns as a message has them.
pub fn told_patterns(globs: &[NamespaceGlob]) -> Vec<String> {
    globs.iter().map(|glob| glob.as_str().to_owned()).collect()
}

/// The inverse of [`told_patterns`].
///
/// # Errors
/// [`Reason::Malformed`].
pub fn patterns(told: &[String]) -> Result<Vec<NamespaceGlob>, Reject> {
    if told.len() > PATTERNS_MAX {
        return Err(malformed("namespaces", format!("at most {PATTERNS_MAX} patterns")));
    }
    let glob = |text: &String| text.parse().map_err(|error| malformed("namespaces", error));
    told.iter().map(glob).collect()
}

/// What both sides may see, or all that the teller shows.
pub fn visible(shown: &[NamespaceGlob], seen: Option<&[NamespaceGlob]>) -> Visible {
    Visible(std::iter::once(shown).chain(seen).map(<[NamespaceGlob]>::to_vec).collect())
}

/// An item as a message has it.
pub fn told_item(item: Item) -> SyncItem {
    let item = match item {
        Item::Memory(record) => {
            let embedding =
                record.embedding.value.as_ref().map(|embedding| embedding.values.clone());
            sync_item::Item::Memory(SyncMemory {
                state: codec::encode_state(&record),
                title: record.title.value.as_str().to_owned(),
                content: record.content.value.as_str().to_owned(),
                embedding: embedding.unwrap_or_default(),
            })
        }
        Item::Link(link) => sync_item::Item::Link(codec::encode_link(&link)),
        Item::Alias(alias) => sync_item::Item::Alias(SyncAlias {
            memory: alias.memory.as_bytes().to_vec(),
            alias: alias.alias,
            removed: alias.removed,
            stamp: Some(told_stamp(alias.stamp)),
        }),
        Item::Agent(agent) => sync_item::Item::Agent(codec::encode_agent(&agent)),
    };
    SyncItem { item: Some(item) }
}

/// The inverse of [`told_item`].
///
/// # Errors
/// [`Reason::Malformed`].
pub fn item(told: SyncItem) -> Result<Item, Reject> {
    match told.item {
        None => Err(malformed("items.item", "is missing")),
        Some(sync_item::Item::Memory(memory)) => {
            let columns = Columns {
                title: text(&memory.title, "items.title")?,
                content: text(&memory.content, "items.content")?,
                embedding_values: memory.embedding,
            };
            let record = decoded(codec::decode_state(&memory.state, columns), "items.state")?;
            Ok(Item::Memory(Box::new(record)))
        }
        Some(sync_item::Item::Link(bytes)) => {
            let link = decoded(codec::decode_link(&bytes), "items.link")?;
            Ok(Item::Link(Box::new(link)))
        }
        Some(sync_item::Item::Alias(told)) => {
            let id: [u8; 16] = convert::bytes(&told.memory, "items.memory")?;
            let memory =
                MemoryId::from_slice(&id).map_err(|error| malformed("items.memory", error))?;
            if told.alias.is_empty() || told.alias.len() > types::limits::ALIAS_BYTES_MAX {
                return Err(malformed("items.alias", "needs 1 to 512 bytes"));
            }
            let stamp = stamp(told.stamp.as_ref(), "items.stamp")?;
            Ok(Item::Alias(Alias { memory, alias: told.alias, removed: told.removed, stamp }))
        }
        Some(sync_item::Item::Agent(bytes)) => {
            let agent = decoded(codec::decode_agent(&bytes), "items.agent")?;
            Ok(Item::Agent(Box::new(agent)))
        }
    }
}

fn text<T: std::str::FromStr<Err = types::Invalid>>(
    text: &str,
    field: &'static str,
) -> Result<T, Reject> {
    text.parse().map_err(|error| malformed(field, error))
}

/// When the newest thing in an item was said.
pub fn newest(item: &Item) -> Hlc {
    match item {
        Item::Memory(record) => {
            record.deleted.map_or(record.updated.hlc, |at| at.hlc.max(record.updated.hlc))
        }
        Item::Link(link) => link.created.hlc.max(link.validity.stamp.hlc),
        Item::Alias(alias) => alias.stamp.hlc,
        Item::Agent(agent) => agent.changed,
    }
}
