//! `hivemem demo`: a story told by real processes.
//!
//! Invariant: `DEM-1` every command that is shown is run as it stands there, and what follows is what it printed, and how
//! long it took; what the story says of it has been checked; a recording has what was printed, when it was.
//!
//! Not here: the cluster (`crate::local`).

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use parking_lot::Mutex;

use runtime::{
    blocking,
    clock::{self, Instant},
};
use serde_json::{Value, json};

use crate::{
    cli::{exit::Failure, render},
    local,
};

/// Longest wait for something that comes by itself.
const SOON: Duration = Duration::from_secs(30);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Columns of a recording.
const WIDTH: u32 = 120;

/// What a command printed.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

/// The story so far.
struct Story {
    program: PathBuf,
    /// Where commands are run; the cluster is in `hive` there.
    place: PathBuf,
    /// Name of the cluster's folder there.
    hive: String,
    begun: Instant,
    cast: Option<Cast>,
}

/// A recording of what was printed, and when (asciicast v2, a line of JSON for each event).
struct Cast(Mutex<File>);

impl Cast {
    fn begin(path: &Path) -> std::io::Result<Self> {
        let mut file = File::create(path)?;
        let timestamp = clock::now_unix_ms() / 1000;
        let header = json!({
            "version": 2, "width": WIDTH, "height": 40, "timestamp": timestamp, "title": "hivemem demo",
        });
        writeln!(file, "{header}")?;
        Ok(Self(Mutex::new(file)))
    }

    fn note(&self, at: Duration, text: &str) -> std::io::Result<()> {
        let event = json!([at.as_secs_f64(), "o", text.replace('\n', "\r\n")]);
        writeln!(self.0.lock(), "{event}")
    }
}

fn told(said: &Said) -> String {
    let text = if said.out.is_empty() { &said.err } else { &said.out };
    text.lines().map(|line| format!("    {line}\n")).collect()
}

/// A command as one would type it.
fn typed(words: &[&str]) -> String {
    let quoted = words.iter().map(|word| match word.contains(|c: char| " |?".contains(c)) {
        true => format!("'{word}'"),
        false => (*word).to_owned(),
    });
    format!("hivemem {}", quoted.collect::<Vec<_>>().join(" "))
}

impl Story {
    /// Prints, and records what is printed.
    fn print(&self, text: &str) -> Result<(), Failure> {
        render::print(text);
        let noted = self.cast.as_ref().map(|cast| cast.note(self.begun.elapsed(), text));
        noted.unwrap_or(Ok(())).map_err(|error| Failure::start(format!("the recording: {error}")))
    }

    fn say(&self, text: &str) -> Result<(), Failure> {
        self.print(&format!("\n[{:5.1} s] {text}\n", self.begun.elapsed().as_secs_f64()))
    }

    fn data(&self, node: &str) -> String {
        format!("{}/{node}/data", self.hive)
    }

    async fn run(&self, words: &[&str]) -> Result<(Said, Duration), Failure> {
        let mut command = Command::new(&self.program);
        command.args(words).stdin(Stdio::null()).current_dir(&self.place);
        let begun = Instant::now();
        let output = blocking::run(move || command.output()).await;
        let output = output.map_err(|error| Failure::start(format!("{words:?}: {error}")))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (code, out, err) = (output.status.code(), text(&output.stdout), text(&output.stderr));
        Ok((Said { code, out, err }, begun.elapsed()))
    }

    fn answer(&self, said: &Said, took: Duration) -> Result<(), Failure> {
        self.print(&format!("{}    ({} ms)\n", told(said), took.as_millis()))
    }

    /// Shows a command, runs it, and shows what it says; it must succeed.
    async fn does(&self, words: &[&str]) -> Result<String, Failure> {
        self.print(&format!("  $ {}\n", typed(words)))?;
        let (said, took) = self.run(words).await?;
        self.answer(&said, took)?;
        match said.code {
            Some(0) => Ok(said.out),
            _ => Err(Failure::found(format!("the story ends here: {}", said.err.trim()))),
        }
    }

