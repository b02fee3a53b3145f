//! Group commit: requests that arrive together share a transaction and its fsync.
//!
//! Whoever finds nobody leading appoints a leader, which commits what has gathered, batch after batch, until nothing is left.
//! On a file the leader is a blocking thread, since it waits for the disk. In memory it is a task that lets every task that is
//! ready have its turn first, so that what they ask for shares a transaction too: no thread, and virtual time stays deterministic.
//!
//! A request is refused alone; a failure of the storage is everyone's. Nobody is answered before the commit, and what the
//! world outside is told, is told between the commit and the answers.

use super::{
    database::{Batch, Effects, Fault},
    locked,
};
use crate::{engine::StoreError, time::Clock};
use redb::{Database, StorageError};
use std::{
    fmt, mem,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
};
use tokio::sync::oneshot;

/// Where requests wait for a transaction.
pub(super) struct Writer {
    pub(super) database: Database,
    pub(super) clock: Clock,
    publish: Box<dyn Fn(Effects) + Send + Sync>,
    gathering: Mutex<Gathering>,
    leads: Leads,
}

/// Where a leader does its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leads {
    /// On a thread that may wait for a disk.
    OnAThread,
    /// Among the tasks.
    InATask,
}

#[derive(Default)]
struct Gathering {
    requests: Vec<Box<dyn Request>>,
    has_leader: bool,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    /// Makes a writer; `publish` hears of every durable transaction, in the order of commits.
    pub(super) fn new(
        database: Database,
        clock: Clock,
        leads: Leads,
        publish: impl Fn(Effects) + Send + Sync + 'static,
    ) -> Self {
        Self { database, clock, publish: Box::new(publish), gathering: Mutex::default(), leads }
    }

    /// Has `body` run in a transaction. It has to refuse before it writes; its answer comes once what it wrote is durable.
    ///
    /// The request happens, or not, whether or not somebody waits for the reply.
    pub(super) fn submit<T, F>(self: &Arc<Self>, body: F) -> Reply<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Batch<'_>) -> Result<T, Fault> + Send + 'static,
    {
        let (answer, reply) = oneshot::channel();
        let request = Box::new(Pending { body: Some(body), outcome: None, answer });
        let mut gathering = locked(&self.gathering);
        gathering.requests.push(request);
        if !mem::replace(&mut gathering.has_leader, true) {
            // The leader ends by itself when nothing is left. On a runtime that is shutting down it may never start; its drop then
            // refuses whoever waits.
            let mut leader = Leader { writer: Arc::clone(self), in_office: true };
            match self.leads {
                Leads::OnAThread => drop(tokio::task::spawn_blocking(move || leader.lead())),
                Leads::InATask => drop(tokio::runtime::Handle::current().spawn(async move { leader.lead_in_turn().await })),
            }
        }
        drop(gathering);
        Reply(reply)
    }

    fn transact(&self, mut requests: Vec<Box<dyn Request>>) {
        let outcome = self.commit_together(&mut requests).map(|effects| {
            if let Some(effects) = effects {
                (self.publish)(effects);
            }
        });
        for request in requests {
            request.settle(outcome.as_ref().err());
        }
    }

    /// Runs all requests in one transaction and makes it durable. Without anything written there is nothing to commit.
    fn commit_together(&self, requests: &mut [Box<dyn Request>]) -> Result<Option<Effects>, Failure> {
        let transaction = self.database.begin_write().map_err(Failure::before)?;
        let mut wrote = false;
        let effects = {
            let mut batch = Batch::open(&transaction, self.clock.now()).map_err(Failure::before)?;
            for request in requests {
                wrote |= request.perform(&mut batch).map_err(Failure::before)?;
            }
            batch.effects
        };
        if !wrote {
            transaction.abort().map_err(Failure::before)?;
            return Ok(None);
        }
        // A crash in here leaves the file before or after the whole transaction. An error leaves us not knowing which, and redb
        // then refuses every later transaction, so nothing is built on what may be missing.
        transaction.commit().map_err(Failure::within)?;
        Ok(Some(effects))
    }
}

