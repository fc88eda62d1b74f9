//! What a cluster's nodes are connected by: this machine's loopback, or a switch and network namespaces of their own.
//!
//! With namespaces each node has an address of its own behind a bridge, and what crosses the bridge can be cut for
//! chosen pairs. On loopback nothing can be cut: packets between two addresses of one machine have no place where one
//! direction could be told from another by somebody without privileges.
//!
//! Invariant: `LOC-5` everything that is made here has the cluster's number in its name, and is taken away by it.
//!
//! Not here: delay and loss.

use std::{
    collections::BTreeSet,
    fs::File,
    io,
    net::{Ipv4Addr, SocketAddr},
    os::{fd::AsRawFd, unix::process::CommandExt},
    path::Path,
    process::{Command, Output},
};

use serde::{Deserialize, Serialize};

use super::{LocalError, state::Node};

/// First two numbers of the addresses of namespaces; the third is the cluster's, the fourth the node's.
const NET: [u8; 2] = [10, 213];
/// The last number of this machine's own address in a cluster's network.
const HOST: u8 = 254;
/// Port of every node that has an address of its own.
const PORT: u16 = 7747;
/// The bridge, in the namespace of the switch.
const BRIDGE: &str = "br0";
/// Where `ip` keeps namespaces by name.
const SPACES: &str = "/run/netns";
/// The table of cut pairs.
const TABLE: &str = "hivemem";

/// What a cluster runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Addresses of this machine's loopback.
    Loopback,
    /// A bridge and namespaces, under the cluster's number, 1 to 254.
    Namespaces(u8),
}

/// Runs a command of the system to its end.
fn run(words: &[&str]) -> Result<Output, LocalError> {
    let [program, rest @ ..] = words else {
        return Err(LocalError::system("run nothing", io::ErrorKind::InvalidInput.into()));
    };
    let what = || format!("run `{}`", words.join(" "));
    let output = Command::new(program).args(rest).output();
    let output = output.map_err(|cause| LocalError::system(what(), cause))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(LocalError::system(what(), io::Error::other(said)))
}

fn switch(number: u8) -> String {
    format!("hivemem{number}")
}

/// Names of links have 15 letters at most, so nodes have numbers in them.
fn link(number: u8, at: u8) -> String {
    format!("hm{number}-{at}")
}

fn space(number: u8, at: u8) -> String {
    format!("hivemem{number}-{at}")
}

/// The address of a node, by its place from 1.
fn address(number: u8, at: u8) -> SocketAddr {
    let [first, second] = NET;
    SocketAddr::from((Ipv4Addr::new(first, second, number, at), PORT))
}

/// A node's place in its cluster, from its address.
fn place(node: &Node) -> u8 {
    match node.address.ip() {
        std::net::IpAddr::V4(ip) => ip.octets()[3],
        std::net::IpAddr::V6(_) => 0,
    }
}

/// What keeps this machine from having namespaces; `None` if nothing does.
pub fn obstacle() -> Option<String> {
    let missing = |program: &str, package: &str| {
        let found = Command::new(program)
            .arg("-V")
            .output()
            .or_else(|_| Command::new(program).arg("-v").output());
        found.is_err().then(|| format!("there is no `{program}` here (package {package})"))
    };
    let absent = missing("ip", "iproute2").or_else(|| missing("nft", "nftables"));
    absent.or_else(|| {
        let probe = format!("hivemem-probe-{}", std::process::id());
        let made = run(&["ip", "netns", "add", &probe]);
        let gone = made.and_then(|_| run(&["ip", "netns", "del", &probe]));
        gone.err().map(|error| error.to_string())
    })
}

