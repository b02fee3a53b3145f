//! How a node's work fails: the cause, and what the runtime shall do about it.
//!
//! Like `anyhow::Error`, a [`NodeError`] is no `std::error::Error` itself, so that `?` turns every error into one. It carries a
//! wish, not a decision: whether another attempt is left is the retry policy's to say.

pub use crate::core::machine::Disposition;
use crate::error::BoxError;
use std::{error::Error, fmt, fmt::Write as _, time::Duration};

/// What a node returns: its output, or why there is none.
pub type NodeResult<T> = Result<T, NodeError>;

/// Why a node failed. Any error becomes a retryable one through `?`; [`NodeResultExt`] and the constructors make the others.
///
/// ```
/// use anabranch::{Disposition, NodeError, NodeResult, NodeResultExt};
///
/// fn parse(text: &str) -> NodeResult<u16> {
///     Ok(text.parse::<u16>()?)
/// }
/// fn positive(text: &str) -> NodeResult<u16> {
///     match parse(text)? {
///         0 => Err("zero is no port").terminal(),
///         port => Ok(port),
///     }
/// }
/// assert_eq!(positive("many").unwrap_err().disposition(), Disposition::Retry { after: None });
/// assert_eq!(positive("0").unwrap_err().disposition(), Disposition::Terminal);
/// assert_eq!(positive("0").unwrap_err().message(), "zero is no port");
/// ```
pub struct NodeError {
    cause: BoxError,
    disposition: Disposition,
}

impl NodeError {
    /// Makes an error that another attempt may avoid, as `?` does.
    ///
    /// Takes what `?` does not: a text, or an error such as `anyhow::Error` that is boxed already.
    pub fn retryable(cause: impl Into<BoxError>) -> Self {
        Self { cause: cause.into(), disposition: Disposition::Retry { after: None } }
    }

    /// Makes an error that no further attempt can avoid.
    pub fn terminal(cause: impl Into<BoxError>) -> Self {
        Self { cause: cause.into(), disposition: Disposition::Terminal }
    }

    /// Makes an error that asks for another attempt, not before `delay` has passed.
    pub fn retry_after(cause: impl Into<BoxError>, delay: Duration) -> Self {
        Self { cause: cause.into(), disposition: Disposition::Retry { after: Some(delay) } }
    }

    /// Asks to be called again in `after`: nothing is wrong, it is only too early. The attempt does not count.
    #[must_use]
    pub fn throttled(after: Duration) -> Self {
        Self { cause: "throttled".into(), disposition: Disposition::Snooze { after } }
    }

    /// Returns what the runtime shall do about it.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        self.disposition
    }

    /// Returns the cause, for a caller that knows its type.
    #[must_use]
    pub fn cause(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.cause
    }

    /// Writes the cause and the causes of the cause: `outer: inner: innermost`.
    ///
    /// A cause that the error before it has written already is not repeated.
    #[must_use]
    pub fn message(&self) -> String {
        let mut message = self.cause.to_string();
        let causes = std::iter::successors(self.cause.source(), |&cause| cause.source());
        for text in causes.map(ToString::to_string) {
            if !message.ends_with(&text) {
                let _ = write!(message, ": {text}");
            }
        }
        message
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for NodeError {
    fn from(cause: E) -> Self {
        Self::retryable(cause)
    }
}

impl From<NodeError> for BoxError {
    /// Gives up the wish and keeps the cause.
    fn from(error: NodeError) -> Self {
        error.cause
    }
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())
    }
}

impl fmt::Debug for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeError").field("cause", &self.cause).field("disposition", &self.disposition).finish()
    }
}

/// Says what shall be done about an error, where it is returned.
pub trait NodeResultExt<T> {
    /// Marks the error as one that no further attempt can avoid.
    ///
    /// # Errors
    ///
    /// The error, with [`Disposition::Terminal`].
    fn terminal(self) -> NodeResult<T>;

    /// Marks the error as one that another attempt may avoid; for texts and boxed errors, which `?` does not take.
    ///
    /// # Errors
    ///
    /// The error, with [`Disposition::Retry`].
    fn retryable(self) -> NodeResult<T>;

    /// Marks the error as one that another attempt may avoid, not before `delay` has passed.
    ///
    /// # Errors
    ///
    /// The error, with [`Disposition::Retry`] and the delay.
    fn retry_after(self, delay: Duration) -> NodeResult<T>;
}

impl<T, E: Into<BoxError>> NodeResultExt<T> for Result<T, E> {
    fn terminal(self) -> NodeResult<T> {
        self.map_err(NodeError::terminal)
    }

    fn retryable(self) -> NodeResult<T> {
        self.map_err(NodeError::retryable)
    }

    fn retry_after(self, delay: Duration) -> NodeResult<T> {
        self.map_err(|cause| NodeError::retry_after(cause, delay))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Self>>,
    }

    fn layers(texts: &[&'static str]) -> Option<Box<Layer>> {
        let (text, rest) = texts.split_first()?;
        Some(Box::new(Layer { text, source: layers(rest) }))
    }

    fn message(texts: &[&'static str]) -> String {
        NodeError::retryable(*layers(texts).unwrap()).message()
    }

    #[test]
    fn any_error_is_retryable_through_the_question_mark() {
        let read = || -> NodeResult<()> { Err(std::io::Error::other("away"))? };
        assert_eq!(read().unwrap_err().disposition(), Disposition::Retry { after: None });
    }

    #[test]
    fn an_error_says_what_shall_be_done_about_it() {
        let second = Duration::from_secs(1);
        let fail = || Err::<(), _>("no");
        assert_eq!(fail().terminal().unwrap_err().disposition(), Disposition::Terminal);
        assert_eq!(fail().retryable().unwrap_err().disposition(), Disposition::Retry { after: None });
        assert_eq!(fail().retry_after(second).unwrap_err().disposition(), Disposition::Retry { after: Some(second) });
        assert_eq!(NodeError::throttled(second).disposition(), Disposition::Snooze { after: second });
        let again = fail().retryable().terminal().unwrap_err();
        assert_eq!((again.disposition(), again.message().as_str()), (Disposition::Terminal, "no"), "the last word counts");
    }

    #[test]
    fn a_message_is_the_whole_chain_and_repeats_nothing() {
        assert_eq!(message(&["cannot charge", "the bank is away", "timeout"]), "cannot charge: the bank is away: timeout");
        assert_eq!(message(&["cannot charge: timeout", "timeout"]), "cannot charge: timeout");
    }

    #[test]
    fn the_cause_keeps_its_type() {
        let error = NodeError::from(std::io::Error::from(std::io::ErrorKind::NotFound));
        let kind = error.cause().downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        assert_eq!(kind, Some(std::io::ErrorKind::NotFound));
    }
}
