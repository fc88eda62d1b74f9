//! Locks: taken in every mode, alone or several at once, held, given back, or lost.
//!
//! Invariants: a session asks for a key only in one mode at a time, because a request for more than is
//! held is an upgrade with another token, which a history cannot tell; a session whose request has an
//! unknown end is left behind.
//!
//! Not here: keeping sessions alive (`sessions`), what is written under a lock (`guarded`).

use http::Method;
use runtime::clock::Instant;
use serde_json::{Value, json};

use super::{
    client::Client,
    guarded,
    outcome::{Acquired, Told, acquired, done, is_dead, settles_nothing},
    sessions::{OldToken, Sessions},
    target::Question,
};
use crate::judge::history::{Answer, Call, Done, Mode, Outcome, Request, What};

/// Attempts at one acquire whose end is unknown.
const ATTEMPTS: u32 = 5;
/// How long a client goes on asking once a lock's wait should be over: the root's clock may be another
/// than the one it went by, milliseconds.
const PATIENCE_MS: u64 = 6000;
/// Time of one question while a request waits, milliseconds, from and to: then another node is asked.
const POLL_MS: (u64, u64) = (60, 1500);
/// Acquires of a hundred that take the lock again while they hold it.
const AGAIN_PERCENT: u64 = 15;
/// Waiting requests of a hundred that are cancelled.
const CANCEL_PERCENT: u64 = 10;
/// Releases of a hundred that are repeated at another node although they were answered.
const REPEAT_PERCENT: u64 = 15;

/// What is asked for.
struct Want {
    keys: Vec<String>,
    mode: Mode,
    /// The hot key that the lock guards.
    hot: Option<String>,
    wait_ms: Option<u64>,
}

fn choose(client: &mut Client) -> Want {
    let load = client.ground.load().clone();
    let exclusive = |n: u64| format!("{}/hot{n}", super::HOT_NAMESPACE);
    let wait_ms = client.draw.percent(70).then(|| client.draw.between(load.wait_ms));
    let kind = client.draw.below(100);
    if kind < 55 {
        let n = client.draw.below(load.exclusive_keys);
        let hot = Some(format!("hot{n}"));
        return Want { keys: vec![exclusive(n)], mode: Mode::Exclusive, hot, wait_ms };
    }
    if kind < 70 {
        let first = client.draw.below(load.exclusive_keys);
        let keys: Vec<String> = (0..load.exclusive_keys)
            .filter(|n| *n == first || client.draw.percent(40))
            .map(exclusive)
            .collect();
        return Want { keys, mode: Mode::Exclusive, hot: Some(format!("hot{first}")), wait_ms };
    }
    if kind < 88 {
        let key = format!("shared{}", client.draw.below(load.shared_keys));
        let mode = if client.draw.percent(75) { Mode::Shared } else { Mode::Exclusive };
        return Want { keys: vec![key], mode, hot: None, wait_ms };
    }
    let key = format!("permits{}", client.draw.below(load.semaphores));
    let take = 1 + u32::from(client.draw.percent(30));
    let mode = Mode::Permits { take, of: load.permits };
    Want { keys: vec![key], mode, hot: None, wait_ms }
}

fn mode_text(mode: Mode) -> String {
    match mode {
        Mode::Exclusive => "exclusive".to_owned(),
        Mode::Shared => "shared".to_owned(),
        Mode::Permits { take, of } => format!("{take}/{of}"),
    }
}

/// Takes locks, does something under them, and gives them back or not.
pub(super) async fn errand(client: &mut Client, sessions: &mut Sessions) {
    let want = choose(client);
    let Some(session) = sessions.current(client).await else { return };
    let request = session.next();
    let agent = session.agent.clone();
    let until_ms = want.wait_ms.map(|wait_ms| session.root_ms_in(wait_ms));
    let asked = Asked { request, agent, until_ms, want: &want };
    let fence = match asked.acquire(client, sessions).await {
        Outcome::Done(told) => match told.answer {
            Answer::Granted { fence } => fence,
            _ => return,
        },
        Outcome::Rejected { .. } => return,
        // Perhaps it holds something that nobody knows the token of.
        Outcome::Unknown { .. } => return leave(client, sessions).await,
    };
    let mut times = 1;
    // One key only: of several, an operator may have taken one away meanwhile, and no single token would
    // name what is held then.
    if want.keys.len() == 1
        && client.draw.percent(AGAIN_PERCENT)
        && let Some(session) = sessions.here()
    {
        let request = session.next();
        let want = Want { keys: want.keys.clone(), hot: None, wait_ms: None, mode: want.mode };
        let again = Asked { request, agent: asked.agent.clone(), until_ms: None, want: &want };
        match again.acquire(client, sessions).await {
            Outcome::Done(_) => times += 1,
            Outcome::Rejected { .. } => {}
            Outcome::Unknown { .. } => return leave(client, sessions).await,
        }
    }
    if let Some(hot) = &want.hot {
        guarded::under(client, hot, fence).await;
    }
    let hold_ms = client.ground.load().hold_ms;
    client.pause(hold_ms).await;
    if client.draw.percent(client.ground.load().abandon_percent) {
        if let Some(key) = want.hot.clone() {
            sessions.old.push(OldToken { key, fence });
        }
        return leave(client, sessions).await;
    }
    for _ in 0..times {
        if !release(client, sessions, &want.keys, fence).await {
            return;
        }
    }
}