impl Network {
    /// A number that no cluster on this machine has; whoever makes its switch's namespace has it.
    ///
    /// # Errors
    /// All are taken, or the system cannot tell.
    pub fn free_namespaces() -> Result<Self, LocalError> {
        let listed = run(&["ip", "netns", "list"])?;
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        let taken: BTreeSet<&str> =
            text.lines().filter_map(|line| line.split_whitespace().next()).collect();
        // Another command may take a number in the same moment.
        let free = (1..=254).filter(|number| !taken.contains(switch(*number).as_str()));
        let mut got = free.filter(|number| run(&["ip", "netns", "add", &switch(*number)]).is_ok());
        let full = || LocalError::system("find a free network", io::ErrorKind::AddrInUse.into());
        got.next().map(Self::Namespaces).ok_or_else(full)
    }

    /// Addresses for so many nodes.
    ///
    /// # Errors
    /// No port is left.
    pub fn addresses(self, nodes: usize) -> Result<Vec<SocketAddr>, LocalError> {
        match self {
            Self::Loopback => (0..nodes)
                .map(|_| wire::vacant::vacant())
                .collect::<io::Result<_>>()
                .map_err(|cause| LocalError::system("find a vacant address", cause)),
            Self::Namespaces(number) => {
                let places = (1..HOST).take(nodes);
                Ok(places.map(|at| address(number, at)).collect())
            }
        }
    }

    /// Whether it is there for these nodes, as far as it has to be made.
    pub fn is_there(self, nodes: &[Node]) -> bool {
        let Self::Namespaces(number) = self else { return true };
        let has = |node: &Node| Path::new(SPACES).join(space(number, place(node))).exists();
        // This machine's own end is made last, and that it is up comes at the very end.
        nodes.iter().all(has)
            && run(&["ip", "-oneline", "address", "show", "up", "dev", &link(number, HOST)])
                .is_ok_and(|shown| !shown.stdout.is_empty())
    }

    /// Makes the switch and a namespace for each node; what an interrupted command left goes first.
    ///
    /// # Errors
    /// What the system refused; then what was made is taken away.
    pub fn make(self, nodes: &[Node]) -> Result<(), LocalError> {
        let Self::Namespaces(number) = self else { return Ok(()) };
        clear(number, nodes);
        let made = make(number, nodes);
        if made.is_err() {
            self.tear_down(nodes);
        }
        made
    }

    /// Takes everything away.
    pub fn tear_down(self, nodes: &[Node]) {
        let Self::Namespaces(number) = self else { return };
        // What is gone already is no failure. Links go with their namespaces, which the system does when it has time for it:
        // this machine's own end goes first, or whoever gets the number next would meet it.
        let _ = run(&["ip", "link", "del", &link(number, HOST)]);
        for node in nodes {
            let _ = run(&["ip", "netns", "del", &space(number, place(node))]);
        }
        let _ = run(&["ip", "netns", "del", &switch(number)]);
    }

    /// A command that runs where a node is.
    ///
    /// # Errors
    /// The node's namespace is gone.
    pub fn command(self, node: &Node, program: &Path) -> Result<Command, LocalError> {
        let mut command = Command::new(program);
        let Self::Namespaces(number) = self else { return Ok(command) };
        let path = Path::new(SPACES).join(space(number, place(node)));
        let space = File::open(&path)
            .map_err(|cause| LocalError::system(format!("open {}", path.display()), cause))?;
        // Not by `ip netns exec`: that gives the process mounts of its own too, which keep what is unmounted here.
        // SAFETY: setns(2) takes plain numbers.
        let enter = move || match unsafe { libc::setns(space.as_raw_fd(), libc::CLONE_NEWNET) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        };
        // SAFETY: between fork and exec it only makes a system call, on a file that the closure keeps open.
        unsafe { command.pre_exec(enter) };
        Ok(command)
    }

