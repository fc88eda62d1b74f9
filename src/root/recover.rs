//! Going on after the quorum is lost for ever, and judging what is left. Offline.
//!
//! Invariants: `RTH-10` a folder is judged or changed only while no node has it open; `RTH-11` a recovery
//! is an entry of the log that it begins, and raises the cluster's epoch; `RTH-12` what the survivor's
//! old log decided has its audit rows before the log goes on, as `RTH-7` wants.
//!
//! Not here: what makes old members powerless (`consensus::raft`), asking operators (the command line).

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use consensus::{
    log::Identity,
    machine::{AdvanceEpoch, Body, ClusterId, Command, Effect, Response},
    raft::{
        self, Group, GroupOptions, GrpcTransport, Home, Listener, RecoveryError, Role,
        StartError as GroupError, Survivor,
    },
};
use futures::FutureExt;
use runtime::{
    clock::{self, Instant},
    disk::DiskRef,
};
use storage::{OpenError, Store, folder};
use thiserror::Error;
use types::{AgentId, Invalid, Outcome};
use uuid::Uuid;

use super::{FOLDER, RootMachine, RootStartError, audit::Ears, feed::Feed, stop_writing};

/// How a recovery ended.
pub type Recovered = raft::Recovered<Effect>;

/// Time for the survivor to lead itself and to decide one entry.
const ALONE: Duration = Duration::from_secs(30);