/// Leaves a session behind: closed, or without any more signs of life.
async fn leave(client: &mut Client, sessions: &mut Sessions) {
    if client.draw.percent(30) {
        sessions.close(client).await;
    } else {
        sessions.abandon();
    }
}

/// A request for locks, in the same words however often it is made.
struct Asked<'w> {
    request: Request,
    agent: String,
    until_ms: Option<u64>,
    want: &'w Want,
}

impl Asked<'_> {
    fn call(&self) -> Call {
        let Want { keys, mode, wait_ms, .. } = self.want;
        let (keys, mode, wait_ms) = (keys.clone(), *mode, *wait_ms);
        Call::Acquire { session: self.request.session, keys, mode, wait_ms }
    }

    fn question(&self, answer_ms: u64) -> Question {
        let mode = mode_text(self.want.mode);
        let wants: Vec<Value> =
            self.want.keys.iter().map(|key| json!({ "key": key, "mode": mode })).collect();
        let body = json!({
            "session": self.request.session, "seq": self.request.seq, "wants": wants,
            "wait_until_ms": self.until_ms,
        });
        Question::send(Method::POST, "/api/v1/locks/acquire", &self.agent, answer_ms, body)
    }

    /// Asks until the end is known or the attempts are used up.
    async fn acquire(&self, client: &mut Client, sessions: &mut Sessions) -> Outcome {
        let mut last = Outcome::Unknown { detail: "never asked".to_owned() };
        let mut open = None;
        for _ in 0..ATTEMPTS {
            last = self.attempt(client, sessions).await;
            if matches!(last, Outcome::Unknown { .. }) {
                open = Some(last.clone());
            }
            let again = match &last {
                Outcome::Done(_) => false,
                Outcome::Rejected { reason, .. } => {
                    matches!(reason.as_str(), "not_sent" | "not_leader" | "stopping")
                }
                Outcome::Unknown { .. } => true,
            };
            if !again {
                break;
            }
            client.back_off().await;
        }
        // What one attempt left open, a later one that was turned away does not settle.
        match (last, open) {
            (Outcome::Rejected { reason, .. }, Some(open)) if settles_nothing(&reason) => open,
            (last, _) => last,
        }
    }

    /// One operation: asks, and as long as the request waits, asks on.
    async fn attempt(&self, client: &mut Client, sessions: &mut Sessions) -> Outcome {
        let answer_ms = client.ground.load().answer_ms;
        let patience_ms = PATIENCE_MS + self.want.wait_ms.unwrap_or(0);
        let begun = Instant::now();
        let mut node = client.any_node();
        let name = client.links()[node].name.clone();
        let op = client.recorder().invoke(&client.name, &name, Some(self.request), self.call());
        let (mut placed, mut sent) = (false, false);
        let outcome = loop {
            let poll_ms = match self.want.wait_ms {
                Some(_) if client.draw.percent(70) => client.draw.between(POLL_MS),
                _ => answer_ms,
            };
            let question = self.question(poll_ms);
            let told = client.links()[node].ask(&question).await;
            client.note(&told);
            let patient = begun.elapsed().as_millis() < u128::from(patience_ms);
            match self.understood(&told) {
                // An earlier question has arrived, perhaps: that this one did not says nothing.
                Ok(Outcome::Rejected { reason, .. }) if sent && settles_nothing(&reason) => {
                    if !patient || is_dead(&reason) {
                        break Outcome::Unknown { detail: reason };
                    }
                    client.back_off().await;
                    node = client.any_node();
                    continue;
                }
                // A short question may end before the root's answer, which the next one may get.
                Ok(Outcome::Unknown { .. }) if poll_ms < answer_ms && patient => {
                    sent = true;
                    client.back_off().await;
                    node = client.any_node();
                    continue;
                }
                Ok(outcome) => break outcome,
                Err(place) => {
                    sent = true;
                    if let Some(index) = place.filter(|_| !placed) {
                        placed = true;
                        client.recorder().record(What::Queued { op, index });
                    }
                }
            }
            if client.draw.percent(CANCEL_PERCENT)
                && let Some(outcome) = self.cancel(client, sessions).await
            {
                break outcome;
            }
            if !patient {
                break Outcome::Unknown { detail: "it waits longer than it may".to_owned() };
            }
            node = client.any_node();
        };
        client.recorder().complete(op, outcome.clone());
        outcome
    }

    /// The outcome, or the place in the queue of a request that still waits.
    fn understood(&self, told: &Told) -> Result<Outcome, Option<u64>> {
        let Told::Yes(value) = told else { return Ok(told.outcome(|_| None)) };
        match acquired(value, self.want.keys.len()) {
            Some(Acquired::Waiting { place }) => Err(place),
            Some(Acquired::Granted { fence, again }) => {
                // Who took it again is told the token of an earlier entry, and not its own place.
                let index = (!again).then_some(fence);
                let answer = Answer::Granted { fence };
                Ok(Outcome::Done(Done { answer, index, evidence: None }))
            }
            Some(Acquired::Ended(reason)) => {
                Ok(Outcome::Rejected { reason, index: None, decision: None })
            }
            None => Ok(told.outcome(|_| None)),
        }
    }

    /// Stops waiting; the answer is what became of the request.
    async fn cancel(&self, client: &mut Client, sessions: &mut Sessions) -> Option<Outcome> {
        let session = sessions.here()?;
        let body = json!({
            "session": self.request.session, "seq": session.next().seq, "of": self.request.seq,
        });
        let answer_ms = client.ground.load().answer_ms;
        let question =
            Question::send(Method::POST, "/api/v1/locks/cancel-wait", &self.agent, answer_ms, body);
        let node = client.any_node();
        let told = client.links()[node].ask(&question).await;
        client.note(&told);
        match told {
            // A cancellation that is not known to have happened leaves the request waiting, perhaps.
            Told::Yes(_) => self.understood(&told).ok(),
            _ => None,
        }
    }
}

