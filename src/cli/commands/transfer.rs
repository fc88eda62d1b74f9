//! Export, import, backup and restore.
//!
//! Invariants: a file is written beside its final name and renamed when it is whole; an import says
//! which lines were refused and why, and can be repeated.

use std::{
    io::{BufRead, IsTerminal, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use runtime::{clock, disk::DiskRef};
use serde_json::{Value, json};
use storage::sqlite::backup::install_backup;
use types::limits::{BODY_BYTES_MAX, BULK_MAX};

use super::{ai_memory, filter_json, query, show};
use crate::{
    cli::{
        args::FilterArgs,
        client::{Client, Method},
        exit::Failure,
        render,
    },
    config::Config,
    node::model::time,
};

/// Bytes of lines sent in one import request.
const IMPORT_BYTES: usize = BODY_BYTES_MAX / 4;
/// Refused lines shown in full.
pub(super) const FAILURES_SHOWN: usize = 20;

/// A bar on standard error where a person waits; nothing otherwise.
fn progress(length: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, style) = match length {
        Some(length) => (ProgressBar::new(length), "{bar:40} {bytes}/{total_bytes} {msg} {eta}"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg} {elapsed}"),
    };
    bar.enable_steady_tick(Duration::from_millis(200));
    bar.with_style(
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
    )
}

fn io_failure(path: &Path) -> impl FnOnce(std::io::Error) -> Failure + '_ {
    move |error| Failure::usage(format!("{}: {error}", path.display()))
}

/// Writes memories and links as NDJSON.
///
/// # Errors
/// [`Failure`].
pub async fn export(
    client: &Client,
    file: &Path,
    archived: bool,
    filter: &FilterArgs,
) -> Result<(), Failure> {
    let mut fields = filter_json(filter);
    fields["archived"] = json!(archived);
    let path = format!("/api/v1/export{}", query(&fields));
    let bar = progress(None);
    let mut lines = 0u64;
    if file == Path::new("-") {
        client
            .stream(&path, |chunk| {
                render::print(&String::from_utf8_lossy(chunk));
                Ok(())
            })
            .await?;
        return Ok(());
    }
    let partial = file.with_extension("partial");
    let mut out = std::fs::File::create(&partial).map_err(io_failure(&partial))?;
    client
        .stream(&path, |chunk| {
            lines += chunk.iter().filter(|b| **b == b'\n').count() as u64;
            bar.set_message(format!("{lines} lines"));
            out.write_all(chunk).map_err(io_failure(&partial))
        })
        .await?;
    out.sync_all().map_err(io_failure(&partial))?;
    std::fs::rename(&partial, file).map_err(io_failure(file))?;
    bar.finish_and_clear();
    eprintln!("{lines} lines written to {}", file.display());
    Ok(())
}

/// What became of lines.
#[derive(Default)]
pub(super) struct Imported {
    pub(super) imported: u64,
    pub(super) skipped: u64,
    pub(super) failed: Vec<(u64, String)>,
}

impl Imported {
    /// Adds an answer to lines that began after `before` lines of the file.
    fn add(&mut self, answer: &Value, before: u64) {
        self.imported += answer["imported"].as_u64().unwrap_or(0);
        self.skipped += answer["skipped"].as_u64().unwrap_or(0);
        for failure in answer["failed"].as_array().into_iter().flatten() {
            let line = before + failure["line"].as_u64().unwrap_or(0);
            self.failed.push((line, render::field(failure, "detail")));
        }
    }
}

/// Lines on their way to a node, in batches.
pub(super) struct Sending<'c> {
    client: &'c Client,
    bar: ProgressBar,
    batch: String,
    in_batch: u64,
    before: u64,
    total: Imported,
}

impl<'c> Sending<'c> {
    pub(super) fn new(client: &'c Client, length: Option<u64>) -> Self {
        let (bar, batch) = (progress(length), String::new());
        Self { client, bar, batch, in_batch: 0, before: 0, total: Imported::default() }
    }

