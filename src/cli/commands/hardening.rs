//! `doctor --hardening`: what an operator should have set before others depend on a node.
//!
//! Invariant: every finding names the setting and the fix.
//!
//! Not here: the store's own checks.

use std::{os::unix::fs::PermissionsExt, path::Path};

use serde_json::{Value, json};
use types::Scope;

use crate::config::{Config, DatabaseUrl};

fn finding(check: &str, problem: impl Into<String>) -> Value {
    json!({ "check": format!("hardening.{check}"), "problem": problem.into() })
}

/// Permission bits of a path, if it exists.
fn mode(path: &Path) -> Option<u32> {
    std::fs::metadata(path).ok().map(|m| m.permissions().mode() & 0o777)
}

/// What is wrong with how a database is reached.
fn database(url: &DatabaseUrl) -> Vec<Value> {
    let mut found = Vec::new();
    let text = match url {
        DatabaseUrl::Here(text) => {
            found.push(finding("database_in_config", "the password of the database stands in the configuration; move the address to a file of mode 0600 and set storage.url_file"));
            text.clone()
        }
        // That it cannot be read, the node has said.
        DatabaseUrl::File(path) => std::fs::read_to_string(path).unwrap_or_default(),
    };
    let authority = text.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split(['/', '?']).next().unwrap_or_default();
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    let is_near = |host: &str| {
        ["localhost", "127.", "[::1]"].iter().any(|near| host.starts_with(near)) || host.is_empty()
    };
    let is_checked = ["sslmode=verify-full", "sslmode=verify-ca"].iter().any(|m| text.contains(m));
    if !hosts.split(',').all(is_near) && !is_checked {
        found.push(finding("database_tls", "whoever is between can read and change what goes to the database; add sslmode=verify-full to storage.url, and sslrootcert"));
    }
    found
}

/// What is missing, item by item; empty when nothing is.
pub(super) fn check(config: &Config) -> Vec<Value> {
    let mut found = Vec::new();
    let server = &config.server;
    let exposed = !server.listen.ip().is_loopback();
    if exposed && server.tls.is_none() {
        found.push(finding(
            "tls",
            format!(
                "{} is served without TLS; set server.tls_cert and server.tls_key",
                server.listen
            ),
        ));
    }
    let listed = server.tls.as_ref().is_some_and(|tls| tls.client_allowlist.is_some());
    if exposed && !listed {
        found.push(finding(
            "client_certificates",
            "any machine may connect; set server.tls_client_allowlist",
        ));
    }
    if config.api_key.is_none() && config.api_key_file.is_none() {
        found.push(finding("api_key", "callers need no key; set auth.api_key_file"));
    }
    if config.api_key.is_some() {
        found.push(finding("api_key_in_config", "the key stands in the configuration; move it to a file of mode 0600 and set auth.api_key_file"));
    }
    if exposed && config.operator_key_file.is_none() {
        found.push(finding(
            "operator_key",
            "operators have no key of their own; set auth.operator_key_file",
        ));
    }
    if config.default_scope != Scope::Private {
        found.push(finding("default_scope", format!("memories are shared with the {} unless their author says otherwise; set memory.default_scope to private", config.default_scope)));
    }
    let quota = &config.quota;
    if quota.memories_per_day.is_none() || quota.bytes_total.is_none() {
        found.push(finding(
            "quota",
            "one agent can fill the disk; set quota.memories_per_day and quota.bytes_total",
        ));
    }
    found.extend(config.database.iter().flat_map(|of| database(&of.url)));
    if mode(&config.data_dir).is_some_and(|mode| mode & 0o077 != 0) {
        let folder = config.data_dir.display();
        found.push(finding(
            "data_dir",
            format!("others may look into {folder}; run `chmod 700 {folder}`"),
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_to_a_database_is_closed_or_named() {
        let found = |url: &str| {
            let all = database(&DatabaseUrl::Here(url.to_owned()));
            all.iter()
                .map(|one| one["check"].as_str().expect("text").to_owned())
                .collect::<Vec<_>>()
        };
        let written = "hardening.database_in_config".to_owned();
        assert_eq!(found("postgres://a:b@127.0.0.1:5432/x"), std::slice::from_ref(&written));
        assert_eq!(
            found("postgres://a:b@db1,db2/x?sslmode=verify-full"),
            std::slice::from_ref(&written)
        );
        for open in ["postgres://a:b@db1/x", "postgres://a:b@127.0.0.1,db2/x?sslmode=require"] {
            assert_eq!(found(open), [written.clone(), "hardening.database_tls".to_owned()]);
        }
    }
}
