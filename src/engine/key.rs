//! Names inside a space: keys, scopes of keys, and the names of spaces and queues.
//!
//! The alphabet is JetStream's for every engine, so that a test on the embedded engine cannot pass with a key that NATS
//! refuses. Text of any other kind goes through [`Key::token`], which is reversible.

use std::fmt::{self, Write as _};

/// The longest key, in bytes. A protocol line of nats-server holds 4,096 bytes and a longer one drops the whole connection;
/// this leaves room for every subject that is built around a key.
pub const MAX_KEY_BYTES: usize = 512;

/// A name is not valid where it was used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name is empty, or one of its tokens is: `a..b`, `.a`, `a.`.
    #[error("`{0}` has an empty token")]
    Empty(String),
    /// A character is outside `A-Z a-z 0-9 - _ = / .`; [`Key::token`] escapes any text.
    #[error("`{name}` has the character {found:?}, which a key cannot hold")]
    Character {
        /// The whole name.
        name: String,
        /// The first character that is not allowed.
        found: char,
    },
    /// The name is longer than the limit.
    #[error("a name of {length} bytes is longer than {limit}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// The most that is allowed.
        limit: usize,
    },
}

/// A key of a [`Store`](super::Store): tokens joined by dots, such as `run.orders.order-42`.
///
/// ```
/// use anabranch::engine::Key;
/// let key = Key::new("run.orders").unwrap().join(&Key::token("order #42"));
/// assert_eq!(key.as_str(), "run.orders.order=20=2342");
/// assert_eq!(Key::untoken("order=20=2342").as_deref(), Some("order #42"));
/// assert!(Key::new("run..orders").is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Box<str>);

impl Key {
    /// Checks `name` and makes it a key.
    ///
    /// # Errors
    ///
    /// [`NameError`] when a token is empty, a character is not allowed, or it exceeds [`MAX_KEY_BYTES`].
    pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        if name.len() > MAX_KEY_BYTES {
            return Err(NameError::TooLong { length: name.len(), limit: MAX_KEY_BYTES });
        }
        check(&name, |c| c == '.' || is_token_char(c))?;
        if name.split('.').any(str::is_empty) {
            return Err(NameError::Empty(name));
        }
        Ok(Self(name.into_boxed_str()))
    }

    /// Makes one token of any text, reversibly: whatever a token cannot hold becomes `=` and two hexadecimal digits.
    #[must_use]
    pub fn token(text: &str) -> String {
        let mut token = String::with_capacity(text.len());
        for byte in text.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/') {
                token.push(char::from(byte));
            } else {
                let _ = write!(token, "={byte:02X}");
            }
        }
        // An empty token is no token; a bare `=` is never produced otherwise.
        if token.is_empty() { "=".to_owned() } else { token }
    }

    /// Reads the text back that [`token`](Self::token) wrote; `None` when it did not write this.
    #[must_use]
    pub fn untoken(token: &str) -> Option<String> {
        if token == "=" {
            return Some(String::new());
        }
        let mut bytes = Vec::with_capacity(token.len());
        let mut rest = token.bytes();
        while let Some(byte) = rest.next() {
            if byte == b'=' {
                let digits = [rest.next()?, rest.next()?];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            } else {
                bytes.push(byte);
            }
        }
        // Two tokens are never one text: what another client spelled otherwise is another key.
        String::from_utf8(bytes).ok().filter(|text| Self::token(text) == token)
    }

    /// Returns the key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the last token.
    #[must_use]
    pub fn last_token(&self) -> &str {
        self.0.rsplit('.').next().unwrap_or(&self.0)
    }

    /// Appends a token that [`token`](Self::token) made, without checking its length: the store checks keys that it is given.
    #[must_use]
    pub fn join(&self, token: &str) -> Self {
        debug_assert!(!token.is_empty() && token.chars().all(is_token_char), "`{token}` is no token");
        Self([&self.0, ".", token].concat().into_boxed_str())
    }

    /// Returns the scope of every key below this one: below `run.orders` is `run.orders.1`, and not `run.orders2`.
    #[must_use]
    pub fn below(&self) -> Scope {
        Scope::Below(self.clone())
    }

    /// Returns the scope of this key and no other.
    #[must_use]
    pub fn alone(&self) -> Scope {
        Scope::Only(self.clone())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0)
    }
}

/// Some keys of a space.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Every key.
    All,
    /// Every key below this one.
    Below(Key),
    /// This key.
    Only(Key),
}

impl Scope {
    /// Tells whether `key` is in this scope.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        match self {
            Self::All => true,
            Self::Below(above) => key.strip_prefix(above.as_str()).is_some_and(|rest| rest.starts_with('.')),
            Self::Only(one) => key == one.as_str(),
        }
    }
}

/// The name of a space or of a queue: `A-Z a-z 0-9 - _`, 1 to 64 characters, since it becomes part of a stream's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

impl Name {
    /// The longest name, in characters.
    pub const MAX: usize = 64;

    /// Checks `name`.
    ///
    /// # Errors
    ///
    /// [`NameError`] when it is empty, longer than [`MAX`](Self::MAX), or has another character.
    pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        if name.is_empty() {
            return Err(NameError::Empty(name));
        }
        if name.len() > Self::MAX {
            return Err(NameError::TooLong { length: name.len(), limit: Self::MAX });
        }
        check(&name, |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))?;
        Ok(Self(name.into_boxed_str()))
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '=' | '/')
}

fn check(name: &str, allowed: impl Fn(char) -> bool) -> Result<(), NameError> {
    match name.chars().find(|c| !allowed(*c)) {
        Some(found) => Err(NameError::Character { name: name.to_owned(), found }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_survives_the_way_through_a_token() {
        for text in ["", "order-42", "a.b", "x=y", "\u{fc}n\u{ef}", "a b\n", "=", "/"] {
            let token = Key::token(text);
            assert!(Key::new(token.clone()).is_ok(), "{token}");
            assert!(!token.contains('.'));
            assert_eq!(Key::untoken(&token).as_deref(), Some(text));
        }
        assert_eq!(Key::untoken("=Z"), None);
    }

    #[test]
    fn a_token_that_no_text_becomes_is_read_as_none() {
        // Read as `A`, each of them would be a second key of one name.
        for token in ["=41", "=2a", "=+5", "a.b", "a b", "\u{fc}", ""] {
            assert_eq!(Key::untoken(token), None, "{token:?}");
        }
    }

    #[test]
    fn a_scope_has_whole_tokens_only() {
        let key = Key::new("run.orders").unwrap();
        let (below, alone) = (key.below(), key.alone());
        assert!(below.has("run.orders.1") && below.has("run.orders.1.2"));
        assert!(!below.has("run.orders") && !below.has("run.orders2.1"));
        assert!(alone.has("run.orders") && !alone.has("run.orders.1") && !alone.has("run.orders2"));
        assert!(Scope::All.has("anything"));
    }

    #[test]
    fn what_nats_would_refuse_is_refused_here() {
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "a*", "a>", "a:b", "\u{e4}"] {
            assert!(Key::new(bad).is_err(), "{bad:?}");
        }
        assert!(Key::new("a".repeat(MAX_KEY_BYTES + 1)).is_err());
        assert!(Name::new("orders").is_ok() && Name::new("or.ders").is_err() && Name::new("").is_err());
    }
}
