//! A watch on the server: changes travel in order, and after a broken connection everything comes again.

use super::super::net::{Connection, Door, Line, Opened, Served};
use crate::engine::{Change, Scope, StoreError};
use futures_util::{
    future::{BoxFuture, Either, select},
    stream::{self, BoxStream, StreamExt as _},
};
use std::time::Duration;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

/// What a reader has.
struct Reader {
    line: Line,
    door: Door,
    scope: Scope,
    feed: Feed,
    /// Whether the reader was told anything, which it has to forget when the connection breaks.
    told: bool,
}

/// What comes from the server while the connection holds.
struct Feed {
    changes: UnboundedReceiver<Change>,
    connection: Connection,
}

impl Feed {
    /// Waits for the next change; `None` when the connection is broken.
    async fn next(&mut self) -> Option<Change> {
        let Self { changes, connection } = self;
        match select(Box::pin(changes.recv()), Box::pin(connection.broken())).await {
            Either::Left((change, _)) => change,
            Either::Right(_) => None,
        }
    }
}

pub(super) async fn open(line: Line, door: Door, scope: Scope) -> Result<BoxStream<'static, Change>, StoreError> {
    let feed = subscribe(&line, &door, &scope).await?;
    let reader = Reader { line, door, scope, feed, told: false };
    Ok(stream::unfold(reader, |mut reader| async move {
        let change = reader.next().await;
        Some((change, reader))
    })
    .boxed())
}

impl Reader {
    async fn next(&mut self) -> Change {
        let Some(change) = self.feed.next().await else {
            loop {
                // A link without delay must not keep time from passing while the server is away.
                let pause = self.line.link.travel() * 10 + Duration::from_millis(1);
                self.line.link.net.wheel.sleep(pause).await;
                if let Ok(feed) = subscribe(&self.line, &self.door, &self.scope).await {
                    self.feed = feed;
                    break;
                }
            }
            if self.told {
                self.told = false;
                return Change::Resynced;
            }
            return Box::pin(self.next()).await;
        };
        self.told = true;
        change
    }
}

async fn subscribe(line: &Line, door: &Door, scope: &Scope) -> Result<Feed, StoreError> {
    let (there, of, own) = (door.clone(), scope.clone(), line.clone());
    // Of before the request was sent: a break while it is under way is noticed.
    let connection = line.link.connection();
    let ours = connection.clone();
    let begin = move |served: Served| -> BoxFuture<'static, Result<Opened<UnboundedReceiver<Change>>, StoreError>> {
        Box::pin(async move {
            let changes = there.store(&served).await?.watch(&of).await?;
            let (sender, receiver) = mpsc::unbounded_channel();
            served.handle.clone().spawn(pump(own, connection, changes, sender));
            Ok(Opened(receiver))
        })
    };
    line.call(false, || "watch".to_owned(), begin).await.map(|opened| Feed { changes: opened.0, connection: ours })
}

/// Carries changes to the reader until one of them is gone.
async fn pump(line: Line, connection: Connection, mut changes: BoxStream<'static, Change>, reader: UnboundedSender<Change>) {
    loop {
        let over = async {
            select(Box::pin(connection.broken()), Box::pin(reader.closed())).await;
        };
        let change = match select(Box::pin(over), changes.next()).await {
            Either::Left(_) | Either::Right((None, _)) => return,
            Either::Right((Some(change), _)) => change,
        };
        line.link.net.wheel.sleep(line.link.travel()).await;
        if !connection.holds() || reader.send(change).is_err() {
            return;
        }
    }
}
