//! Looking after the node: status, capabilities, chain, checks, backup, digest.
//!
//! Invariant: a backup is written below the folder that the operator of the machine configured, never
//! to a path that a request names.
//!
//! Not here: who is an operator.

use axum::{Json as Reply, extract::State};
use serde::{Deserialize, Serialize};
use types::{Reason, Reject};
use utoipa::ToSchema;

use super::{
    App,
    body::{Json, JsonOrDefault},
    params::Params,
    problem::{Answer, Refusal},
    routes::Routes,
    who::Who,
};
use crate::{
    node::service::admin::{CapabilitiesOut, ChainOut, FindingOut, StatusOut},
    telemetry::health::Phase,
};

/// Longest name of a backup, in bytes.
const BACKUP_NAME_BYTES_MAX: usize = 64;

/// Where to begin checking the audit chain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyInput {
    /// Sequence of the first row to check; 0 is the beginning.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    since: i64,
}

/// A backup to write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BackupInput {
    /// Name of the new folder below the configured backup folder.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    name: String,
}

/// A backup that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct BackupOut {
    /// Its name.
    name: String,
}

/// What the checks found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct DoctorOut {
    /// Whether nothing is wrong.
    healthy: bool,
    /// What is wrong.
    findings: Vec<FindingOut>,
}

/// Digest over all content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct DigestOut {
    /// SHA-256, hexadecimal; equal on two nodes exactly when their content is.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    sha256: String,
}

#[utoipa::path(
    get, path = "/api/v1/status", tag = "node",
    summary = "What the node says of itself, and who you are to it",
    responses((status = 200, description = "The status.", body = StatusOut)),
)]
async fn status(State(app): State<App>, who: Who, params: Params) -> Answer<Reply<StatusOut>> {
    params.none()?;
    let mut status = app.service.status(&who.caller).await?;
    status.ready = status.ready && app.ready.phase() == Phase::Ready;
    Ok(Reply(status))
}

#[utoipa::path(
    get, path = "/api/v1/capabilities", tag = "node",
    summary = "What this build can do, and its limits",
    responses((status = 200, description = "The capabilities.", body = CapabilitiesOut)),
)]
async fn capabilities(
    State(app): State<App>,
    _who: Who,
    params: Params,
) -> Answer<Reply<CapabilitiesOut>> {
    params.none()?;
    Ok(Reply(app.service.capabilities()))
}

#[utoipa::path(
    post, path = "/api/v1/admin/verify-chain", tag = "admin",
    summary = "Check the audit chain (operators)",
    request_body(content = Option<VerifyInput>, description = "May be left out: from the beginning."),
    responses((status = 200, description = "What was found; `chain_holds` says whether all is well.", body = ChainOut)),
)]
async fn verify_chain(
    State(app): State<App>,
    who: Who,
    params: Params,
    JsonOrDefault(input): JsonOrDefault<Option<VerifyInput>>,
) -> Answer<Reply<ChainOut>> {
    params.none()?;
    let since = input.unwrap_or_default().since;
    if since < 0 {
        return Err(Refusal::of(Reason::InvalidArgument, "since", "needs 0 or more"));
    }
    Ok(Reply(app.service.verify_chain(&who.caller, since).await?))
}

#[utoipa::path(
    post, path = "/api/v1/admin/doctor", tag = "admin",
    summary = "Check rows, vectors and indexes (operators)",
    responses((status = 200, description = "What was found.", body = DoctorOut)),
)]
async fn doctor(State(app): State<App>, who: Who, params: Params) -> Answer<Reply<DoctorOut>> {
    params.none()?;
    let findings = app.service.check(&who.caller).await?;
    Ok(Reply(DoctorOut { healthy: findings.is_empty(), findings }))
}

fn backup_name(name: &str) -> Result<(), Refusal> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first && name.len() <= BACKUP_NAME_BYTES_MAX && name.bytes().all(plain) {
        return Ok(());
    }
    Err(Refusal::of(
        Reason::InvalidArgument,
        "name",
        format_args!(
            "needs 1 to {BACKUP_NAME_BYTES_MAX} letters, digits, '_', '.' and '-', beginning with a letter or digit"
        ),
    ))
}

#[utoipa::path(
    post, path = "/api/v1/admin/backup", tag = "admin",
    summary = "Write a consistent copy of the store on the node's machine (operators)",
    request_body = BackupInput,
    responses((status = 200, description = "Written.", body = BackupOut)),
)]
async fn backup(
    State(app): State<App>,
    who: Who,
    params: Params,
    Json(input): Json<BackupInput>,
) -> Answer<Reply<BackupOut>> {
    params.none()?;
    who.caller.require_operator()?;
    backup_name(&input.name)?;
    let Some(folder) = &app.limits.backup_folder else {
        return Err(Reject::new(
            Reason::FailedPrecondition,
            "no backup folder is configured; set backup.folder, or use `hivemem backup` on the node's machine",
        )
        .into());
    };
    app.service.backup(&who.caller, folder.join(&input.name)).await?;
    Ok(Reply(BackupOut { name: input.name }))
}

#[utoipa::path(
    get, path = "/api/v1/admin/digest", tag = "admin",
    summary = "Digest over all content (operators)",
    responses((status = 200, description = "The digest.", body = DigestOut)),
)]
async fn digest(State(app): State<App>, who: Who, params: Params) -> Answer<Reply<DigestOut>> {
    params.none()?;
    Ok(Reply(DigestOut { sha256: app.service.content_digest(&who.caller).await? }))
}

/// Adds the family's routes.
pub(super) fn add(routes: &mut Routes) {
    routes
        .add(__path_status, "status", status)
        .add(__path_capabilities, "capabilities", capabilities)
        .add(__path_verify_chain, "verify_chain", verify_chain)
        .add(__path_doctor, "doctor", doctor)
        .add(__path_backup, "backup", backup)
        .add(__path_digest, "digest", digest);
}

#[cfg(test)]
mod tests {
    use super::backup_name;

    #[test]
    fn a_backup_cannot_leave_its_folder() {
        assert!(backup_name("2026-03-01_nightly.1").is_ok());
        let long = "a".repeat(65);
        for bad in ["", ".", "..", "../x", "/etc", "a/b", "a\0", "-rf", ".hidden", long.as_str()] {
            assert!(backup_name(bad).is_err(), "{bad:?}");
        }
    }
}