/// Why a recovery did not happen.
#[derive(Debug, Error)]
pub enum RecoverError {
    /// A node has the folder open.
    #[error(transparent)]
    Busy(#[from] OpenError),
    /// The folder.
    #[error(transparent)]
    Folder(#[from] RecoveryError),
    /// The survivor does not start.
    #[error("the recovered member does not start: {0}")]
    Group(#[from] GroupError),
    /// The audit chain.
    #[error(transparent)]
    Chain(Box<RootStartError>),
    /// The survivor is alone and decides nothing.
    #[error("the recovered member decided nothing: {0}")]
    Undecided(String),
    /// The member knows that it is a copy from an older time.
    #[error("{} is a copy from an older time and cannot go on", folder.display())]
    Fenced {
        /// The data folder.
        folder: PathBuf,
    },
    /// Folders of two clusters.
    #[error("the folders are of more than one cluster")]
    Clusters,
    /// No folder was named.
    #[error("name at least one data folder")]
    Nothing,
}

/// What a data folder holds of the root.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The data folder.
    pub folder: PathBuf,
    /// Log, vote, snapshot, members.
    pub survivor: Survivor,
    /// The cluster's epoch.
    pub cluster_epoch: u64,
    /// Version of the rules.
    pub rules_version: u64,
    /// Live sessions.
    pub sessions: u64,
    /// Keys that are held, waited for or rest.
    pub locks: u64,
}

/// Judges the folders, the best survivor first: the one with the newest entry has everything that the
/// others have. Copies from an older time come last. Changes nothing. Blocks.
///
/// # Errors
/// [`RecoverError`].
pub fn inspect(disk: &DiskRef, folders: &[PathBuf]) -> Result<Vec<Inspection>, RecoverError> {
    let mut all = Vec::new();
    for folder in folders {
        let _alone = folder::hold(disk, folder)?;
        all.push(inspect_one(disk, folder)?);
    }
    let cluster = all.first().ok_or(RecoverError::Nothing)?.survivor.identity.cluster;
    if all.iter().any(|one| one.survivor.identity.cluster != cluster) {
        return Err(RecoverError::Clusters);
    }
    all.sort_by_key(|one| (one.survivor.fenced, std::cmp::Reverse(one.survivor.last)));
    Ok(all)
}

fn inspect_one(disk: &DiskRef, folder: &Path) -> Result<Inspection, RecoverError> {
    let (survivor, (cluster_epoch, rules_version, sessions, locks)) =
        raft::inspect(disk, &folder.join(FOLDER), RootMachine::default(), |machine| {
            let machine = &machine.machine;
            (
                machine.cluster_epoch(),
                machine.rules().version(),
                machine.sessions().count() as u64,
                machine.lock_keys().count() as u64,
            )
        })?;
    let folder = folder.to_path_buf();
    Ok(Inspection { folder, survivor, cluster_epoch, rules_version, sessions, locks })
}

/// Completes a recovery that was interrupted, if there is one in the data folder. Blocks.
///
/// # Errors
/// [`RecoverError`].
pub fn complete(disk: &DiskRef, folder: &Path) -> Result<(), RecoverError> {
    let _alone = folder::hold(disk, folder)?;
    Ok(raft::complete(disk, &folder.join(FOLDER))?)
}

/// Makes the member in the data folder the only voter of its cluster, in a new epoch (`RTH-11`). The
/// folder's own store is open, so that nobody else has it.
///
/// # Errors
/// [`RecoverError`]. When it is [`RecoverError::Undecided`] or [`RecoverError::Group`], the folder is
/// recovered and the epoch is as it was: recovering again raises it.
pub async fn recover(
    disk: DiskRef,
    folder: &Path,
    store: Arc<dyn Store>,
    reason: &str,
) -> Result<(Recovered, u64), RecoverError> {
    let before = inspect_one(&disk, folder)?;
    if before.survivor.fenced {
        return Err(RecoverError::Fenced { folder: folder.to_path_buf() });
    }
    let cluster = ClusterId(Uuid::from_bytes(before.survivor.identity.cluster));
    let opened = Ears::open(store, cluster, Feed::new()).await;
    let (ears, unwritten) = opened.map_err(|error| RecoverError::Chain(Box::new(error)))?;
    let dir = folder.join(FOLDER);
    let mut recovered =
        raft::recover(disk.clone(), dir.clone(), RootMachine::default()).boxed().await?;
    let rows = unwritten.start(ears.clone());
    let epoch = async {
        write_rows(&ears, &mut recovered).await?;
        advance_epoch(disk, dir, &ears, &before, &recovered, reason).await
    };
    let epoch = epoch.await;
    stop_writing(&ears, rows).await;
    Ok((recovered, epoch?))
}

/// `RTH-12`.
async fn write_rows(ears: &Ears, recovered: &mut Recovered) -> Result<(), RecoverError> {
    for (index, effects) in std::mem::take(&mut recovered.effects) {
        ears.tell(index, effects);
    }
    // There are no entries in between.
    let settled = ears.settled(recovered.goes_on_behind.index);
    match clock::timeout(ALONE, settled).await {
        Ok(true) => Ok(()),
        _ => Err(RecoverError::Undecided("its audit rows are not kept".to_owned())),
    }
}

/// Lets the survivor, alone, decide the entry that says what happened.
async fn advance_epoch(
    disk: DiskRef,
    dir: PathBuf,
    ears: &Arc<Ears>,
    before: &Inspection,
    recovered: &Recovered,
    reason: &str,
) -> Result<u64, RecoverError> {
    let Identity { member, .. } = before.survivor.identity;
    let gone = before.survivor.members.keys().filter(|id| **id != member);
    let gone: Vec<String> = gone.map(ToString::to_string).collect();
    let reason = format!(
        "{reason}; member {member} goes on alone from entry {} at {}, without {}",
        before.survivor.last,
        recovered.goes_on_behind.index,
        gone.join(", ")
    );
    let home = Home { disk, dir, identity: before.survivor.identity };
    // It has no peers to dial.
    let dial = |text: &str| text.parse().map_err(|invalid: Invalid| invalid);
    let transport = Arc::new(GrpcTransport::new(Box::new(dial)));
    let (options, fresh) = (GroupOptions::default(), RootMachine::default());
    let group = Group::start_with(home, options, fresh, ears.clone(), transport).boxed().await?;
    let deadline = Instant::now() + ALONE;
    group.wait_for(deadline, |status| status.role == Role::Leader).boxed().await;
    let body = Body::AdvanceEpoch(AdvanceEpoch { current: before.cluster_epoch, reason });
    let command = Command::new(AgentId::node(), body);
    let decided = group.propose(command.encode().into(), deadline).boxed().await;
    ears.leave();
    let stopped = group.stop().boxed().await;
    let undecided = |what: String| Err(RecoverError::Undecided(what));
    match decided {
        Outcome::Done(answer) => match Response::decode(&answer) {
            Ok(Response::Version(epoch)) => {
                stopped.map_err(|error| RecoverError::Undecided(error.to_string()))?;
                Ok(epoch)
            }
            other => undecided(format!("{other:?}")),
        },
        Outcome::Rejected(refused) => undecided(refused.to_string()),
        Outcome::Unknown { detail } => undecided(detail),
    }
}
