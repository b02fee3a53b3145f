//! Any text as a name, a key, a scope and a subject.

use crate::engine::{Key, MAX_KEY_BYTES, Name, Scope};

/// Reads bytes as texts, one a line, and takes each for a name and for a key.
///
/// # Panics
///
/// When a text does not come back from a token, a key or a subject, or a scope has what it should not.
pub fn keys(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut above: Option<Key> = None;
    for line in text.split('\n') {
        token(line);
        if let Ok(name) = Name::new(line) {
            assert_eq!(name.as_str(), line);
            assert!(Key::new(line).is_ok(), "every name is a key of one token: {line:?}");
            names(&name);
        }
        // What no text becomes is no token.
        if let Some(text) = Key::untoken(line) {
            assert_eq!(Key::token(&text), line, "what is read as a token was written as one");
        }
        if let Ok(key) = Key::new(line) {
            assert_eq!(key.as_str(), line);
            assert!(line.len() <= MAX_KEY_BYTES && line.split('.').all(|token| !token.is_empty()), "{line:?}");
            assert!(line.ends_with(key.last_token()) && !key.last_token().contains('.'), "{line:?}");
            scopes(&key, above.as_ref());
            crate::schedule::doors::key(&key).inspect(|(name, again)| assert_eq!(again.as_ref(), Some(&key), "{name:?}"));
            subjects(&key);
            above = Some(key);
        }
    }
}

/// Any text is a token, and is what it was after it was read back.
fn token(text: &str) {
    let token = Key::token(text);
    assert_eq!(Key::untoken(&token).as_deref(), Some(text), "{token:?}");
    assert!(!token.is_empty() && !token.contains('.'), "{token:?} is one token");
    assert!(token.len() <= 3 * text.len() + 1, "a token has at most three bytes for one");
    if token.len() <= MAX_KEY_BYTES {
        assert!(Key::new(token.as_str()).is_ok(), "{token:?}");
    }
}

fn scopes(key: &Key, above: Option<&Key>) {
    assert!(Scope::All.has(key.as_str()) && key.alone().has(key.as_str()) && !key.below().has(key.as_str()));
    let child = key.join(&Key::token(""));
    assert!(key.below().has(child.as_str()) && !key.alone().has(child.as_str()) && !child.below().has(key.as_str()));
    let Some(above) = above else { return };
    let tokens = |key: &Key| key.as_str().split('.').map(ToOwned::to_owned).collect::<Vec<_>>();
    let (whole, start) = (tokens(key), tokens(above));
    let is_below = whole.len() > start.len() && whole.starts_with(&start);
    assert_eq!(above.below().has(key.as_str()), is_below, "a scope has whole tokens: {key} below {above}");
    assert_eq!(above.alone().has(key.as_str()), key == above);
}

#[cfg(feature = "nats")]
fn names(queue: &Name) {
    use crate::engine::nats::doors;
    for id in ["", ":", "a:b", queue.as_str()] {
        let (wire, again) = doors::id(queue, id);
        assert_eq!(again, id, "{wire:?}");
    }
}

#[cfg(not(feature = "nats"))]
fn names(_: &Name) {}

#[cfg(feature = "nats")]
fn subjects(key: &Key) {
    use crate::engine::nats::doors;
    let space = Name::new("space").expect("it is a name");
    let (subject, again) = doors::subject(&space, key).expect("a key that was checked is a subject");
    assert_eq!(again.as_ref(), Some(key), "{subject:?}");
    assert!(subject.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'*' | b'>')), "{subject:?}");
    // Whatever another client publishes below the space is a key, or none, and not another key.
    if let Some(foreign) = doors::key_of(&space, &format!("$KV.space.{key}.{key}")) {
        assert_eq!(foreign.as_str(), format!("{key}.{key}"));
    }
    assert_eq!(doors::subjects(&space, &key.below()), Some(format!("{subject}.>")));
    assert_eq!(doors::subjects(&space, &key.alone()), Some(subject));
}

#[cfg(not(feature = "nats"))]
fn subjects(_: &Key) {}
