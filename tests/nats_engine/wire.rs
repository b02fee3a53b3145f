//! A wire between a client and its server that loses what goes over it, in one direction, until it is cut.

use std::sync::{Arc, Mutex, PoisonError};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{AbortHandle, JoinSet},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loses {
    Nothing,
    Requests,
    Answers,
}

/// The wire; it is gone when this is dropped.
pub struct Wire {
    address: String,
    loses: watch::Sender<Loses>,
    connections: Arc<Mutex<JoinSet<()>>>,
    listening: AbortHandle,
}

impl Wire {
    /// Lays a wire to the server of a URL.
    pub async fn to(url: &str) -> Self {
        let server = url.strip_prefix("nats://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (loses, connections) = (watch::Sender::new(Loses::Nothing), Arc::new(Mutex::new(JoinSet::new())));
        let (told, kept) = (loses.subscribe(), Arc::clone(&connections));
        let listen = async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                let both = carry_both(
                    carry(from_client, to_server, told.clone(), Loses::Requests),
                    carry(from_server, to_client, told.clone(), Loses::Answers),
                );
                kept.lock().unwrap_or_else(PoisonError::into_inner).spawn(both);
            }
        };
        let listening = tokio::runtime::Handle::current().spawn(listen).abort_handle();
        Self { address, loses, connections, listening }
    }

    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Loses everything in one direction from now on.
    pub fn lose(&self, what: Loses) {
        self.loses.send_replace(what);
    }

    /// Cuts every connection; new ones lose nothing.
    pub fn cut(&self) {
        self.loses.send_replace(Loses::Nothing);
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn carry_both(there: impl Future<Output = ()>, back: impl Future<Output = ()>) {
    tokio::select! {
        () = there => {}
        () = back => {}
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, loses: watch::Receiver<Loses>, lost: Loses) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if *loses.borrow() != lost && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
