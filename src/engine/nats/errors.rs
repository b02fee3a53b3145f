//! What the server and the connection can answer, sorted by what it says of a write: done, not done, or not known.
//!
//! Codes are taken from the JSON that the server sends, not from the client's error enums: async-nats maps only one of the
//! two codes of a conflict. Nothing here decides what to do next.

use crate::{
    engine::{Rejection, StoreError},
    error::BoxError,
};
use async_nats::jetstream::ErrorCode;
use serde::Deserialize;

/// An error in a JetStream answer.
#[derive(Debug, Clone, Deserialize, thiserror::Error)]
#[error("{description} ({})", if *.err_code == 0 { u64::from(*.code) } else { *.err_code })]
pub(super) struct ApiError {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl ApiError {
    fn is(&self, codes: &[ErrorCode]) -> bool {
        codes.iter().any(|c| c.0 == self.err_code)
    }

    /// An expectation did not hold; nothing was stored. The second code comes from replicated streams while another write to
    /// the subject is in flight.
    pub(super) fn is_conflict(&self) -> bool {
        self.is(&[ErrorCode::STREAM_WRONG_LAST_SEQUENCE, ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT])
    }

    /// Tells whether a conflict proves that a write that expected `expected` was not stored, and will not be: whoever answered has
    /// something newer.
    ///
    /// On a replicated stream a publish reaches the leader and, for a moment, also a server that does not know yet that it leads no
    /// more, such as one that stood still. That one refuses by what it knew before, and its refusal comes first, since the leader waits
    /// for a majority. It gives itself away by a sequence that is not above what was expected, or names none.
    pub(super) fn proves_refusal(&self, expected: u64) -> bool {
        let named = self.description.rsplit_once(": ").and_then(|(_, sequence)| sequence.trim().parse::<u64>().ok());
        self.is_conflict() && named.is_some_and(|sequence| sequence > expected)
    }

    /// There is no such message.
    pub(super) fn is_absent(&self) -> bool {
        self.is(&[ErrorCode::NO_MESSAGE_FOUND])
    }

    /// There is no such stream or consumer.
    pub(super) fn is_missing(&self) -> bool {
        self.is(&[ErrorCode::STREAM_NOT_FOUND, ErrorCode::CONSUMER_NOT_FOUND])
    }

    /// There is no such stream.
    pub(super) fn is_without_stream(&self) -> bool {
        self.is(&[ErrorCode::STREAM_NOT_FOUND])
    }

    /// A stream or consumer of this name is there already, and is another one.
    pub(super) fn is_taken(&self) -> bool {
        self.is(&[ErrorCode::STREAM_NAME_EXIST, ErrorCode::CONSUMER_ALREADY_EXISTS, ErrorCode::CONSUMER_NAME_EXIST])
    }

    /// A message id of the batch was seen moments ago; nothing was stored.
    pub(super) fn is_repeated_id(&self) -> bool {
        // 10201: in an atomic batch. 10158: a message with this id is being stored at this moment.
        matches!(self.err_code, 10201 | 10158)
    }

    /// Nothing was stored, and the same request may well succeed in a moment: elections, overload, an abandoned batch.
    pub(super) fn is_passing(&self) -> bool {
        // 10176: the batch is incomplete or was given up. 10210: too many batches are open. 10005: no peers yet.
        self.code == 503 || matches!(self.err_code, 10176 | 10210 | 10005)
    }

    /// Nothing was stored, since there is no room: of the account, of the server or on its disk. Somebody can make some.
    fn is_full(&self) -> bool {
        self.is(&[
            ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
            ErrorCode::MEMORY_RESOURCES_EXCEEDED,
            ErrorCode::STORAGE_RESOURCES_EXCEEDED,
            ErrorCode::STREAM_STORE_FAILED,
        ])
    }

    /// Nothing was stored, since the stream has as much as its owner allows: it is told at once, since only its workers make room.
    pub(super) fn is_at_its_limit(&self) -> bool {
        self.is(&[ErrorCode::STREAM_STORE_FAILED]) && self.description.contains("maximum")
    }

    /// There is no JetStream here, and that does not pass.
    pub(super) fn is_without_jetstream(&self) -> bool {
        self.is(&[ErrorCode::JETSTREAM_NOT_ENABLED, ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT])
    }
}

/// How a request to the server failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lapse {
    /// Nothing has left this process.
    #[error("nothing was sent")]
    Away(#[source] BoxError),
    /// Nobody listens: no leader, no such stream. Nothing was done.
    #[error("no server answers for this stream")]
    Deaf,
    /// It may have arrived, and may still arrive.
    #[error("the answer was lost")]
    Lost(#[source] BoxError),
    /// It is larger than the server takes, or the server does not permit it. Nothing was done, and nothing will be.
    #[error("the message cannot be sent")]
    Refused(#[source] BoxError),
}

impl Lapse {
    /// What a request that changes nothing says when it failed.
    pub(super) fn unavailable(self) -> StoreError {
        match self {
            Self::Away(source) | Self::Lost(source) => StoreError::Unavailable(source),
            Self::Deaf => StoreError::Unavailable("no server answers for this stream".into()),
            Self::Refused(source) => Rejection::Refused(source).into(),
        }
    }
}

/// How a request that changes something failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The server said no.
    #[error(transparent)]
    Api(ApiError),
    /// The server said nothing.
    #[error(transparent)]
    Lapse(Lapse),
}

impl Fault {
    /// The server said something that nobody understands.
    pub(super) fn unreadable(error: BoxError) -> Self {
        Self::Lapse(Lapse::Lost(error))
    }

    /// Nothing was stored, for a reason that lies in what was sent.
    pub(super) fn is_rejection(&self) -> bool {
        match self {
            Self::Api(error) => !error.is_passing(),
            Self::Lapse(lapse) => matches!(lapse, Lapse::Refused(_)),
        }
    }
}

/// What remains of a refusal after what can be retried was retried.
pub(super) fn refused(error: ApiError) -> StoreError {
    let passes = (error.is_passing() && !error.is_without_jetstream()) || error.is_full();
    if passes { StoreError::Unavailable(error.into()) } else { Rejection::Refused(error.into()).into() }
}

/// What is stored cannot be read; it is left as it is.
pub(super) fn corrupt(at: &str, source: impl Into<BoxError>) -> StoreError {
    Rejection::Corrupt { at: at.to_owned(), source: source.into() }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conflict(code: u64, description: &str) -> ApiError {
        ApiError { code: 400, err_code: code, description: description.to_owned() }
    }

    #[test]
    fn a_refusal_by_somebody_who_is_behind_proves_nothing() {
        let named = |sequence| conflict(ErrorCode::STREAM_WRONG_LAST_SEQUENCE.0, &format!("wrong last sequence: {sequence}"));
        assert!(named(8).proves_refusal(7), "another write was first");
        assert!(!named(6).proves_refusal(7), "it does not even have what was expected");
        assert!(!named(0).proves_refusal(7), "it has nothing at all");
        assert!(!named(7).proves_refusal(7), "what was expected is there, and it is refused all the same");
        let constant = conflict(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT.0, "wrong last sequence");
        assert!(!constant.proves_refusal(7), "another write is under way, as far as it knows");
        assert!(!conflict(10_008, "no quorum: 9").proves_refusal(7), "no conflict");
    }
}
