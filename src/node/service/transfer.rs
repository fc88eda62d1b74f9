//! Export and import as versioned NDJSON: one JSON object per line, the first of them a header.
//!
//! `{"hivemem_export":1}` then `{"memory":{…}}` and `{"link":{…}}` lines, memories first. An import
//! also takes lines that are a bare draft (`{"title":…,"content":…}`), so that any program can make
//! one.
//!
//! Invariants: an import keeps the ids it is given and never overwrites; importing the same file
//! twice changes nothing the second time.
//!
//! Not here: byte-exact copies with their history, which are backups.

use runtime::clock;
use serde::{Deserialize, Serialize};
use storage::{
    answer::{Applied, WriteReceipt},
    request::{Intent, OnConflict, Reader},
};
use types::{Invalid, LinkId, MemoryId, Reason, Reject, limits::BULK_MAX};
use utoipa::ToSchema;

use super::{
    Caller, Reply, Service, reject,
    write::{Asked, Plan},
};
use crate::node::model::{
    FilterInput, LinkInput, LinkOut, ListInput, MemoryDraft, MemoryOut, write::ExportInput,
};

/// Version of the format written here.
pub const EXPORT_VERSION: u32 = 1;
/// Memories per page of an export.
const EXPORT_PAGE: u32 = 500;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    hivemem_export: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MemoryLine {
    memory: MemoryOut,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkLine {
    link: LinkOut,
}

/// A part of an export.
pub struct ExportPage {
    /// Complete lines, each ended by a newline.
    pub text: String,
    /// Pass for the next part; `None` at the end.
    pub next: Option<ExportCursor>,
}

/// Where an export continues.
#[derive(Clone, Debug, Default)]
pub struct ExportCursor {
    archived: bool,
    links: bool,
    after: Option<String>,
}

/// A line that was not imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImportFailure {
    /// Which, counted from 1 within the request.
    pub line: u64,
    /// Stable reason code.
    pub reason: String,
    /// What, why, and the fix.
    pub detail: String,
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImportResult {
    /// Memories and links that were added.
    pub imported: u64,
    /// Lines whose id exists already.
    pub skipped: u64,
    /// Lines that were refused.
    pub failed: Vec<ImportFailure>,
    /// Change position that contains all of it.
    pub position: u64,
}

fn line_of(value: &impl Serialize) -> Reply<String> {
    serde_json::to_string(value)
        .map(|line| line + "\n")
        .map_err(|e| Reject::new(Reason::Internal, format!("cannot write a line: {e}")))
}

fn draft_of(memory: MemoryOut) -> (MemoryDraft, Option<String>, String) {
    let optional = |text: String| (!text.is_empty()).then_some(text);
    let draft = MemoryDraft {
        namespace: Some(memory.namespace),
        title: memory.title,
        content: memory.content,
        tier: Some(memory.tier),
        tags: memory.tags,
        priority: Some(memory.priority),
        confidence: Some(memory.confidence),
        source: optional(memory.source),
        kind: Some(memory.kind),
        scope: Some(memory.scope),
        metadata: Some(memory.metadata),
        expires_at: memory.expires_at,
        valid_from: memory.valid_from,
        valid_until: memory.valid_until,
        legal_hold: Some(memory.legal_hold),
        pii_flags: memory.pii_flags,
        sources: memory.sources,
        persona_version: Some(memory.persona_version),
        embedding: None,
        on_conflict: None,
    };
    (draft, memory.archived_reason, memory.id)
}

/// What an import's answer needs besides the results.
#[derive(Default, Serialize, Deserialize)]
struct ImportNote {
    /// For each intent, its line.
    lines: Vec<u64>,
    /// Lines of archived memories that are there already.
    #[serde(default)]
    skipped: u64,
    failed: Vec<ImportFailure>,
}

/// One line of an import, understood.
enum Line {
    Header,
    Memory { draft: Box<MemoryDraft>, id: Option<String>, archived: Option<String> },
    Link(LinkOut),
}

fn parse_line(text: &str) -> Result<Line, Invalid> {
    let bad = |e: serde_json::Error| Invalid::new("line", e.to_string());
    let value: serde_json::Value = serde_json::from_str(text).map_err(bad)?;
    if value.get("hivemem_export").is_some() {
        let header: Header = serde_json::from_value(value).map_err(bad)?;
        if header.hivemem_export > EXPORT_VERSION {
            return Err(Invalid::new(
                "hivemem_export",
                format!(
                    "version {} is newer than this build's {EXPORT_VERSION}; import it with a newer build",
                    header.hivemem_export
                ),
            ));
        }
        return Ok(Line::Header);
    }
    if value.get("memory").is_some() {
        let line: MemoryLine = serde_json::from_value(value).map_err(bad)?;
        let (draft, archived, id) = draft_of(line.memory);
        return Ok(Line::Memory { draft: Box::new(draft), id: Some(id), archived });
    }
    if value.get("link").is_some() {
        return serde_json::from_value(value).map(|l: LinkLine| Line::Link(l.link)).map_err(bad);
    }
    let draft: MemoryDraft = serde_json::from_value(value).map_err(bad)?;
    Ok(Line::Memory { draft: Box::new(draft), id: None, archived: None })
}

impl Service {
    /// A part of an export; start with the default cursor.
    ///
    /// # Errors
    /// `invalid_argument`.
    pub async fn export_page(
        &self,
        caller: &Caller,
        input: &ExportInput,
        cursor: Option<ExportCursor>,
    ) -> Reply<ExportPage> {
        let mut text = String::new();
        let cursor = match cursor {
            Some(cursor) => cursor,
            None => {
                text.push_str(&line_of(&Header { hivemem_export: EXPORT_VERSION })?);
                ExportCursor::default()
            }
        };
        let filter = FilterInput { include_invalid: true, ..input.filter.clone() };
        let list = ListInput { filter, after: cursor.after.clone(), limit: Some(EXPORT_PAGE) };
        let query = list.to_query(cursor.archived, clock::now_unix_ms())?;
        let reader = Reader::Agent(&caller.viewer);
        let page = self.store.list(reader, query).await.map_err(reject)?;
        for memory in page.items {
            if cursor.links {
                // A link appears once: with its source.
                for link in self.store.links(reader, memory.id).await.map_err(reject)? {
                    if link.source == memory.id {
                        text.push_str(&line_of(&LinkLine { link: link.into() })?);
                    }
                }
            } else {
                text.push_str(&line_of(&MemoryLine { memory: memory.into() })?);
            }
        }
        let next = match (page.next, cursor.archived, cursor.links) {
            (Some(after), archived, links) => {
                Some(ExportCursor { archived, links, after: Some(after) })
            }
            (None, false, links) if input.archived => {
                Some(ExportCursor { archived: true, links, after: None })
            }
            (None, _, false) => Some(ExportCursor { archived: false, links: true, after: None }),
            (None, _, true) => None,
        };
        Ok(ExportPage { text, next })
    }

    /// Imports up to 1000 lines. A bad line is refused alone and named.
    ///
    /// # Errors
    /// `too_large`; `invalid_argument` when the header is of a newer version.
    pub async fn import(&self, caller: &Caller, text: &str) -> Reply<ImportResult> {
        let lines: Vec<(u64, &str)> =
            (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()).collect();
        if lines.len() > BULK_MAX {
            return Err(Reject::new(
                Reason::TooLarge,
                format!(
                    "at most {BULK_MAX} lines per request, got {}; split the file",
                    lines.len()
                ),
            ));
        }
        let asked = Asked::new(caller, "import", &text)?;
        let plan = self.plan_import(caller, &lines);
        Ok(self.mutate(asked, plan, imported).await?.result)
    }

    /// Notes the line of every intent, and the lines that are refused here.
    async fn plan_import(&self, caller: &Caller, lines: &[(u64, &str)]) -> Reply<Plan<ImportNote>> {
        let mut note = ImportNote::default();
        let mut intents = Vec::with_capacity(lines.len());
        for &(number, line) in lines {
            let line = parse_line(line);
            if let Ok(Line::Memory { id: Some(id), archived: Some(_), .. }) = &line
                && self.is_there(caller, id).await
            {
                // Archived since, or restored: either way it stays as it is.
                note.skipped += 1;
                continue;
            }
            match line.and_then(|line| self.import_intents(caller, line)) {
                Ok(more) => {
                    note.lines.extend(more.iter().map(|_| number));
                    intents.extend(more);
                }
                Err(invalid) if invalid.field == "hivemem_export" => return Err(invalid.into()),
                Err(invalid) => note.failed.push(failure(number, &invalid.into())),
            }
        }
        Ok(Plan { intents, atomic: false, note })
    }

    async fn is_there(&self, caller: &Caller, id: &str) -> bool {
        let Ok(id) = id.parse::<MemoryId>() else { return false };
        let (reader, id) = (Reader::Agent(&caller.viewer), types::ids::IdRef::Full(id));
        self.store.get(reader, id, clock::now_unix_ms()).await.is_ok()
    }

    fn import_intents(&self, caller: &Caller, line: Line) -> Result<Vec<Intent>, Invalid> {
        match line {
            Line::Header => Ok(Vec::new()),
            Line::Link(link) => {
                let id: LinkId = link.id.parse()?;
                let input = LinkInput {
                    source: link.source,
                    target: link.target,
                    relation: link.relation,
                    valid_from: link.valid_from,
                    valid_until: link.valid_until,
                };
                Ok(vec![Intent::Link(input.to_link(id)?)])
            }
            Line::Memory { draft, id, archived } => {
                let mut memory = self.draft(caller, *draft)?;
                if let Some(id) = id {
                    memory.id = id.parse::<MemoryId>()?;
                }
                let id = types::ids::IdRef::Full(memory.id);
                let store =
                    Intent::Store { memory: Box::new(memory), on_conflict: OnConflict::New };
                Ok(match archived {
                    None => vec![store],
                    Some(reason) => vec![store, Intent::Archive { id, reason }],
                })
            }
        }
    }
}

fn imported(note: ImportNote, receipt: &WriteReceipt) -> Reply<ImportResult> {
    let position = receipt.position;
    let ImportNote { lines, skipped, failed } = note;
    let mut result = ImportResult { failed, skipped, position, ..ImportResult::default() };
    for (number, applied) in lines.into_iter().zip(&receipt.results) {
        match applied {
            Ok(Applied::Memory { .. } | Applied::Link { .. }) => result.imported += 1,
            Ok(_) => {}
            Err(r) if r.reason == Reason::AlreadyExists => result.skipped += 1,
            Err(refusal) => result.failed.push(failure(number, refusal)),
        }
    }
    Ok(result)
}

fn failure(line: u64, refusal: &Reject) -> ImportFailure {
    ImportFailure { line, reason: refusal.reason.code().to_owned(), detail: refusal.detail.clone() }
}
