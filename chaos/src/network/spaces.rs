//! Namespaces for nodes, a device in each, and one more device for this machine, whose other ends are ports of a switch.
//!
//! Names and addresses are those that `hivemem up` uses for a cluster of the same number, so that it finds them made.
//!
//! Invariant: what is made is named after the number, and is gone when the value is dropped.
//!
//! Not here: what happens between the devices (`switch`).

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::Path,
    process::Command,
};

/// First two numbers of all addresses; the third is the cluster's, the fourth the node's.
const NET: [u8; 2] = [10, 213];
/// The last number of this machine's own address.
const HOST: usize = 254;
/// The first number that is tried for a cluster: `hivemem up` begins at the other end.
const FIRST: u8 = 254;

/// Where the system shows devices by name.
const DEVICES: &str = "/sys/class/net";

/// Namespaces of a cluster.
#[derive(Debug)]
pub struct Spaces {
    number: u8,
    nodes: usize,
}

/// Runs a command of the system to its end.
fn run(words: &[&str]) -> Result<String, String> {
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output = output.map_err(|error| format!("`{}`: {error}", words.join(" ")))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(format!("`{}`: {said}", words.join(" ")))
        }
    }
}

/// Makes a device of this process's.
fn device(name: &str) -> io::Result<OwnedFd> {
    let mut options = OpenOptions::new();
    let opened = options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
    let file: File = opened.open("/dev/net/tun")?;
    // SAFETY: all fields of the request are plain numbers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes()) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the request lives as long as the call, which reads and writes nothing else.
    match unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &mut request) } {
        0 => Ok(OwnedFd::from(file)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What keeps this machine from having namespaces and devices; `None` if nothing does.
pub fn obstacle() -> Option<String> {
    Spaces::make(0).err()
}

impl Spaces {
    /// Makes namespaces for so many nodes under a number that nobody has; the ports are those of the nodes in order, and
    /// this machine's own.
    ///
    /// # Errors
    /// What the system refused, in words; what was made is gone then.
    pub fn make(nodes: usize) -> Result<(Self, Vec<OwnedFd>), String> {
        let listed = run(&["ip", "netns", "list"])?;
        let taken: Vec<&str> =
            listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
        let vacant = |number: &u8| {
            let own = format!("hivemem{number}");
            // A switch that has just been dropped may still have its devices for a moment.
            let device = Path::new(DEVICES).join(format!("hm{number}-{HOST}"));
            taken.iter().all(|name| *name != own && !name.starts_with(&format!("{own}-")))
                && !device.exists()
        };
        let number = (1..=FIRST).rev().find(vacant).ok_or("all numbers of clusters are taken")?;
        // Whoever makes a namespace of this name has the number.
        run(&["ip", "netns", "add", &format!("hivemem{number}")])?;
        let spaces = Self { number, nodes };
        let devices = spaces.fill()?;
        Ok((spaces, devices))
    }

    fn fill(&self) -> Result<Vec<OwnedFd>, String> {
        let number = self.number;
        let mut devices = Vec::new();
        for at in (1..=self.nodes).chain([HOST]) {
            let name = format!("hm{number}-{at}");
            let made = device(&name).map_err(|error| format!("/dev/net/tun: {error}"))?;
            devices.push(made);
            let [first, second] = NET;
            let address = format!("{first}.{second}.{number}.{at}/24");
            if at == HOST {
                run(&["ip", "addr", "add", &address, "dev", &name])?;
                run(&["ip", "link", "set", &name, "up"])?;
                continue;
            }
            let space = format!("hivemem{number}-{at}");
            run(&["ip", "netns", "add", &space])?;
            run(&["ip", "-n", &space, "link", "set", "lo", "up"])?;
            run(&["ip", "link", "set", &name, "netns", &space, "name", "eth0"])?;
            run(&["ip", "-n", &space, "addr", "add", &address, "dev", "eth0"])?;
            run(&["ip", "-n", &space, "link", "set", "eth0", "up"])?;
        }
        Ok(devices)
    }

    /// The number.
    pub fn number(&self) -> u8 {
        self.number
    }
}

impl Drop for Spaces {
    fn drop(&mut self) {
        // Devices go with their namespaces, and this machine's own with the process that has it open.
        let nodes = (1..=self.nodes).map(|at| format!("hivemem{}-{at}", self.number));
        for space in nodes.chain([format!("hivemem{}", self.number)]) {
            let _ = run(&["ip", "netns", "del", &space]);
        }
    }
}
