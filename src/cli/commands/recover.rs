//! `root recover`: judging what is left of a root whose quorum is lost, and going on with it.
//!
//! Invariant: nothing is changed without `--yes` or an answer, and then one folder only.
//!
//! Not here: how (`root::recover`).

use runtime::{blocking, disk::DiskRef};
use serde_json::{Value, json};

use super::{confirm, show};
use crate::{
    cli::{exit::Code, exit::Failure, root_args::RecoverArgs},
    config::Config,
    node,
    root::recover::{self, Inspection, RecoverError},
};

impl From<RecoverError> for Failure {
    fn from(error: RecoverError) -> Self {
        let code = match &error {
            RecoverError::Nothing | RecoverError::Clusters => Code::Usage,
            RecoverError::Fenced { .. } | RecoverError::Chain(_) => Code::Conflict,
            RecoverError::Undecided(_) | RecoverError::Group(_) => Code::Unknown,
            RecoverError::Busy(_) | RecoverError::Folder(_) => Code::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

fn inspection_json(one: &Inspection) -> Value {
    let survivor = &one.survivor;
    let index = |id: Option<consensus::log::EntryId>| id.map(|id| id.index);
    let members = survivor.members.iter().map(|(id, member)| {
        let voter = survivor.voters.contains(id);
        json!({ "member": id, "endpoint": member.endpoint, "voter": voter })
    });
    let vote = survivor
        .vote
        .map(|vote| json!({ "term": vote.term, "member": vote.member, "won": vote.committed }));
    json!({
        "folder": one.folder.display().to_string(),
        "cluster": uuid::Uuid::from_bytes(survivor.identity.cluster).to_string(),
        "cluster_epoch": one.cluster_epoch,
        "member": survivor.identity.member,
        "term": survivor.vote.map_or(survivor.last.term, |vote| vote.term),
        "vote": vote,
        "last_term": survivor.last.term,
        "last_index": survivor.last.index,
        "committed": index(survivor.committed),
        "snapshot": index(survivor.snapshot),
        "members": members.collect::<Vec<_>>(),
        "start": survivor.boot.epoch,
        "fenced": survivor.fenced,
        "rules_version": one.rules_version,
        "sessions": one.sessions,
        "locks": one.locks,
    })
}

/// What an operator must know before going on with the best.
fn loss(all: &[Inspection]) -> Vec<String> {
    let Some(best) = all.first().map(|one| &one.survivor) else { return Vec::new() };
    let mut losses = Vec::new();
    let behind = best.last.index - best.committed.map_or(0, |id| id.index).min(best.last.index);
    if behind > 0 {
        losses.push(format!(
            "its last {behind} entries may never have been decided; they will count as decided"
        ));
    }
    let unseen: Vec<String> = best
        .voters
        .iter()
        .filter(|id| !all.iter().any(|one| one.survivor.identity.member == **id))
        .map(ToString::to_string)
        .collect();
    if !unseen.is_empty() {
        losses.push(format!(
            "whatever was decided behind entry {} without it is lost, and clients may have acted on it: \
             the folders of members {} were not shown",
            best.last.index,
            unseen.join(", ")
        ));
    }
    losses.push(
        "every other member is shut out for ever: it joins again under a new number, with an empty \
         root folder"
            .to_owned(),
    );
    losses
}

fn report_text(report: &Value) -> String {
    let mut out = String::new();
    for one in report["folders"].as_array().into_iter().flatten() {
        out.push_str(&super::root::status_text(one));
        out.push('\n');
    }
    out.push_str(&format!("best survivor: {}\n", crate::cli::render::field(report, "best")));
    for line in report["losses"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        out.push_str(&format!("- {line}\n"));
    }
    out
}

/// Runs `root recover`; the data folder of `config` is meant when none is named.
pub async fn run(
    disk: DiskRef,
    config: &Config,
    args: &RecoverArgs,
    json: bool,
) -> Result<(), Failure> {
    let own = || vec![config.data_dir.clone()];
    let folders = if args.folders.is_empty() { own() } else { args.folders.clone() };
    let (looking, completes) = (disk.clone(), !args.dry_run);
    let all = blocking::run(move || {
        if completes {
            folders.iter().try_for_each(|folder| recover::complete(&looking, folder))?;
        }
        recover::inspect(&looking, &folders)
    });
    let all = all.await?;
    let best = all.first().ok_or(RecoverError::Nothing)?;
    let folder = best.folder.clone();
    let report = json!({
        "folders": all.iter().map(inspection_json).collect::<Vec<_>>(),
        "best": folder.display().to_string(),
        "losses": loss(&all),
    });
    if args.dry_run || !json {
        show(json, &report, report_text);
    }
    if args.dry_run {
        return Ok(());
    }
    confirm(&format!("Go on with {} alone?", folder.display()), args.yes)?;
    let of_best = Config { data_dir: folder.clone(), ..config.clone() };
    let store = node::open_store(disk.clone(), &of_best).await?;
    let recovered = recover::recover(disk, &folder, store.clone(), &args.reason).await;
    if let Err(error) = store.close().await {
        tracing::warn!(%error, "the store did not close cleanly; the next start recovers");
    }
    let (recovered, epoch) = recovered?;
    let done = json!({
        "folder": folder.display().to_string(),
        "cluster_epoch": epoch,
        "goes_on_behind": recovered.goes_on_behind.index,
        "kept": recovered.kept.display().to_string(),
    });
    show(json, &done, super::root::fields);
    Ok(())
}