    /// Waits, unseen, until a member follows a leader that is not this one; then shows how it sees the root.
    async fn leads_without(&self, node: &str, other: &str) -> Result<(), Failure> {
        let data = self.data(node);
        let words = ["--data-dir", &data, "root", "status"];
        let deadline = Instant::now() + SOON;
        loop {
            let (said, _) = self.run(&[&words[..], &["--json"]].concat()).await?;
            let status: Value = serde_json::from_str(&said.out).unwrap_or_default();
            let leader = status["leader"].as_u64();
            if leader.is_some() && leader != other.parse().ok() {
                return self.does(&words).await.map(drop);
            }
            if Instant::now() >= deadline {
                let problem = format!("{node} has no leader in {} s", SOON.as_secs());
                return Err(Failure::found(problem));
            }
            clock::sleep(LOOK).await;
        }
    }

    /// Waits, unseen, until a node recalls a title; then shows it.
    async fn recalls(&self, node: &str, question: &str, title: &str) -> Result<(), Failure> {
        let data = self.data(node);
        let words = ["--data-dir", &data, "recall", question, "--limit", "1"];
        let deadline = Instant::now() + SOON;
        while !self.run(&words).await?.0.out.contains(title) {
            if Instant::now() >= deadline {
                let problem = format!("{node} does not know {title:?} in {} s", SOON.as_secs());
                return Err(Failure::found(problem));
            }
            clock::sleep(LOOK).await;
        }
        self.does(&words).await.map(drop)
    }
}

/// Tells the story, and records it where that is wanted.
///
/// # Errors
/// [`Failure`] where something is not as it says.
pub async fn run(folder: Option<&Path>, cast: Option<&Path>) -> Result<(), Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::start(format!("cannot find this program: {error}")))?;
    let unusable = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| Failure::usage(format!("{path}: {error}"))
    };
    let own = std::env::temp_dir().join(format!("hivemem-demo-{}", std::process::id()));
    let hive = folder.map_or(own.join("hive"), Path::to_owned);
    let hive = std::path::absolute(&hive).map_err(unusable(&hive))?;
    let (Some(place), Some(name)) = (hive.parent(), hive.file_name().and_then(|n| n.to_str()))
    else {
        return Err(Failure::usage(format!("--folder {}: name a folder to make", hive.display())));
    };
    std::fs::create_dir_all(place).map_err(unusable(place))?;
    let cast = cast.map(|path| Cast::begin(path).map_err(unusable(path))).transpose()?;
    let (place, hive) = (place.to_owned(), name.to_owned());
    let story = Story { program, place, hive, begun: Instant::now(), cast };
    let result = tell(&story).await;
    let ended = story.does(&["down", "--folder", &story.hive]).await;
    if folder.is_none() {
        // What is left of it is in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&own);
        story.say("the folder of this story is removed; --folder keeps one")?;
    }
    result.and(ended.map(drop))
}

async fn tell(story: &Story) -> Result<(), Failure> {
    let folder = story.hive.clone();
    story.say(
        "nine processes: three that decide together, and two regions of three that remember",
    )?;
    story.does(&["up", "--shape", "hive", "--folder", &folder]).await?;
    memory(story, &folder).await?;
    decision(story, &folder).await?;
    story.say("the node that was killed comes back, and has what it missed")?;
    story.does(&["up", "start", "east1", "--folder", &folder]).await?;
    story.recalls("east1", "how long are images kept", "Rollback").await
}

/// A memory outlives the node that took it.
async fn memory(story: &Story, folder: &str) -> Result<(), Failure> {
    story.say(
        "an agent in the east stores what it knows; it is acknowledged when two disks have it",
    )?;
    let east = story.data("east1");
    let title = ["store", "Deploy window", "We deploy on Tuesdays before noon, never on Fridays."];
    story.does(&[&["--data-dir", &east][..], &title].concat()).await?;
    story.say("the node that took it dies")?;
    story.does(&["up", "kill", "east1", "--folder", folder]).await?;
    story.say("an agent in the west asks, in its own words")?;
    story.recalls("west3", "when can we deploy?", "Deploy window").await?;
    let west = story.data("west3");
    let title = ["store", "Rollback", "Images are kept for a week, to go back to."];
    story.does(&[&["--data-dir", &west][..], &title].concat()).await.map(drop)
}

