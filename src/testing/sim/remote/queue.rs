//! A queue on the server, and a worker's session there.
//!
//! What was taken for a host that is gone comes again after `ack_wait`, and so does what is on its way when the connection breaks. A
//! worker that stops in good order hands back what it did not see.

use super::super::net::{Connection, Line, Opened, Served};
use crate::engine::{Delivery, Message, Name, Published, Pull, Queue, QueueOptions, Settle, StoreError, StreamOptions};
use async_trait::async_trait;
use futures_util::future::{BoxFuture, Either, select};
use std::{collections::VecDeque, fmt, num::NonZeroUsize, sync::Arc, time::Duration};
use tokio::sync::{
    mpsc::{self, UnboundedReceiver, UnboundedSender},
    oneshot,
};

/// Where a queue is.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Space { space: Name, name: Name, options: QueueOptions },
    Stream { name: Name, options: StreamOptions },
}

impl Place {
    fn name(&self) -> &Name {
        match self {
            Self::Space { name, .. } | Self::Stream { name, .. } => name,
        }
    }

    async fn open(self, served: &Served) -> Result<Arc<dyn Queue>, StoreError> {
        match self {
            Self::Space { space, name, options } => served.queue(space, name, options).await,
            Self::Stream { name, options } => served.stream_queue(&name, options).await,
        }
    }
}

/// A queue of the server.
#[derive(Debug, Clone)]
pub(super) struct RemoteQueue {
    line: Line,
    place: Place,
    options: QueueOptions,
}

impl RemoteQueue {
    pub(super) async fn open(line: Line, place: Place) -> Result<Self, StoreError> {
        let there = place.clone();
        let look = move |served: Served| -> BoxFuture<'static, Result<QueueOptions, StoreError>> {
            Box::pin(async move { Ok(there.open(&served).await?.options().clone()) })
        };
        let options = line.call(false, || "open a queue".to_owned(), look).await?;
        Ok(Self { line, place, options })
    }

    pub(super) fn of(line: Line, place: Place, options: QueueOptions) -> Self {
        Self { line, place, options }
    }

    /// Begins a session on the server.
    async fn session(&self) -> Result<Ours, StoreError> {
        let (there, line, connection) = (self.place.clone(), self.line.clone(), self.line.link.connection());
        let held = connection.clone();
        let begin = move |served: Served| -> BoxFuture<'static, Result<Opened<UnboundedSender<Ask>>, StoreError>> {
            Box::pin(async move {
                let pull = there.open(&served).await?.pull().await?;
                let (asks, asked) = mpsc::unbounded_channel();
                served.handle.clone().spawn(async move { Session { line, connection, asked }.run(pull).await });
                Ok(Opened(asks))
            })
        };
        let name = self.place.name().clone();
        self.line
            .call(false, move || format!("pull from {name}"), begin)
            .await
            .map(|opened| Ours { asks: opened.0, connection: held })
    }
}

#[async_trait]
impl Queue for RemoteQueue {
    fn name(&self) -> &Name {
        self.place.name()
    }

    fn options(&self) -> &QueueOptions {
        &self.options
    }

    fn is_in_a_space(&self) -> bool {
        matches!(self.place, Place::Space { .. })
    }

    async fn publish(&self, message: Message) -> Result<Published, StoreError> {
        let (there, what) = (self.place.clone(), format!("publish {:?} to {}", message.id, self.name()));
        let publish = move |served: Served| -> BoxFuture<'static, _> {
            Box::pin(async move { there.open(&served).await?.publish(message).await })
        };
        self.line.call(true, || what, publish).await
    }

    async fn pull(&self) -> Result<Box<dyn Pull>, StoreError> {
        let session = Some(self.session().await?);
        Ok(Box::new(RemotePull { queue: self.clone(), session, waiting: None, taken: VecDeque::new() }))
    }
}

/// What a worker asks its session.
enum Ask {
    Next(NonZeroUsize, oneshot::Sender<Result<Vec<Arc<Delivery>>, StoreError>>),
    Close(oneshot::Sender<()>),
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Next(..)) { "Next" } else { "Close" })
    }
}

/// A worker's end of a session.
#[derive(Debug)]
struct Ours {
    asks: UnboundedSender<Ask>,
    connection: Connection,
}

/// A worker's session, on the server.
struct Session {
    line: Line,
    connection: Connection,
    asked: UnboundedReceiver<Ask>,
}

impl Session {
    async fn run(mut self, mut pull: Box<dyn Pull>) {
        let mut next = None;
        loop {
            let ask = match next.take() {
                Some(ask) => ask,
                None => match self.hear().await {
                    Some(ask) => ask,
                    // What the pull holds comes again by itself: nobody hands it back for a host that is gone.
                    None => return,
                },
            };
            match ask {
                Ask::Close(done) => {
                    pull.close().await;
                    // The host may be gone by now.
                    let _ = done.send(());
                    return;
                }
                Ask::Next(max, answer) => {
                    let got = {
                        let coming = pull.next(max);
                        match select(Box::pin(self.hear()), coming).await {
                            Either::Left((None, _)) => return,
                            Either::Left((Some(ask), _)) => {
                                next = Some(ask);
                                continue;
                            }
                            Either::Right((got, _)) => got,
                        }
                    };
                    self.line.link.net.wheel.sleep(self.line.link.travel()).await;
                    if !self.connection.holds() {
                        return;
                    }
                    if let Ok(some) = &got {
                        let which: Vec<_> = some.iter().map(|d| (d.sequence(), d.attempt())).collect();
                        self.line.link.say(|| format!("gets {which:?}"));
                    }
                    drop(answer.send(got.map(|some| some.into_iter().map(Arc::new).collect())));
                }
            }
        }
    }

