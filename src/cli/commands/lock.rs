//! Locks, and programs that run while one is held.
//!
//! Invariants: `RUN-1` the lease is counted from before the request that renewed it was sent, so it ends
//! here no later than at the root; `RUN-2` the program is told to stop while there is time for it to
//! do so, and is killed before the lease can end; `RUN-3` a program does not outlive this process.
//!
//! Not here: granting, and what the fence protects: what the program writes to must refuse smaller ones.

use std::{os::unix::process::CommandExt, process::Command, time::Duration};

use runtime::{
    blocking,
    clock::{self, Instant},
    signal, task,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{confirm, encode, memory::items, query, root::fields, show};
use crate::cli::{
    client::{Client, Method},
    exit::{Code, Failure},
    render,
    root_args::{LockCommand, WantArgs},
};
use crate::{api::call::ApiClient, cli::client::ask};

/// Longest time between TERM and KILL.
const GRACE_MAX: Duration = Duration::from_secs(5);

pub(super) async fn run(client: &Client, command: &LockCommand, json: bool) -> Result<(), Failure> {
    match command {
        LockCommand::Acquire { key, want } => {
            let session = Session::open(client.caller(), want).await?;
            let grant = session.acquire(key, want).await?;
            let shown = json!({
                "key": key, "fence": grant["fence"], "session": session.id,
                "expires_in_ms": want.ttl.as_millis() as u64,
            });
            show(json, &shown, fields);
        }
        LockCommand::Release { key, session, fence } => {
            let locks = json!([{ "key": key, "fence": fence }]);
            let body = json!({ "session": session, "seq": clock::now_unix_ms(), "locks": locks });
            let done = client.call(Method::Post, "/api/v1/locks/release", Some(body)).await?;
            show(json, &done, fields);
        }
        LockCommand::List { prefix } => {
            let path = format!("/api/v1/locks{}", query(&json!({ "prefix": prefix })));
            let all = client.call(Method::Get, &path, None).await?;
            show(json, &all, |all| items(all).iter().map(lock_text).collect());
        }
        LockCommand::Explain { key } => {
            let path = format!("/api/v1/locks/explain?key={}", encode(key));
            let lock = client.call(Method::Get, &path, None).await?;
            show(json, &lock, lock_text);
        }
        LockCommand::ForceRelease { key, fence, reason, yes } => {
            confirm(&format!("Take {key} from its holder?"), *yes)?;
            let body = json!({ "key": key, "fence": fence, "reason": reason });
            let done = client.call(Method::Post, "/api/v1/locks/force-release", Some(body)).await?;
            show(json, &done, fields);
        }
        LockCommand::Run { key, want, program } => {
            return run_program(client, key, want, program).await;
        }
    }
    Ok(())
}

fn lock_text(lock: &Value) -> String {
    let list = |name: &str| lock[name].as_array().cloned().unwrap_or_default();
    let mut out = format!("{}\n", render::field(lock, "key"));
    for holder in list("holders") {
        out.push_str(&format!(
            "  held by {} (session {}), {}, fence {}, for {} ms\n",
            render::field(&holder, "agent_id"),
            holder["session"],
            render::field(&holder, "mode"),
            holder["fence"],
            holder["age_ms"]
        ));
    }
    for waiter in list("queue") {
        out.push_str(&format!(
            "  waited for by {} (session {}), {}, for {} ms\n",
            render::field(&waiter, "agent_id"),
            waiter["session"],
            render::field(&waiter, "mode"),
            waiter["age_ms"]
        ));
    }
    if lock["rests_ms"].as_u64().unwrap_or(0) > 0 {
        out.push_str(&format!("  rests for {} ms\n", lock["rests_ms"]));
    }
    out
}

/// A session that this process keeps alive.
struct Session {
    caller: ApiClient,
    id: u64,
    /// Until when it lives for certain (`RUN-1`).
    until: Instant,
    root_time_ms: u64,
    opened: Instant,
    ttl: Duration,
}

impl Session {
    async fn open(caller: ApiClient, want: &WantArgs) -> Result<Self, Failure> {
        let sent = Instant::now();
        let body = json!({
            "ttl_ms": want.ttl.as_millis() as u64,
            "lock_delay_ms": want.lock_delay.as_millis() as u64,
        });
        let opened = ask(&caller, Method::Post, "/api/v1/sessions", Some(body)).await?;
        Ok(Self {
            caller,
            id: opened["session"].as_u64().unwrap_or(0),
            until: sent + want.ttl,
            root_time_ms: opened["root_time_ms"].as_u64().unwrap_or(0),
            opened: sent,
            ttl: want.ttl,
        })
    }

    /// Asks for a key until it is granted, refused, or not to be had in time.
    async fn acquire(&self, key: &str, want: &WantArgs) -> Result<Value, Failure> {
        let waits = !want.wait.is_zero();
        let since = self.opened.elapsed() + want.wait;
        let wait_until_ms = waits.then(|| self.root_time_ms + since.as_millis() as u64);
        let body = json!({
            "session": self.id, "seq": 1, "wants": [{ "key": key, "mode": want.mode }],
            "wait_until_ms": wait_until_ms,
        });
        let give_up = Instant::now() + want.wait + self.ttl;
        loop {
            let path = "/api/v1/locks/acquire";
            let answer = ask(&self.caller, Method::Post, path, Some(body.clone())).await;
            match answer {
                Ok(answer) if answer["state"] == "granted" => {
                    return Ok(answer["grants"][0].clone());
                }
                Ok(answer) if answer["state"] == "waiting" => {}
                Ok(answer) => {
                    let detail =
                        format!("{key} was not to be had: {}", render::field(&answer, "state"));
                    return Err(Failure::new(Code::Later, detail));
                }
                // The same number again gets the same answer, whoever leads.
                Err(failure) if failure.may_pass() && Instant::now() < give_up => {
                    clock::sleep(Duration::from_millis(100)).await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Keeps the session alive; tells until when it is for certain, `None` once it is over.
    async fn keep(caller: ApiClient, id: u64, ttl: Duration, told: watch::Sender<Option<Instant>>) {
        loop {
            clock::sleep(ttl / 4).await;
            let path = format!("/api/v1/sessions/{id}/keep-alive");
            loop {
                let sent = Instant::now();
                let asked = ask(&caller, Method::Post, &path, None);
                match clock::timeout(ttl / 4, asked).await {
                    Ok(Ok(_)) => {
                        told.send_replace(Some(sent + ttl));
                        break;
                    }
                    Ok(Err(failure)) if !failure.may_pass() => {
                        told.send_replace(None);
                        return;
                    }
                    Ok(Err(_)) => clock::sleep(ttl / 20).await,
                    Err(_) => {}
                }
            }
        }
    }

    async fn close(&self) {
        let path = format!("/api/v1/sessions/{}", self.id);
        // What is not closed expires.
        let _ = clock::timeout(self.ttl, ask(&self.caller, Method::Delete, &path, None)).await;
    }
}

/// How a program ended.
enum Ended {
    /// By itself, or by a signal to us that was passed on.
    Itself,
    /// Because the lease would have ended.
    Lost,
}

async fn run_program(
    client: &Client,
    key: &str,
    want: &WantArgs,
    program: &[String],
) -> Result<(), Failure> {
    let session = Session::open(client.caller(), want).await?;
    let (told, alive) = watch::channel(Some(session.until));
    let keeper =
        task::spawn_named("keep alive", Session::keep(client.caller(), session.id, want.ttl, told));
    let mut signals = signal::interrupts()
        .map_err(|e| Failure::start(format!("cannot watch for signals: {e}")))?;
    let granted = tokio::select! {
        granted = session.acquire(key, want) => granted,
        // Who gives up waiting leaves the queue at once: the session is closed below.
        _ = signals.next() => Err(Failure::new(Code::Later, format!("gave up waiting for {key}"))),
    };
    let outcome = match granted {
        Ok(grant) => hold(key, &grant, program, alive, want.ttl, signals).await,
        Err(failure) => Err(failure),
    };
    keeper.abort();
    session.close().await;
    outcome
}

/// Starts the program, watches the lease, and gives the program's exit code as a failure of its own.
async fn hold(
    key: &str,
    grant: &Value,
    program: &[String],
    mut alive: watch::Receiver<Option<Instant>>,
    ttl: Duration,
    mut signals: signal::Interrupts,
) -> Result<(), Failure> {
    let mut child = spawn(key, grant, program)?;
    let pid = i32::try_from(child.id()).map_err(|e| Failure::start(e.to_string()))?;
    // Leaves the zombie in place, so that its number stays ours until it is collected below.
    let exited = blocking::run(move || wait_for_end(pid));
    tokio::pin!(exited);
    let grace = (ttl / 4).min(GRACE_MAX);
    let (mut told_to_stop, mut deaf) = (false, false);
    let ended = loop {
        let until = *alive.borrow_and_update();
        let (stop, kill) = match until {
            // The session is over elsewhere: no time is left.
            None => (Instant::now(), Instant::now()),
            Some(until) => (until - grace, until - grace / 4),
        };
        let next = if told_to_stop { kill } else { stop };
        tokio::select! {
            () = &mut exited => break if told_to_stop { Ended::Lost } else { Ended::Itself },
            changed = alive.changed(), if !told_to_stop && !deaf => deaf = changed.is_err(),
            _ = signals.next() => send(pid, libc::SIGTERM),
            () = clock::sleep_until(next) => {
                eprintln!("hivemem: the lease of {key} ends: stopping the program");
                if told_to_stop || next >= kill {
                    send(pid, libc::SIGKILL);
                    exited.await;
                    break Ended::Lost;
                }
                send(pid, libc::SIGTERM);
                told_to_stop = true;
            }
        }
    };
    let status = child.wait().map_err(|e| Failure::start(e.to_string()))?;
    match (ended, status.code()) {
        (Ended::Lost, _) => {
            Err(Failure::new(Code::LeaseLost, format!("the lease of {key} was lost")))
        }
        (Ended::Itself, Some(0)) => Ok(()),
        (Ended::Itself, code) => Err(Failure::program(code, &status)),
    }
}

fn spawn(key: &str, grant: &Value, program: &[String]) -> Result<std::process::Child, Failure> {
    let (name, arguments) =
        program.split_first().ok_or_else(|| Failure::usage("name a program to run"))?;
    let mut command = Command::new(name);
    command.args(arguments).env("HIVEMEM_LOCK_KEY", key);
    command.env("HIVEMEM_FENCE", grant["fence"].to_string());
    // SAFETY: prctl is async-signal-safe, and the closure touches no memory of the parent (`RUN-3`).
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    command.spawn().map_err(|error| Failure::usage(format!("cannot run {name}: {error}")))
}

fn send(pid: i32, signal: i32) {
    // SAFETY: a signal to a child that has not been collected, so the number is still its own.
    unsafe { libc::kill(pid, signal) };
}

/// Waits until a child has ended, without collecting it.
fn wait_for_end(pid: i32) {
    let id = libc::id_t::try_from(pid).unwrap_or_default();
    loop {
        // SAFETY: the structure is plain data that the call fills.
        let waited = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            libc::waitid(libc::P_PID, id, &mut info, libc::WEXITED | libc::WNOWAIT)
        };
        let interrupted = std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted;
        if waited == 0 || !interrupted {
            return;
        }
    }
}
