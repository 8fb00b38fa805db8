//! Stands between Segue and an engine: passes bytes on, slowly if told so, or cuts every connection.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Bytes that are passed on at once.
const CHUNK: usize = 16 * 1024;

/// What it does with what passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// Passes it on.
    Open,
    /// Passes each piece on after this time.
    Slow(Duration),
    /// Ends every connection, and takes none.
    Cut,
}

/// One of them. It ends with the runtime.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Where clients come.
    pub(crate) address: SocketAddr,
    way: watch::Sender<Way>,
    target: watch::Sender<Option<SocketAddr>>,
}

impl Proxy {
    /// Begins to listen on a free port of the loopback interface; it has nobody to pass on to yet.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("a port for a proxy")?;
        let address = listener.local_addr().context("a port for a proxy")?;
        let (way, (target, to)) = (watch::Sender::new(Way::Open), watch::channel(None));
        let ways = way.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let target = *to.borrow();
                if let Some(target) = target {
                    tokio::spawn(pass(client, target, ways.clone()));
                }
            }
        });
        Ok(Self { address, way, target })
    }

    /// Whom it passes on to.
    pub(crate) fn lead_to(&self, target: SocketAddr) {
        self.target.send_replace(Some(target));
    }

    /// What it does from now on, also with connections that are there.
    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

async fn pass(client: TcpStream, target: SocketAddr, mut ways: watch::Receiver<Way>) {
    if *ways.borrow() == Way::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = one_way(from_client, to_server, ways.clone()) => {}
        () = one_way(from_server, to_client, ways.clone()) => {}
        _ = ways.wait_for(|way| *way == Way::Cut) => {}
    }
}

async fn one_way(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    ways: watch::Receiver<Way>,
) {
    let mut chunk = vec![0; CHUNK];
    loop {
        let Ok(read @ 1..) = from.read(&mut chunk).await else { return };
        let way = *ways.borrow();
        if let Way::Slow(by) = way {
            tokio::time::sleep(by).await;
        }
        if to.write_all(&chunk[..read]).await.is_err() {
            return;
        }
    }
}
