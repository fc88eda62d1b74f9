//! What `deploy/` offers: every example is a configuration that a node starts with, and the unit is as closed as it can be.
//!
//! Not here: what the settings do.

mod daemon;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use wire::vacant::vacant;

use crate::daemon::{binary, json_of, run, until};

/// Where the examples look for files, and for data.
const PLACES: [(&str, &str); 2] = [("/etc/hivemem", "etc"), ("/var/lib/hivemem", "data")];
/// The greatest exposure that the unit may have, of ten.
const EXPOSURE_MAX: f64 = 1.5;

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn succeeds(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A daemon, until the test lets go of it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended cannot be killed; the log tells why.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A machine of an example: its places below a folder, with every file that examples name.
struct Machine {
    place: TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { place: tempfile::tempdir().expect("a folder") };
        let tls = machine.at("etc/tls");
        fs::create_dir_all(&tls).expect("a folder");
        fs::create_dir_all(machine.at("data")).expect("a folder");
        for key in ["api.key", "operator.key", "peer.key", "root.key"] {
            let path = machine.at("etc").join(key);
            fs::write(&path, format!("the {key} of a test, long enough")).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
        }
        let pki = |words: &[&str]| {
            succeeds(
                Command::new(binary()).env_clear().arg("pki").args(words).arg("--dir").arg(&tls),
            )
        };
        pki(&["init"]);
        pki(&["issue", "node", "--host", "127.0.0.1"]);
        let mut fingerprint = Command::new(binary());
        fingerprint.env_clear().args(["pki", "fingerprint"]).arg(tls.join("node.crt"));
        fs::write(tls.join("clients"), succeeds(&mut fingerprint)).expect("written");
        machine
    }

    fn at(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Puts an example into the machine's places; its file.
    fn install(&self, example: &Path) -> PathBuf {
        let mut config = text(example);
        for (theirs, ours) in PLACES {
            config = config.replace(theirs, &self.at(ours).display().to_string());
        }
        for port in ["0.0.0.0:7747", "127.0.0.1:7747"] {
            config = config.replace(port, "127.0.0.1:0");
        }
        let file = self.at("etc/hivemem.toml");
        fs::write(&file, config).expect("written");
        file
    }
}

fn examples() -> Vec<PathBuf> {
    let entries = fs::read_dir(deploy("examples")).expect("the examples");
    let mut all: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    all.sort();
    all
}

#[test]
fn a_node_starts_with_every_example() {
    let all = examples();
    assert!(all.len() >= 6, "{all:?}");
    for example in all {
        let machine = Machine::new();
        let file = machine.install(&example);
        let hivemem = || {
            let mut command = Command::new(binary());
            command.env_clear().env("HOME", machine.place.path()).arg("--config").arg(&file);
            command
        };
        if text(&file).contains("peers_file") {
            let rows = ["data", "b", "c"].map(|name| {
                let data = machine.at(name);
                let row = ["peers", "row", "--name", name, "--endpoint", "127.0.0.1:7747"];
                succeeds(hivemem().arg("--data-dir").arg(data).args(row))
            });
            fs::write(machine.at("etc/peers.toml"), rows.concat()).expect("written");
        }
        succeeds(hivemem().args(["config", "check"]));
        let log = machine.at("log");
        let said = fs::File::create(&log).expect("a log");
        let _running = Running(hivemem().arg("serve").stderr(said).spawn().expect("it starts"));
        until(&format!("{} serves", example.display()), || {
            let said = text(&log);
            if said.contains("hivemem serves on http") { Ok(()) } else { Err(said) }
        });
    }
}

/// Three nodes of `deploy/compose/`, without containers: what they call each other there are addresses here.
struct Composed {
    place: TempDir,
    running: Vec<Running>,
}

const COMPOSED: [&str; 3] = ["n1", "n2", "n3"];

impl Composed {
    fn set_up() -> Self {
        let place = tempfile::tempdir().expect("a folder");
        let binary = binary();
        let bin = binary.parent().expect("a folder").display().to_string();
        let mut setup = Command::new(deploy("compose/setup.sh"));
        setup.current_dir(place.path()).env_clear().env("PATH", format!("{bin}:/usr/bin:/bin"));
        succeeds(&mut setup);
        Self { place, running: Vec::new() }
    }

    fn node(&self, name: &str) -> PathBuf {
        self.place.path().join("hive").join(name)
    }

    fn start(&mut self) {
        let addresses = COMPOSED.map(|_| vacant().expect("an address").to_string());
        for (name, address) in COMPOSED.iter().zip(&addresses) {
            let (node, list) = (self.node(name), self.node(name).join("peers.toml"));
            let mut rows = text(&list);
            for (other, address) in COMPOSED.iter().zip(&addresses) {
                rows = rows.replace(&format!("{other}:7747"), address);
            }
            fs::write(&list, rows).expect("written");
            let file = node.join("hivemem.toml");
            let config = text(&file).replace("/etc/hivemem", &node.display().to_string());
            let config = config.replace("/data\"", &format!("{}/data\"", node.display()));
            fs::write(&file, config.replace("0.0.0.0:7747", address)).expect("written");
            let said = fs::File::create(node.join("log")).expect("a log");
            let mut command = Command::new(binary());
            command.env_clear().arg("--config").arg(&file).arg("serve").stderr(said);
            self.running.push(Running(command.spawn().expect("it starts")));
        }
        // Where no node has its folder a command works on the folder itself, without peers.
        for name in COMPOSED {
            until(&format!("{name} serves"), || {
                let said = text(&self.node(name).join("log"));
                if said.contains("hivemem serves on") { Ok(()) } else { Err(said) }
            });
        }
    }
}

#[test]
fn what_setup_makes_for_compose_is_three_peers_that_agree() {
    let mut composed = Composed::set_up();
    composed.start();
    let data = |name: &str| composed.node(name).join("data");
    let stored = until("a write has a quorum", || {
        let output = run(&data("n1"), &["store", "Deploy window", "Tuesdays", "--json"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(output.stdout) } else { Err(said) }
    });
    let stored = json_of(&String::from_utf8_lossy(&stored));
    assert!(stored["quorum_acks"].as_u64() >= Some(2), "{stored}");
    until("the third has it", || {
        let found = run(&data("n3"), &["recall", "deploy window", "--json"]);
        let found = String::from_utf8_lossy(&found.stdout).into_owned();
        if found.contains("Deploy window") { Ok(()) } else { Err(found) }
    });
}

#[test]
fn every_service_has_what_setup_makes() {
    let composed = Composed::set_up();
    let page = text(&deploy("compose/compose.yaml"));
    let mut page: serde_yaml_ng::Value = serde_yaml_ng::from_str(&page).expect("YAML");
    page.apply_merge().expect("merged");
    let services = page["services"].as_mapping().expect("services");
    let names: Vec<&str> = services.keys().filter_map(|name| name.as_str()).collect();
    assert_eq!(names, COMPOSED);
    for (name, service) in services {
        let words: Vec<&str> = service["command"]
            .as_sequence()
            .expect("a command")
            .iter()
            .filter_map(|word| word.as_str())
            .collect();
        assert_eq!(words, ["--config", "/etc/hivemem/hivemem.toml", "serve"]);
        assert_eq!(service["read_only"].as_bool(), Some(true), "{name:?}");
        for volume in service["volumes"].as_sequence().expect("volumes") {
            let source = volume.as_str().and_then(|text| text.split(':').next()).expect("a source");
            assert!(composed.place.path().join(source).is_dir(), "{source}");
        }
        let port = service["ports"][0].as_str().expect("a port");
        assert!(port.starts_with("127.0.0.1:") && port.ends_with(":7747"), "{port}");
    }
}

#[test]
fn the_page_names_every_example() {
    let page = text(&deploy("README.md"));
    for example in examples() {
        let name = example.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(page.contains(&format!("`{name}`")), "{name} is not named");
    }
}

/// Systemd's own opinion of the unit.
#[test]
fn the_unit_is_closed_and_starts_what_there_is() {
    let unit = deploy("systemd/hivemem.service");
    let start = text(&unit);
    let start = start.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a command");
    let words: Vec<&str> = start.split_whitespace().collect();
    assert_eq!(words.last(), Some(&"serve"));
    let folder = tempfile::tempdir().expect("a folder");
    for option in words.iter().filter(|word| word.starts_with("--")) {
        let help = String::from_utf8_lossy(&run(folder.path(), &["--help"]).stdout).into_owned();
        assert!(help.contains(*option), "{option} is none");
    }
    let analyze = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(&unit)
        .output();
    let analyze = match analyze {
        Ok(analyze) => analyze,
        Err(error) => return println!("skipped: no systemd-analyze: {error}"),
    };
    let said = String::from_utf8_lossy(&analyze.stdout).into_owned();
    let last = said.lines().last().unwrap_or_default();
    let exposure = last.split_whitespace().find_map(|word| word.parse::<f64>().ok());
    let exposure = exposure.unwrap_or_else(|| panic!("no exposure: {said}"));
    assert!(exposure <= EXPOSURE_MAX, "{last}");
}