/// The one who commits what gathers.
struct Leader {
    writer: Arc<Writer>,
    in_office: bool,
}

impl Leader {
    fn lead(&mut self) {
        while let Some(requests) = self.next_batch() {
            self.writer.transact(requests);
        }
    }

    async fn lead_in_turn(&mut self) {
        tokio::task::yield_now().await;
        while let Some(requests) = self.next_batch() {
            self.writer.transact(requests);
            tokio::task::yield_now().await;
        }
    }

    /// Takes what has gathered, or steps down.
    fn next_batch(&mut self) -> Option<Vec<Box<dyn Request>>> {
        let mut gathering = locked(&self.writer.gathering);
        self.in_office = !gathering.requests.is_empty();
        gathering.has_leader = self.in_office;
        self.in_office.then(|| mem::take(&mut gathering.requests))
    }
}

impl Drop for Leader {
    /// Leaves the post vacant when its thread never ran or panicked, and refuses whoever gathered: they were in no transaction.
    fn drop(&mut self) {
        if !self.in_office {
            return;
        }
        let left = {
            let mut gathering = locked(&self.writer.gathering);
            gathering.has_leader = false;
            mem::take(&mut gathering.requests)
        };
        let stopped = Failure::before(StorageError::Io(std::io::Error::other("the runtime is shutting down")));
        for request in left {
            request.settle(Some(&stopped));
        }
    }
}

/// Why a transaction failed, for all of its requests.
#[derive(Debug, Clone)]
enum Failure {
    /// Nothing was written.
    Before(Arc<redb::Error>),
    /// It may have been written.
    Within(Arc<redb::Error>),
}

impl Failure {
    fn before(error: impl Into<redb::Error>) -> Self {
        Self::Before(Arc::new(error.into()))
    }

    fn within(error: impl Into<redb::Error>) -> Self {
        Self::Within(Arc::new(error.into()))
    }
}

impl From<&Failure> for StoreError {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Before(error) => Self::Unavailable(Arc::clone(error).into()),
            Failure::Within(error) => Self::Unknown(Arc::clone(error).into()),
        }
    }
}

/// A request on its way through a transaction.
trait Request: Send {
    /// Runs it, and tells whether it wrote.
    fn perform(&mut self, batch: &mut Batch<'_>) -> Result<bool, StorageError>;
    /// Answers whoever asked.
    fn settle(self: Box<Self>, failure: Option<&Failure>);
}

struct Pending<T, F> {
    body: Option<F>,
    outcome: Option<Result<T, StoreError>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Request for Pending<T, F>
where
    T: Send,
    F: FnOnce(&mut Batch<'_>) -> Result<T, Fault> + Send,
{
    fn perform(&mut self, batch: &mut Batch<'_>) -> Result<bool, StorageError> {
        let Some(body) = self.body.take() else { return Ok(false) };
        let outcome = match body(batch) {
            Ok(value) => Ok(value),
            Err(Fault::Refused(error)) => Err(error),
            Err(Fault::Broken(error)) => return Err(error),
        };
        let wrote = outcome.is_ok();
        self.outcome = Some(outcome);
        Ok(wrote)
    }

    fn settle(self: Box<Self>, failure: Option<&Failure>) {
        let answer = match (self.outcome, failure) {
            // What was refused is refused, whatever became of the others.
            (Some(Err(refused)), _) => Err(refused),
            (_, Some(failure)) => Err(failure.into()),
            (Some(Ok(value)), None) => Ok(value),
            (None, None) => return,
        };
        // Whoever asked may have stopped to wait; what happened has happened.
        drop(self.answer.send(answer));
    }
}

/// The answer to a request, once it is durable.
///
/// # Cancel safety
///
/// Safe: it can be polled again, and dropping it does not undo the request.
#[derive(Debug)]
pub(super) struct Reply<T>(oneshot::Receiver<Result<T, StoreError>>);

impl<T> Future for Reply<T> {
    type Output = Result<T, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.0).poll(context));
        Poll::Ready(answer.unwrap_or_else(|_| Err(StoreError::Unknown("the engine stopped before it answered".into()))))
    }
}
