//! A kind of job: its name, and how its payload is written.
//!
//! A topic turns a payload into a message and nothing more, so that a message of it can be part of any commit. It does not know
//! queues or handlers.

use crate::{
    codec::{Codec, CodecError},
    engine::Message,
    telemetry,
};
use std::{borrow::Cow, fmt};

/// The header that names a job's topic.
pub const JOB_TOPIC: &str = "Job-Topic";
/// The header that names a job whose message has another id than the job.
pub const JOB_ID: &str = "Job-Id";
/// The header that tells how often a job was put back after it had been given up.
pub const GENERATION: &str = "Job-Generation";

/// A kind of job.
///
/// ```
/// use anabranch::{Codec, jobs::Topic};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Email {
///     to: String,
/// }
/// const WELCOME: Topic<Email> = Topic::new("welcome", Codec::json());
///
/// let message = WELCOME.message(&Email { to: "ann".into() })?.id("welcome-ann");
/// assert_eq!(message.headers.get("Job-Topic"), Some("welcome"));
/// # Ok::<(), anabranch::CodecError>(())
/// ```
pub struct Topic<T> {
    name: Cow<'static, str>,
    codec: Codec<T>,
}

impl<T> Topic<T> {
    /// Names a topic. The empty name is that of messages without the header [`JOB_TOPIC`].
    #[must_use]
    pub const fn new(name: &'static str, codec: Codec<T>) -> Self {
        Self { name: Cow::Borrowed(name), codec }
    }

    /// Names a topic by a name that is known when the program runs.
    #[must_use]
    pub fn named(name: impl Into<String>, codec: Codec<T>) -> Self {
        Self { name: Cow::Owned(name.into()), codec }
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns how its payloads are written.
    #[must_use]
    pub fn codec(&self) -> Codec<T> {
        self.codec
    }

    /// Makes the message of a job, with the trace that the caller is in. Give it an id where the job shall be found or be unique.
    ///
    /// # Errors
    ///
    /// [`CodecError`] when the encoding cannot hold this payload.
    pub fn message(&self, payload: &T) -> Result<Message, CodecError> {
        let mut message = Message::new(self.codec.encode(payload)?);
        if !self.name.is_empty() {
            message.headers.set(JOB_TOPIC, &*self.name);
        }
        if let Some(trace) = telemetry::current() {
            telemetry::inject(&trace, |name, value| message.headers.set(name, value));
        }
        Ok(message)
    }
}

impl<T> Clone for Topic<T> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), codec: self.codec }
    }
}

impl<T> fmt::Debug for Topic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topic").field("name", &self.name).field("codec", &self.codec).finish()
    }
}
