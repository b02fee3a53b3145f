//! What a `nats://` URL says: servers, credentials, and how streams are created.
//!
//! An option that is not known is an error, since a misspelt `replicas` would cost durability silently. Nothing is connected
//! here.

use crate::engine::OpenError;
use std::time::Duration;

/// How to reach the servers, and what to create there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) servers: Vec<String>,
    pub(super) replicas: usize,
    pub(super) memory: bool,
    pub(super) shares_writes: bool,
    pub(super) prefix: String,
    pub(super) user: Option<(String, String)>,
    pub(super) token: Option<String>,
    pub(super) name: String,
    /// How long an operation tries before it gives up.
    pub(super) timeout: Duration,
}

impl Options {
    /// Reads `nats://[user:password@]host[:port][,host...][?option=value&...]`.
    pub(super) fn parse(url: &str) -> Result<Self, OpenError> {
        let bad = || OpenError::Url(url.to_owned());
        let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
        let (hosts, query) = rest.split_once('?').unwrap_or((rest, ""));
        let servers: Vec<_> =
            hosts.trim_end_matches('/').split(',').filter(|h| !h.is_empty()).map(|h| format!("{scheme}://{h}")).collect();
        if servers.is_empty() {
            return Err(bad());
        }
        let mut options = Self {
            servers,
            replicas: 1,
            memory: false,
            shares_writes: false,
            prefix: String::new(),
            user: None,
            token: None,
            name: "anabranch".to_owned(),
            timeout: Duration::from_secs(10),
        };
        let (mut user, mut password) = (None, String::new());
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (option, value) = pair.split_once('=').ok_or_else(bad)?;
            let value = unescape(value).ok_or_else(bad)?;
            match option {
                "replicas" => options.replicas = value.parse().ok().filter(|n| matches!(n, 1..=5)).ok_or_else(bad)?,
                "storage" if value == "file" => options.memory = false,
                "storage" if value == "memory" => options.memory = true,
                "writes" if value == "single" => options.shares_writes = false,
                "writes" if value == "shared" => options.shares_writes = true,
                "prefix" => {
                    let plain = value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
                    options.prefix = Some(value).filter(|v| plain && v.len() <= 64).ok_or_else(bad)?;
                }
                "user" => user = Some(value),
                "password" => password = value,
                "token" => options.token = Some(value),
                "name" => options.name = value,
                "timeout" => options.timeout = duration(&value).ok_or_else(bad)?,
                _ => return Err(bad()),
            }
        }
        options.user = user.map(|u| (u, password));
        Ok(options)
    }

    /// How long one request waits for its answer before the outcome counts as lost.
    pub(super) fn attempt(&self) -> Duration {
        (self.timeout / 4).clamp(Duration::from_millis(100), Duration::from_secs(3))
    }
}

/// Reads `10s` or `500ms`; at least 100 milliseconds.
fn duration(text: &str) -> Option<Duration> {
    let found = match text.strip_suffix("ms") {
        Some(millis) => Duration::from_millis(millis.parse().ok()?),
        None => Duration::from_secs(text.strip_suffix('s')?.parse().ok()?),
    };
    (found >= Duration::from_millis(100)).then_some(found)
}

/// Undoes percent encoding.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_servers_and_options() {
        let o = Options::parse("nats://a:1,b?replicas=3&storage=memory&prefix=x-&user=u&password=p%40&timeout=500ms").unwrap();
        assert_eq!(o.servers, ["nats://a:1", "nats://b"]);
        assert_eq!((o.replicas, o.memory, o.prefix.as_str()), (3, true, "x-"));
        assert_eq!(o.user, Some(("u".into(), "p@".into())));
        assert_eq!(o.timeout, Duration::from_millis(500));
    }

    #[test]
    fn a_misspelt_option_is_an_error() {
        for bad in
            ["nats://a?replica=3", "nats://a?replicas=0", "nats://a?storage=disk", "nats://", "nats://a?timeout=5", "nats:a"]
        {
            assert!(Options::parse(bad).is_err(), "{bad}");
        }
    }
}
