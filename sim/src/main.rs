//! `cargo sim`: in an ordinary build, the launcher that builds and runs the simulator; in the
//! simulator's own build (`--cfg madsim`), the simulator.
//!
//! Not here: what a run is (`run`).

#[cfg(not(madsim))]
mod launch;
#[cfg(madsim)]
mod single;

use std::process::ExitCode;

#[cfg(not(madsim))]
fn main() -> ExitCode {
    launch::main(std::env::args().skip(1).collect())
}

#[cfg(madsim)]
fn main() -> ExitCode {
    single::main(std::env::args().skip(1).collect())
}