    /// Cuts every pair of nodes that are in different groups, in both directions, and heals all others.
    ///
    /// # Errors
    /// [`LocalError::CannotCut`] on loopback.
    pub fn partition(self, groups: &[Vec<&Node>]) -> Result<(), LocalError> {
        let Self::Namespaces(number) = self else { return Err(LocalError::CannotCut) };
        let mut pairs = Vec::new();
        for (at, group) in groups.iter().enumerate() {
            for other in groups.iter().enumerate().filter(|(n, _)| *n != at).flat_map(|(_, g)| g) {
                let to = other.address.ip();
                pairs.extend(group.iter().map(|node| format!("{} . {to}", node.address.ip())));
            }
        }
        self.heal()?;
        if pairs.is_empty() {
            return Ok(());
        }
        let elements = format!("{{ {} }}", pairs.join(", "));
        nft(number, &["add", "element", "bridge", TABLE, "cut", &elements])
    }

    /// Lets everybody reach everybody.
    ///
    /// # Errors
    /// [`LocalError::CannotCut`] on loopback, where nothing was cut.
    pub fn heal(self) -> Result<(), LocalError> {
        let Self::Namespaces(number) = self else { return Err(LocalError::CannotCut) };
        nft(number, &["flush", "set", "bridge", TABLE, "cut"])
    }
}

fn nft(number: u8, words: &[&str]) -> Result<(), LocalError> {
    let switch = switch(number);
    let mut all = vec!["ip", "netns", "exec", &switch, "nft"];
    all.extend(words);
    run(&all).map(drop)
}

/// Takes away all but the switch's namespace, by which the number is held; what is not there is no failure.
fn clear(number: u8, nodes: &[Node]) {
    let _ = run(&["ip", "link", "del", &link(number, HOST)]);
    for node in nodes {
        let _ = run(&["ip", "netns", "del", &space(number, place(node))]);
    }
    let switch = switch(number);
    let _ = run(&["ip", "netns", "add", &switch]);
    let _ = run(&["ip", "-n", &switch, "link", "del", BRIDGE]);
    let _ = nft(number, &["delete", "table", "bridge", TABLE]);
}

fn make(number: u8, nodes: &[Node]) -> Result<(), LocalError> {
    let switch = switch(number);
    run(&["ip", "-n", &switch, "link", "add", BRIDGE, "type", "bridge"])?;
    run(&["ip", "-n", &switch, "link", "set", BRIDGE, "up"])?;
    nft(number, &["add", "table", "bridge", TABLE])?;
    let chain = "{ type filter hook forward priority 0; policy accept; }";
    nft(number, &["add", "chain", "bridge", TABLE, "path", chain])?;
    let set = "{ type ipv4_addr . ipv4_addr; }";
    nft(number, &["add", "set", "bridge", TABLE, "cut", set])?;
    let rule = ["ip", "saddr", ".", "ip", "daddr", "@cut", "counter", "drop"];
    nft(number, &[&["add", "rule", "bridge", TABLE, "path"][..], &rule].concat())?;
    for node in nodes {
        let at = place(node);
        let space = space(number, at);
        run(&["ip", "netns", "add", &space])?;
        run(&["ip", "-n", &space, "link", "set", "lo", "up"])?;
        let end = link(number, at);
        run(&[
            "ip", "link", "add", &end, "netns", &switch, "type", "veth", "peer", "name", "eth0",
            "netns", &space,
        ])?;
        run(&["ip", "-n", &switch, "link", "set", &end, "master", BRIDGE, "up"])?;
        let own = format!("{}/24", node.address.ip());
        run(&["ip", "-n", &space, "addr", "add", &own, "dev", "eth0"])?;
        run(&["ip", "-n", &space, "link", "set", "eth0", "up"])?;
    }
    // This machine's own place, for its clients.
    let (near, far) = (link(number, HOST), link(number, 0));
    run(&["ip", "link", "add", &near, "type", "veth", "peer", "name", &far, "netns", &switch])?;
    run(&["ip", "-n", &switch, "link", "set", &far, "master", BRIDGE, "up"])?;
    let own = format!("{}/24", address(number, HOST).ip());
    run(&["ip", "addr", "add", &own, "dev", &near])?;
    run(&["ip", "link", "set", &near, "up"]).map(drop)
}
