//! What a `nats://` URL says: servers, access, and how streams are created.
//!
//! An option that is not known is an error, since a misspelt `replicas` would cost durability silently. No error shows a value:
//! it may be a secret. Nothing is connected here, and no file is read.

use super::access::{Access, Login, Secret, Tls};
use crate::engine::OpenError;
use std::{path::PathBuf, time::Duration};

/// How to reach the servers, and what to create there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) servers: Vec<String>,
    pub(super) access: Access,
    pub(super) replicas: usize,
    pub(super) memory: bool,
    pub(super) shares_writes: bool,
    pub(super) prefix: String,
    pub(super) name: String,
    /// How long an operation tries before it gives up.
    pub(super) timeout: Duration,
}

impl Options {
    /// Reads `nats://[user:password@]host[:port][,host...][?option=value&...]`.
    pub(super) fn parse(url: &str) -> Result<Self, OpenError> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| OpenError::Url("nats:".to_owned()))?;
        let bad = || OpenError::Url(format!("{scheme}://"));
        let encrypted = match scheme {
            "nats" => false,
            "tls" => true,
            _ => return Err(bad()),
        };
        let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut logins = Vec::new();
        let mut servers = Vec::new();
        for host in authority.trim_end_matches('/').split(',').filter(|h| !h.is_empty()) {
            let (who, host) = host.rsplit_once('@').map_or((None, host), |(who, host)| (Some(who), host));
            if host.is_empty() {
                return Err(bad());
            }
            servers.push(format!("{scheme}://{host}"));
            let Some(who) = who else { continue };
            let login = match who.split_once(':') {
                Some((user, password)) => {
                    Login::Password(unescape(user).ok_or_else(bad)?, Secret(unescape(password).ok_or_else(bad)?))
                }
                // As in other NATS clients.
                None => Login::Token(Secret(unescape(who).ok_or_else(bad)?)),
            };
            // Each server may repeat it.
            if !logins.contains(&login) {
                logins.push(login);
            }
        }
        if servers.is_empty() {
            return Err(bad());
        }
        let mut options = Self {
            servers,
            access: Access { login: Login::Nobody, tls: encrypted.then(Tls::default) },
            replicas: 1,
            memory: false,
            shares_writes: false,
            prefix: String::new(),
            name: "anabranch".to_owned(),
            timeout: Duration::from_secs(10),
        };
        let (mut user, mut password, mut certificate, mut key) = (None, None, None, None);
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (option, value) = pair.split_once('=').unwrap_or((pair, ""));
            let bad = || OpenError::Option(option.to_owned());
            let value = unescape(value).filter(|v| !v.is_empty()).ok_or_else(bad)?;
            let tls = &mut options.access.tls;
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
                "password" => password = Some(value),
                "token" => logins.push(Login::Token(Secret(value))),
                "nkey" => logins.push(Login::Key(value.into())),
                "creds" => logins.push(Login::Credentials(value.into())),
                "tls" if value == "required" => _ = tls.get_or_insert_default(),
                "ca" => tls.get_or_insert_default().authorities = Some(value.into()),
                "cert" => certificate = Some(PathBuf::from(value)),
                "key" => key = Some(PathBuf::from(value)),
                "name" => options.name = value,
                "timeout" => options.timeout = duration(&value).ok_or_else(bad)?,
                _ => return Err(bad()),
            }
        }
        let alone = |option: &str| Err(OpenError::Option(option.to_owned()));
        match (user, password) {
            (Some(user), password) => logins.push(Login::Password(user, Secret(password.unwrap_or_default()))),
            (None, Some(_)) => return alone("password"),
            (None, None) => {}
        }
        match (certificate, key) {
            (Some(certificate), Some(key)) => {
                options.access.tls.get_or_insert_default().identity = Some((certificate, key));
            }
            (Some(_), None) => return alone("cert"),
            (None, Some(_)) => return alone("key"),
            (None, None) => {}
        }
        options.access.login = match logins.len() {
            0 => Login::Nobody,
            1 => logins.remove(0),
            // Which one counts should not depend on their order.
            _ => return alone(logins[1].option()),
        };
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
        assert_eq!(o.access.login, Login::Password("u".into(), Secret("p@".into())));
        assert_eq!(o.timeout, Duration::from_millis(500));
    }

    #[test]
    fn a_misspelt_option_is_an_error_that_names_it() {
        for (bad, name) in [
            ("nats://a?replica=3", "replica"),
            ("nats://a?replicas=0", "replicas"),
            ("nats://a?storage=disk", "storage"),
            ("nats://a?timeout=5", "timeout"),
            ("nats://a?tls=maybe", "tls"),
            ("nats://a?user", "user"),
        ] {
            assert!(matches!(Options::parse(bad), Err(OpenError::Option(option)) if option == name), "{bad}");
        }
        for bad in ["nats://", "nats:a", "http://a", "nats://u:p@"] {
            assert!(matches!(Options::parse(bad), Err(OpenError::Url(_))), "{bad}");
        }
    }

    #[test]
    fn a_url_says_who_it_is_in_one_way() {
        let login = |url: &str| Options::parse(url).unwrap().access.login;
        assert_eq!(login("nats://a"), Login::Nobody);
        assert_eq!(login("nats://u%40:p%3A:q@a,u%40:p%3A:q@b"), Login::Password("u@".into(), Secret("p::q".into())));
        assert_eq!(login("nats://t0ken@a"), Login::Token(Secret("t0ken".into())));
        assert_eq!(login("nats://a?token=t0ken"), Login::Token(Secret("t0ken".into())));
        assert_eq!(login("nats://a?nkey=/keys/a.nk"), Login::Key("/keys/a.nk".into()));
        assert_eq!(login("nats://a?creds=a.creds"), Login::Credentials("a.creds".into()));
        for bad in ["nats://u:p@a,v:p@b", "nats://u:p@a?token=t", "nats://a?token=t&creds=c", "nats://a?password=p"] {
            assert!(matches!(Options::parse(bad), Err(OpenError::Option(_))), "{bad}");
        }
    }

    #[test]
    fn a_url_says_what_it_trusts() {
        let tls = |url: &str| Options::parse(url).unwrap().access.tls;
        assert_eq!(tls("nats://a"), None);
        assert_eq!(tls("tls://a"), Some(Tls::default()));
        assert_eq!(tls("nats://a?tls=required"), Some(Tls::default()));
        assert_eq!(tls("nats://a?ca=c.pem"), Some(Tls { authorities: Some("c.pem".into()), identity: None }));
        let identity = Some(("c.pem".into(), "k.pem".into()));
        assert_eq!(tls("nats://a?cert=c.pem&key=k.pem"), Some(Tls { authorities: None, identity }));
        for bad in ["nats://a?cert=c.pem", "nats://a?key=k.pem"] {
            assert!(matches!(Options::parse(bad), Err(OpenError::Option(_))), "{bad}");
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        for url in ["nats://user:s3cret@a", "nats://s3cret@a", "nats://a?token=s3cret", "nats://a?user=u&password=s3cret"] {
            let shown = format!("{:?}", Options::parse(url).unwrap());
            assert!(!shown.contains("s3cret"), "{shown}");
        }
        for url in [
            "nats://u:s3cret@a?pasword=x",
            "nats://a?pasword=s3cret",
            "nats://a?user=u&password=%s3cret",
            "s3cret",
            "nats://s3cret@",
        ] {
            let error = Options::parse(url).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        }
    }
}