    pub(super) async fn line(&mut self, line: &str) -> Result<(), Failure> {
        let is_full =
            self.in_batch as usize == BULK_MAX || self.batch.len() + line.len() > IMPORT_BYTES;
        if is_full {
            self.send().await?;
        }
        self.bar.inc(line.len() as u64 + 1);
        self.batch.push_str(line);
        self.batch.push('\n');
        self.in_batch += 1;
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Failure> {
        if self.in_batch > 0 {
            let answer = self.client.import(std::mem::take(&mut self.batch)).await?;
            self.total.add(&answer, self.before);
            self.before += std::mem::take(&mut self.in_batch);
            self.bar.set_message(format!("{} imported", self.total.imported));
        }
        Ok(())
    }

    pub(super) async fn finish(mut self) -> Result<Imported, Failure> {
        self.send().await?;
        self.bar.finish_and_clear();
        Ok(self.total)
    }
}

/// Reads NDJSON, or a file of another program, and stores it in batches.
///
/// # Errors
/// [`Failure`]; exit code 1 when lines were refused.
pub async fn import(
    client: &Client,
    file: &Path,
    despite_breaks: bool,
    as_json: bool,
) -> Result<(), Failure> {
    if ai_memory::is_one(file) {
        return ai_memory::import(client, file, despite_breaks, as_json).await;
    }
    let (input, length): (Box<dyn BufRead>, Option<u64>) = if file == Path::new("-") {
        (Box::new(std::io::stdin().lock()), None)
    } else {
        let opened = std::fs::File::open(file).map_err(io_failure(file))?;
        let length = opened.metadata().map_err(io_failure(file))?.len();
        (Box::new(std::io::BufReader::new(opened)), Some(length))
    };
    let mut sending = Sending::new(client, length);
    for line in input.lines() {
        sending.line(&line.map_err(io_failure(file))?).await?;
    }
    report(&sending.finish().await?, as_json)
}

fn report(total: &Imported, as_json: bool) -> Result<(), Failure> {
    let failed: Vec<Value> = total
        .failed
        .iter()
        .map(|(line, detail)| json!({ "line": line, "detail": detail }))
        .collect();
    let value = json!({ "imported": total.imported, "skipped": total.skipped, "failed": failed });
    show(as_json, &value, |_| {
        format!(
            "{} imported, {} already there, {} refused\n",
            total.imported,
            total.skipped,
            total.failed.len()
        )
    });
    if total.failed.is_empty() {
        return Ok(());
    }
    for (line, detail) in total.failed.iter().take(FAILURES_SHOWN) {
        eprintln!("line {line}: {detail}");
    }
    Err(Failure::found(format!("{} lines were refused; the others are stored", total.failed.len())))
}

/// Names of backups in a folder, oldest first. Only names that we gave count.
fn backups(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.join("manifest.json").is_file())
        .filter(|path| {
            path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with("hivemem-"))
        })
        .collect();
    found.sort();
    found
}

/// Writes a backup below the configured folder; unless it is named, the oldest beyond those kept are
/// removed.
///
/// # Errors
/// [`Failure`].
pub async fn backup(
    client: &Client,
    config: &Config,
    name: Option<&str>,
    as_json: bool,
) -> Result<(), Failure> {
    let by_time = || format!("hivemem-{}", time::to_text(clock::now_unix_ms()).replace(':', ""));
    let folder = name.map_or_else(by_time, str::to_owned);
    let bar = progress(None);
    bar.set_message("copying and verifying");
    let body = json!({ "name": folder });
    let mut done = client.call(Method::Post, "/api/v1/admin/backup", Some(body)).await?;
    bar.finish_and_clear();
    if name.is_none() {
        let kept = backups(&config.backup_folder);
        let surplus = kept.len().saturating_sub(config.backup_keep as usize);
        for old in &kept[..surplus] {
            std::fs::remove_dir_all(old).map_err(io_failure(old))?;
            eprintln!("removed the old backup {}", old.display());
        }
    }
    done["folder"] = json!(config.backup_folder.join(folder));
    show(as_json, &done, |done| format!("{}\n", render::field(done, "folder")));
    Ok(())
}

/// Installs a backup into the data folder, which must not have a store yet.
///
/// # Errors
/// [`Failure`] naming what is wrong with the backup.
pub async fn restore(disk: DiskRef, config: &Config, from: &Path) -> Result<(), Failure> {
    let bar = progress(None);
    bar.set_message("verifying manifest, chain and content");
    let (from, target) = (from.to_owned(), config.data_dir.clone());
    let installed = runtime::blocking::run(move || {
        install_backup(&*disk, &from, &target).map_err(|e| e.to_string())
    });
    let manifest = installed.await.map_err(Failure::found)?;
    bar.finish_and_clear();
    eprintln!(
        "restored the store of node {} up to position {}",
        manifest.node_id, manifest.position
    );
    Ok(())
}