/// Gives locks back once; answers whether the session can go on giving back.
async fn release(
    client: &mut Client,
    sessions: &mut Sessions,
    keys: &[String],
    fence: u64,
) -> bool {
    let Some(session) = sessions.here() else { return false };
    let request = session.next();
    let agent = session.agent.clone();
    let call = Call::Release { session: request.session, keys: keys.to_vec(), fence };
    let locks: Vec<Value> = keys.iter().map(|key| json!({ "key": key, "fence": fence })).collect();
    let body = json!({ "session": request.session, "seq": request.seq, "locks": locks });
    let answer_ms = client.ground.load().answer_ms;
    let question = Question::send(Method::POST, "/api/v1/locks/release", &agent, answer_ms, body);
    let held = |_: &Value| Some(done(Answer::Released { held: true }));
    let outcome = client.insist(&call, Some(request), &question, held).await;
    if matches!(outcome, Outcome::Done(_)) && client.draw.percent(REPEAT_PERCENT) {
        let node = client.any_node();
        client.once(node, &call, Some(request), &question, held).await;
    }
    match outcome {
        Outcome::Done(_) => true,
        // It may hold them still: who goes on in this session would take them a second time.
        Outcome::Rejected { .. } | Outcome::Unknown { .. } => {
            leave(client, sessions).await;
            false
        }
    }
}

/// An operator looks who holds an exclusive lock and takes it away.
pub(super) async fn force(client: &mut Client) {
    let load = client.ground.load().clone();
    let key = format!("{}/hot{}", super::HOT_NAMESPACE, client.draw.below(load.exclusive_keys));
    let path = format!("/api/v1/locks/explain?key={}", key.replace('/', "%2F"));
    let node = client.any_node();
    let question = Question::get(path, "operator", load.answer_ms).by_operator();
    let told = client.links()[node].ask(&question).await;
    client.note(&told);
    let Told::Yes(lock) = told else { return };
    let Some(fence) = lock["holders"][0]["fence"].as_u64() else { return };
    let name = client.maybe_name();
    let agent = client.agent();
    let call = Call::ForceRelease { key: key.clone(), fence };
    let body = json!({ "key": key, "fence": fence, "reason": "the operator says so" });
    let question =
        Question::send(Method::POST, "/api/v1/locks/force-release", &agent, load.answer_ms, body)
            .by_operator();
    let request = name.as_ref().map(|name| name.request);
    let question = question.named(name.map(|name| name.key));
    client.insist(&call, request, &question, |_| Some(done(Answer::Ok))).await;
}
