//! A wire between a client and its server that loses, delays or changes what goes over it, until it is cut.
//!
//! It carries bytes and knows no protocol. A process that is behind it sees what a bad network does: answers that never come,
//! requests that arrive late, connections that break.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{AbortHandle, JoinSet},
};

use crate::{testing::Dice, time::Clock};

/// What a wire loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loses {
    /// Nothing.
    Nothing,
    /// What the client sends.
    Requests,
    /// What the server sends.
    Answers,
    /// Everything: the connections stay, and nobody hears anybody.
    Everything,
}

/// How a wire behaves.
#[derive(Debug, Clone)]
struct Manners {
    loses: Loses,
    /// How long each piece takes.
    delay: Duration,
    /// What is put in place of what, in what the server sends.
    replaced: Option<(&'static [u8], &'static [u8])>,
}

/// What a wire has done to what went over it since it was laid: whoever injects a fault wants to know that it met anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Harm {
    /// How many bytes it has lost.
    pub lost: u64,
    /// How many pieces it has delayed.
    pub delayed: u64,
    /// How many connections it has cut.
    pub cut: u64,
}

#[derive(Debug, Default)]
struct Done {
    lost: AtomicU64,
    delayed: AtomicU64,
    cut: AtomicU64,
}

/// The wire; it is gone when this is dropped.
#[derive(Debug)]
pub struct Wire {
    address: String,
    manners: watch::Sender<Manners>,
    done: Arc<Done>,
    connections: Arc<Mutex<JoinSet<()>>>,
    listening: AbortHandle,
}

impl Wire {
    /// Lays a wire to the server of a URL, `nats://HOST:PORT`.
    ///
    /// # Errors
    ///
    /// When there is no port to listen on.
    ///
    /// # Panics
    ///
    /// When the URL is another one, and outside of a tokio runtime.
    pub async fn to(url: &str) -> io::Result<Self> {
        let server = url.strip_prefix("nats://").expect("the URL begins with nats://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let manners = watch::Sender::new(Manners { loses: Loses::Nothing, delay: Duration::ZERO, replaced: None });
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let (told, kept, done) = (manners.subscribe(), Arc::clone(&connections), Arc::<Done>::default());
        let does = Arc::clone(&done);
        let listen = async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                // Small pieces leave at once, as they do without the wire.
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                let there = carry(from_client, to_server, told.clone(), Loses::Requests, Arc::clone(&does));
                let back = carry(from_server, to_client, told.clone(), Loses::Answers, Arc::clone(&does));
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                while kept.try_join_next().is_some() {}
                kept.spawn(async {
                    tokio::select! {
                        () = there => {}
                        () = back => {}
                    }
                });
            }
        };
        let listening = tokio::runtime::Handle::current().spawn(listen).abort_handle();
        Ok(Self { address, manners, done, connections, listening })
    }

    /// Returns the URL of the client's end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Loses everything in one direction, or in both, from now on. What was lost is missing in the middle of a stream of bytes: a
    /// connection that saw it is of no use any more, and [`cut`](Self::cut) ends it.
    pub fn lose(&self, what: Loses) {
        self.manners.send_modify(|manners| manners.loses = what);
    }

    /// Lets each piece that goes over it take so long from now on.
    pub fn delay(&self, delay: Duration) {
        self.manners.send_modify(|manners| manners.delay = delay);
    }

    /// Puts `new` in place of `old` in whatever the server sends from now on.
    ///
    /// # Panics
    ///
    /// When the two are not of one length, which would break the protocol on top.
    pub fn replace(&self, old: &'static str, new: &'static str) {
        assert_eq!(old.len(), new.len(), "what is replaced keeps its length");
        self.manners.send_modify(|manners| manners.replaced = Some((old.as_bytes(), new.as_bytes())));
    }

    /// Misbehaves by a seed for as long as it is polled: it loses answers or requests, or is slow, for up to 170 milliseconds, is cut, and
    /// behaves for up to half a second.
    ///
    /// # Cancel safety
    ///
    /// What it lost is lost: [`cut`](Self::cut) it, so that nobody waits for the rest.
    pub async fn misbehave(&self, seed: u64) {
        let (clock, mut dice) = (Clock::system(), Dice::new(seed));
        loop {
            match dice.roll(4) {
                0 => self.lose(Loses::Answers),
                1 => self.lose(Loses::Requests),
                _ => self.delay(Duration::from_millis(dice.roll(20))),
            }
            clock.sleep(Duration::from_millis(20 + dice.roll(150))).await;
            self.delay(Duration::ZERO);
            // What was lost leaves half a message behind: nothing can go over this connection any more.
            self.cut();
            clock.sleep(Duration::from_millis(100 + dice.roll(400))).await;
        }
    }

    /// Cuts every connection; new ones lose nothing.
    pub fn cut(&self) {
        self.lose(Loses::Nothing);
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        while connections.try_join_next().is_some() {}
        self.done.cut.fetch_add(u64::try_from(connections.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
        connections.abort_all();
    }

    /// Returns what it has done to what went over it.
    #[must_use]
    pub fn harm(&self) -> Harm {
        let Done { lost, delayed, cut } = &*self.done;
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Harm { lost: read(lost), delayed: read(delayed), cut: read(cut) }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Carries bytes in one direction, until either end closes.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    told: watch::Receiver<Manners>,
    direction: Loses,
    done: Arc<Done>,
) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let Manners { loses, delay, replaced } = told.borrow().clone();
        if !delay.is_zero() {
            done.delayed.fetch_add(1, Ordering::Relaxed);
            Clock::system().sleep(delay).await;
        }
        if loses == direction || loses == Loses::Everything {
            done.lost.fetch_add(u64::try_from(read).unwrap_or(u64::MAX), Ordering::Relaxed);
            continue;
        }
        let piece = &mut buffer[..read];
        if let Some((old, new)) = replaced.filter(|_| direction == Loses::Answers) {
            for at in 0..piece.len().saturating_sub(old.len() - 1) {
                if piece[at..].starts_with(old) {
                    piece[at..at + new.len()].copy_from_slice(new);
                }
            }
        }
        if to.write_all(piece).await.is_err() {
            return;
        }
    }
}
