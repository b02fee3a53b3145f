//! What is checked of arguments that several objects take.

use super::CoordinationError;
use std::time::Duration;

/// The longest id of a member, a party or an operation, in bytes.
const MAX_ID: usize = 512;

/// Accepts an id of 1 to 512 bytes.
pub(super) fn checked_id(id: &str) -> Result<&str, CoordinationError> {
    if id.is_empty() || id.len() > MAX_ID {
        return Err(CoordinationError::Invalid("an id is 1 to 512 bytes long"));
    }
    Ok(id)
}

/// Accepts a time of at least one second, which is as fine as engines measure it.
pub(super) fn checked_ttl(ttl: Duration) -> Result<Duration, CoordinationError> {
    if ttl < Duration::from_secs(1) {
        return Err(CoordinationError::Invalid("what expires lives at least one second"));
    }
    Ok(ttl)
}
