//! Ending a queue's messages: one has ended when its stream does not have it any more.
//!
//! For streams with several replicas. The stream alone tells what is still to be done. The consumer is not asked: what it knows of its
//! deliveries can get lost when its leader changes, and it then passes messages that nobody was given (`passed` sends those once more).
//! It finds out by itself what is gone. Nor is a sequence trusted by itself: after a stream went back in time it is that of another
//! message, a value perhaps, so each is looked at before it is removed.

use super::{
    errors::{Fault, Lapse, refused},
    link::Link,
};
use crate::engine::{Rejection, StoreError};
use async_nats::Subject;
use bytes::Bytes;
use serde_json::json;
use std::sync::Arc;

/// Removes messages of one stream.
#[derive(Debug)]
pub(super) struct Remover {
    link: Arc<Link>,
    stream: String,
}

impl Remover {
    pub(super) fn new(link: Arc<Link>, stream: String) -> Self {
        Self { link, stream }
    }

    /// Removes a message that was delivered with a sequence and on a subject that is its own; one that is gone is removed.
    ///
    /// A crash before the deletion leaves a message that comes again.
    pub(super) async fn remove(&self, sequence: u64, subject: &Subject) -> Result<(), StoreError> {
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
                Err(fault @ Fault::Lapse(Lapse::Refused(_))) => Rejection::Refused(fault.into()).into(),
                Err(fault) => StoreError::Unavailable(fault.into()),
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
    async fn is_anothers(&self, sequence: u64, subject: &Subject) -> Result<bool, Fault> {
        Ok(self.subject_of(sequence).await?.is_some_and(|found| found != subject.as_str()))
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
