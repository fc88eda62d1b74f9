//! A way to a server that can be cut at the worst moment.
//!
//! Not here: what the server makes of it.

use std::sync::Arc;

use parking_lot::Mutex;
use runtime::task::{self, JoinHandle};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What is done to what passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Nothing.
    Open,
    /// The next commit is not delivered, and its connection is cut; then it is open again.
    LosesCommit,
    /// The next commit is delivered and done, and its connection is cut before the answer; then it is open again.
    LosesAnswer,
    /// The same, and then it is shut.
    LosesAnswerAndShuts,
    /// Every connection is cut.
    Shut,
}

/// Listens until it is dropped.
pub(super) struct Proxy {
    port: u16,
    way: Arc<Mutex<Way>>,
    cut: watch::Sender<u64>,
    listening: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Proxy {
    /// A way to what listens at a port of this machine.
    pub(super) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (way, cut) = (Arc::new(Mutex::new(Way::Open)), watch::Sender::new(0));
        let (ways, cuts) = (way.clone(), cut.clone());
        let listening = task::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (way, cut) = (ways.clone(), cuts.clone());
                drop(task::spawn(async move {
                    let mut shut = cut.subscribe();
                    if *way.lock() == Way::Shut {
                        return;
                    }
                    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    tokio::select! {
                        () = pass(client, server, &way, &cut) => {}
                        _ = shut.changed() => {}
                    }
                }));
            }
        });
        Self { port: own, way, cut, listening }
    }

    /// A URL that leads this way.
    pub(super) fn url(&self, url: &str) -> String {
        let (before, after) = url.rsplit_once(':').unwrap();
        let (_, database) = after.split_once('/').unwrap();
        format!("{before}:{}/{database}", self.port)
    }

    /// Changes what is done.
    pub(super) fn becomes(&self, way: Way) {
        *self.way.lock() = way;
        if way == Way::Shut {
            self.cut.send_modify(|count| *count += 1);
        }
    }

    /// What is done now.
    pub(super) fn way(&self) -> Way {
        *self.way.lock()
    }
}

/// Passes on what both say, until one of them ends or it is to be cut.
async fn pass(
    mut client: TcpStream,
    mut server: TcpStream,
    way: &Mutex<Way>,
    cut: &watch::Sender<u64>,
) {
    let (mut asked, mut answered) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(count @ 1..) = read else { return };
                let commits = asked[..count].windows(8).any(|bytes| bytes[1..] == *b"COMMIT\0");
                let now = *way.lock();
                if commits && now == Way::LosesCommit {
                    *way.lock() = Way::Open;
                    return;
                }
                if server.write_all(&asked[..count]).await.is_err() {
                    return;
                }
                if commits && matches!(now, Way::LosesAnswer | Way::LosesAnswerAndShuts) {
                    // It has answered when it is done.
                    let _ = server.read(&mut answered).await;
                    let shuts = now == Way::LosesAnswerAndShuts;
                    *way.lock() = if shuts { Way::Shut } else { Way::Open };
                    if shuts {
                        cut.send_modify(|count| *count += 1);
                    }
                    return;
                }
            }
            read = server.read(&mut answered) => {
                let Ok(count @ 1..) = read else { return };
                if client.write_all(&answered[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}