/// Two operators decide one action; one of them wins.
async fn decision(story: &Story, folder: &str) -> Result<(), Failure> {
    let [one, three] = ["r1", "r3"].map(|node| story.data(node));
    story.say("something is proposed that a person must approve")?;
    for person in ["ann", "bob"] {
        story.does(&["--data-dir", &one, "root", "agent", person, "--human"]).await?;
    }
    let proposal =
        ["pending", "propose", "memory.delete", "delete", "acme/prod", "--approver", "human"];
    let words = [&["--data-dir", &one, "--agent", "carl"][..], &proposal].concat();
    let told = story.does(&words).await?;
    // What is told of an action begins with its number.
    let id = told.split_whitespace().next().unwrap_or_default().to_owned();
    let ann = ["--data-dir", &one, "--agent", "ann", "pending", "approve", &id];
    let bob = ["--data-dir", &three, "--agent", "bob", "pending", "reject", &id];
    let cluster = local::Cluster::read(&story.place.join(&story.hive))?;
    match cluster.network {
        local::Network::Loopback => at_once(story, &ann, &bob).await?,
        local::Network::Namespaces(_) => across_a_cut(story, folder, &ann, &bob).await?,
    }
    story.say("one decision, and every member tells the same")?;
    told_alike(story, &id).await
}

/// Both decide in the same moment.
async fn at_once(story: &Story, ann: &[&str], bob: &[&str]) -> Result<(), Failure> {
    story.say("two operators decide in the same moment (nothing can be cut without namespaces)")?;
    story.print(&format!("  $ {} & {} & wait\n", typed(ann), typed(bob)))?;
    let (first, second) = tokio::join!(story.run(ann), story.run(bob));
    let (first, second) = (first?, second?);
    story.answer(&first.0, first.1)?;
    story.answer(&second.0, second.1)?;
    match [&first.0, &second.0].into_iter().filter(|said| said.code == Some(0)).count() {
        1 => Ok(()),
        winners => Err(Failure::found(format!("{winners} operators were told that they decided"))),
    }
}

/// One decides on the side that is left alone, the other on that of the majority.
async fn across_a_cut(
    story: &Story,
    folder: &str,
    ann: &[&str],
    bob: &[&str],
) -> Result<(), Failure> {
    story.say("the network is cut: r1 on one side, r2 and r3 on the other")?;
    story.does(&["up", "partition", "r1|r2,r3", "--folder", folder]).await?;
    story.say("ann decides at r1, which has nobody to agree with; she waits")?;
    story.print(&format!("  $ {} &\n", typed(ann)))?;
    let other_side = async {
        story.say("r2 and r3 agree on a leader")?;
        story.leads_without("r3", "1").await?;
        story.say("bob decides at r3")?;
        story.does(bob).await?;
        story.say("the network heals")?;
        story.does(&["up", "heal", "--folder", folder]).await.map(drop)
    };
    let (ann, other_side) = tokio::join!(story.run(ann), other_side);
    other_side?;
    let (said, took) = ann?;
    story.say("ann is answered")?;
    story.answer(&said, took)?;
    match said.code {
        Some(0) => Err(Failure::found("ann was told that she decided, and bob too")),
        _ => Ok(()),
    }
}

/// All members tell the same of an action that is decided.
async fn told_alike(story: &Story, id: &str) -> Result<(), Failure> {
    let all = ["r1", "r2", "r3"].map(|node| story.data(node));
    let state = async |data: &str| -> Result<Value, Failure> {
        let words = ["--data-dir", data, "pending", "show", id, "--json"];
        let (said, _) = story.run(&words).await?;
        Ok(serde_json::from_str::<Value>(&said.out).unwrap_or_default()["state"].clone())
    };
    let deadline = Instant::now() + SOON;
    loop {
        let mut states = Vec::new();
        for data in &all {
            states.push(state(data).await?);
        }
        let decided = states[0].is_string() && states[0] != "pending";
        if decided && states.iter().all(|state| *state == states[0]) {
            break;
        }
        if Instant::now() >= deadline {
            return Err(Failure::found(format!("the members disagree: {states:?}")));
        }
        clock::sleep(LOOK).await;
    }
    for data in [&all[0], &all[2]] {
        story.does(&["--data-dir", data, "pending", "show", id]).await?;
    }
    Ok(())
}