    /// Waits for what is asked next; `None` when nobody asks any more.
    async fn hear(&mut self) -> Option<Ask> {
        let Self { connection, asked, .. } = self;
        match select(Box::pin(connection.broken()), Box::pin(asked.recv())).await {
            Either::Left(_) => None,
            Either::Right((ask, _)) => ask,
        }
    }
}

/// What comes of an ask: deliveries, as the server holds them.
type Answer = oneshot::Receiver<Result<Vec<Arc<Delivery>>, StoreError>>;

/// A worker's side of a session.
#[derive(Debug)]
struct RemotePull {
    queue: RemoteQueue,
    session: Option<Ours>,
    /// What was asked for and has not come, also when the call that asked was dropped.
    waiting: Option<Answer>,
    taken: VecDeque<Delivery>,
}

impl RemotePull {
    fn deliver(&self, there: Arc<Delivery>) -> Delivery {
        let settle = RemoteSettle { line: self.queue.line.clone(), there: Arc::clone(&there) };
        let (message, subject) = (there.message().clone(), there.subject().map(Box::<str>::from));
        let delivery = Delivery::new(message, there.sequence(), there.attempt(), there.published_at(), Box::new(settle));
        match subject {
            Some(subject) => delivery.on(subject),
            None => delivery,
        }
    }

    async fn ask(&mut self, max: NonZeroUsize) -> Result<(), StoreError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => self.queue.session().await?,
        };
        let (sender, receiver) = oneshot::channel();
        // A session that is gone is found out by the answer that does not come.
        drop(session.asks.send(Ask::Next(max, sender)));
        (self.session, self.waiting) = (Some(session), Some(receiver));
        Ok(())
    }
}

#[async_trait]
impl Pull for RemotePull {
    async fn next(&mut self, max: NonZeroUsize) -> Result<Vec<Delivery>, StoreError> {
        while self.taken.is_empty() {
            if self.waiting.is_none() {
                self.ask(max).await?;
            }
            let (Some(waiting), Some(session)) = (&mut self.waiting, &self.session) else { continue };
            let came = match select(waiting, Box::pin(session.connection.broken())).await {
                Either::Left((Ok(came), _)) => Some(came),
                Either::Left((Err(_), _)) | Either::Right(_) => None,
            };
            self.waiting = None;
            let Some(came) = came else {
                self.session = None;
                let link = &self.queue.line.link;
                link.net.wheel.sleep(link.travel() * 10).await;
                return Err(StoreError::Unavailable("the connection broke".into()));
            };
            let some: Vec<_> = came?.into_iter().map(|there| self.deliver(there)).collect();
            self.taken.extend(some);
        }
        Ok(self.taken.drain(..max.get().min(self.taken.len())).collect())
    }

    async fn close(mut self: Box<Self>) {
        let late = self.waiting.take().and_then(|mut waiting| waiting.try_recv().ok()).and_then(Result::ok);
        let late: Vec<_> = late.into_iter().flatten().map(|there| self.deliver(there)).collect();
        for delivery in self.taken.drain(..).chain(late) {
            // What could not be handed back comes again by itself.
            drop(delivery.retry(Duration::ZERO).await);
        }
        if let Some(session) = self.session.take() {
            let (done, closed) = oneshot::channel();
            drop(session.asks.send(Ask::Close(done)));
            select(closed, Box::pin(session.connection.broken())).await;
        }
    }
}

/// Settles on the server what was delivered from there.
struct RemoteSettle {
    line: Line,
    there: Arc<Delivery>,
}

/// Calls a settlement by its name.
fn named(what: &'static str, there: &Delivery) -> impl FnOnce() -> String + Send + 'static {
    let (sequence, attempt) = (there.sequence(), there.attempt());
    move || format!("{what} {sequence}/{attempt}")
}

#[async_trait]
impl Settle for RemoteSettle {
    async fn ack(&self) -> Result<(), StoreError> {
        let there = Arc::clone(&self.there);
        let what = named("ack", &there);
        self.line.call(true, what, |_| Box::pin(async move { there.settling().ack().await })).await
    }

    async fn retry(&self, after: Duration) -> Result<(), StoreError> {
        let there = Arc::clone(&self.there);
        let what = named("retry", &there);
        self.line.call(true, what, move |_| Box::pin(async move { there.settling().retry(after).await })).await
    }

    async fn reject(&self) -> Result<(), StoreError> {
        let there = Arc::clone(&self.there);
        let what = named("reject", &there);
        self.line.call(true, what, |_| Box::pin(async move { there.settling().reject().await })).await
    }

    async fn extend(&self) -> Result<(), StoreError> {
        let there = Arc::clone(&self.there);
        let what = named("extend", &there);
        self.line.call(true, what, |_| Box::pin(async move { there.settling().extend().await })).await
    }
}
