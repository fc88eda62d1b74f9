//! Arguments of `hivemem pki`.
//!
//! Not here: what they do (`commands::pki`).

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Where an authority's files lie.
#[derive(Args, Debug)]
pub struct PkiFolder {
    /// Folder of the authority and of what it issued.
    #[arg(long, value_name = "FOLDER", default_value = "pki")]
    pub dir: PathBuf,
}

/// Certificates of one's own.
#[derive(Subcommand, Debug)]
pub enum PkiCommand {
    /// Make an authority: ca.crt to hand out, ca.key to keep.
    Init {
        /// Where.
        #[command(flatten)]
        folder: PkiFolder,
        /// What it is called.
        #[arg(long, default_value = "hivemem")]
        name: String,
        /// Days that it is good for.
        #[arg(long, default_value_t = 3650)]
        days: u32,
    },
    /// Issue a certificate for a node or an agent: NAME.crt and NAME.key.
    Issue {
        /// What it is called.
        name: String,
        /// Where a server with it is reached, an IP address or a DNS name; several times for several.
        #[arg(long = "host", value_name = "HOST")]
        hosts: Vec<String>,
        /// Days that it is good for.
        #[arg(long, default_value_t = 365)]
        days: u32,
        /// Where.
        #[command(flatten)]
        folder: PkiFolder,
    },
    /// Replace a certificate in two steps: issue the next one beside it, and, when every list has its
    /// fingerprint, put it in place.
    Rotate {
        /// Whose.
        name: String,
        /// Days that the next one is good for.
        #[arg(long, default_value_t = 365, conflicts_with = "finish")]
        days: u32,
        /// Put the one that waits in place.
        #[arg(long)]
        finish: bool,
        /// Where.
        #[command(flatten)]
        folder: PkiFolder,
    },
    /// Print the SHA-256 fingerprints of certificates as lines for an allowlist.
    Fingerprint {
        /// PEM files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}
