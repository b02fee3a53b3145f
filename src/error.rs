//! What errors share: the boxed cause. Each room names its own kinds; there is no error type for the whole crate.

/// A cause, kept for `source()`.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;
