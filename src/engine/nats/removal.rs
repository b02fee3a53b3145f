//! Ending a queue's messages: one has ended when its stream does not have it any more.
//!
//! For streams with several replicas. The stream alone tells what is still to be done. The consumer is not asked: what it knows of its
//! deliveries can get lost when its leader changes, and it then passes messages that nobody was given (`passed` sends those once more).
//! It finds out by itself what is gone. Nor is a sequence trusted by itself: after a stream went back in time it is that of another
//! message, a value perhaps. A stream loses its end and never its middle, so where the highest of some messages is what was delivered,
//! no other message has the sequence of a lower one: one look is enough for all that end at the same time.

use super::{
    errors::{Fault, Lapse, refused},
    link::Link,
};
use crate::engine::{Rejection, StoreError, locked};
use async_nats::Subject;
use bytes::Bytes;
use serde_json::json;
use std::{
    mem::take,
    sync::{Arc, Mutex},
};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

/// Removes messages of one stream.
#[derive(Debug)]
pub(super) struct Remover {
    link: Arc<Link>,
    stream: String,
    waiting: Mutex<Waiting>,
    /// At most one task, which ends when nobody waits for a look.
    tasks: TaskTracker,
}

/// Those who want to know whether a message is what it was.
#[derive(Debug, Default)]
struct Waiting {
    looks: Vec<Look>,
    looking: bool,
}

#[derive(Debug)]
struct Look {
    sequence: u64,
    subject: Subject,
    told: oneshot::Sender<Result<bool, Arc<Fault>>>,
}

impl Remover {
    pub(super) fn new(link: Arc<Link>, stream: String) -> Self {
        Self { link, stream, waiting: Mutex::default(), tasks: TaskTracker::new() }
    }

    /// Removes a message that was delivered with a sequence and on a subject that is its own; one that is gone is removed.
    ///
    /// A crash before the deletion leaves a message that comes again.
    pub(super) async fn remove(self: &Arc<Self>, sequence: u64, subject: &Subject) -> Result<(), StoreError> {
        let request = Bytes::from(json!({ "seq": sequence, "no_erase": true }).to_string());
        let verb = format!("STREAM.MSG.DELETE.{}", self.stream);
        let mut patience = self.link.patience();
        let mut lost = false;
        loop {
            let cause = match self.is_anothers(sequence, subject).await {
                Ok(true) => return Ok(()),
                // It is sent once for each look, since the stream could go back in time before it is sent again.
                Ok(false) => match self.link.ask(&verb, request.clone()).await {
                    Ok(_) => return Ok(()),
                    Err(Fault::Api(error)) if error.is_passing() => StoreError::Unavailable(error.into()),
                    // Because it is gone, or for another reason.
                    Err(Fault::Api(error)) => match self.subject_of(sequence).await {
                        Ok(found) if found.as_deref() != Some(subject.as_str()) => return Ok(()),
                        Ok(_) => return Err(refused(error)),
                        Err(_) => StoreError::Unavailable(error.into()),
                    },
                    Err(Fault::Lapse(lapse)) => {
                        lost |= matches!(lapse, Lapse::Lost(_));
                        lapse.unavailable()
                    }
                },
                Err(fault) => match &*fault {
                    Fault::Lapse(Lapse::Refused(_)) => Rejection::Refused(fault.into()).into(),
                    _ => StoreError::Unavailable(fault.into()),
                },
            };
            if matches!(cause, StoreError::Rejected(_)) {
                return Err(cause);
            }
            if !patience.pause().await {
                return Err(if lost { StoreError::Unknown(cause.into()) } else { cause });
            }
        }
    }

    /// Tells whether the sequence of a message is that of another one now. What is gone is nobody's: the deletion, which waits for a
    /// majority, tells.
    async fn is_anothers(self: &Arc<Self>, sequence: u64, subject: &Subject) -> Result<bool, Arc<Fault>> {
        let (told, answer) = oneshot::channel();
        {
            let mut waiting = locked(&self.waiting);
            waiting.looks.push(Look { sequence, subject: subject.clone(), told });
            if !waiting.looking {
                waiting.looking = true;
                self.tasks.spawn(Arc::clone(self).look());
            }
        }
        answer.await.unwrap_or_else(|_| Err(Arc::new(Fault::Lapse(Lapse::Away("nobody looks any more".into())))))
    }

    /// Looks for those who wait, until nobody does. Whoever comes while one look is under way shares the next one.
    async fn look(self: Arc<Self>) {
        loop {
            let mut looks = {
                let mut waiting = locked(&self.waiting);
                waiting.looking = !waiting.looks.is_empty();
                take(&mut waiting.looks)
            };
            if looks.is_empty() {
                return;
            }
            looks.sort_by_key(|look| look.sequence);
            // From the highest down, until one is what it was, as those below it are then, or nobody answers.
            while let Some(Look { sequence, subject, told }) = looks.pop() {
                let found = self.subject_of(sequence).await.map_err(Arc::new);
                let is_it = found.as_ref().is_ok_and(|found| found.as_deref() == Some(subject.as_str()));
                let anothers = found.map(|found| found.is_some() && !is_it);
                if is_it || anothers.is_err() {
                    looks.drain(..).for_each(|look| drop(look.told.send(anothers.clone())));
                }
                // Nobody listens who gave up.
                let _ = told.send(anothers);
            }
        }
    }

    /// Reads on which subject the message with a sequence is; `None` when there is none.
    async fn subject_of(&self, sequence: u64) -> Result<Option<String>, Fault> {
        let request = Bytes::from(json!({ "seq": sequence }).to_string());
        match self.link.ask(&format!("STREAM.MSG.GET.{}", self.stream), request).await {
            Ok(found) => Ok(found["message"]["subject"].as_str().map(str::to_owned)),
            Err(Fault::Api(error)) if error.is_absent() => Ok(None),
            Err(fault) => Err(fault),
        }
    }
}
