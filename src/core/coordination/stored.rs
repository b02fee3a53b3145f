//! What is said of stored bytes that are not the object that is looked for.

/// The bytes are something else, or not as this version writes them. They are left as they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotThis {
    /// They are of another kind of object, or of none.
    #[error("it is of kind {found}, and a {wanted} is of kind {kind}")]
    Kind {
        /// The object that was looked for.
        wanted: &'static str,
        /// Its kind.
        kind: u32,
        /// The kind that is stored; zero when there is none.
        found: u32,
    },
    /// They are of this kind, and contradict themselves.
    #[error("{0}")]
    Broken(&'static str),
    /// They are no protobuf, or protobuf of another shape.
    #[error("it is no protobuf message of this shape: {0}")]
    Shape(String),
}

impl NotThis {
    /// Says what protobuf says.
    pub(in crate::core) fn shape(error: prost::DecodeError) -> Self {
        Self::Shape(error.to_string())
    }

    /// Accepts one kind only.
    pub(in crate::core) fn unless_kind(found: u32, kind: u32, wanted: &'static str) -> Result<(), Self> {
        if found == kind { Ok(()) } else { Err(Self::Kind { wanted, kind, found }) }
    }
}
