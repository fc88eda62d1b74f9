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

use super::{filter_json, query, show};
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
const FAILURES_SHOWN: usize = 20;

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

#[derive(Default)]
struct Imported {
    imported: u64,
    skipped: u64,
    failed: Vec<(u64, String)>,
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

/// Reads NDJSON and stores it in batches.
///
/// # Errors
/// [`Failure`]; exit code 1 when lines were refused.
pub async fn import(client: &Client, file: &Path, as_json: bool) -> Result<(), Failure> {
    let (input, length): (Box<dyn BufRead>, Option<u64>) = if file == Path::new("-") {
        (Box::new(std::io::stdin().lock()), None)
    } else {
        let opened = std::fs::File::open(file).map_err(io_failure(file))?;
        let length = opened.metadata().map_err(io_failure(file))?.len();
        (Box::new(std::io::BufReader::new(opened)), Some(length))
    };
    let bar = progress(length);
    let mut total = Imported::default();
    let (mut batch, mut in_batch, mut before) = (String::new(), 0u64, 0u64);
    for line in input.lines() {
        let line = line.map_err(io_failure(file))?;
        let full = in_batch as usize == BULK_MAX || batch.len() + line.len() > IMPORT_BYTES;
        if full && in_batch > 0 {
            total.add(&client.import(std::mem::take(&mut batch)).await?, before);
            before += std::mem::take(&mut in_batch);
            bar.set_message(format!("{} imported", total.imported));
        }
        bar.inc(line.len() as u64 + 1);
        batch.push_str(&line);
        batch.push('\n');
        in_batch += 1;
    }
    if in_batch > 0 {
        total.add(&client.import(batch).await?, before);
    }
    bar.finish_and_clear();
    report(&total, as_json)
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
