//! Who this process is to the servers, and whom it trusts: passwords, keys, credentials and certificates.
//!
//! A secret is never shown, neither by `Debug` nor in an error. Files are read for every connection anew, so that what was
//! renewed on disk is used without a restart; that they can be read is checked first, so that what is missing is named. Which
//! option says what is the business of [`Options`](super::options::Options).

use crate::{
    engine::{Rejection, StoreError},
    error::BoxError,
};
use async_nats::{
    Auth, AuthError, ConnectError, ConnectErrorKind, ConnectOptions, ServerError,
    rustls::{self, crypto::CryptoProvider},
};
use nkeys::KeyPair;
use std::{
    error::Error,
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How a connection says who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Login {
    Nobody,
    Password(String, Secret),
    Token(Secret),
    /// A file with the seed of an nkey.
    Key(PathBuf),
    /// A file with a JWT and the seed of its nkey.
    Credentials(PathBuf),
}

/// What is asked of a connection that is to be encrypted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tls {
    /// A file with the certificates to trust, instead of the system's.
    pub(super) authorities: Option<PathBuf>,
    /// Files with a certificate for the client, and its key.
    pub(super) identity: Option<(PathBuf, PathBuf)>,
}

/// Everything about access to the servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) login: Login,
    /// `None` leaves it to the server whether the connection is encrypted.
    pub(super) tls: Option<Tls>,
}

impl Access {
    /// Refuses files that cannot be used, by their names.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        let access = self.clone();
        let checked = tokio::task::spawn_blocking(move || {
            match &access.login {
                Login::Key(path) | Login::Credentials(path) => {
                    access.login.sign(b"").map_err(|e| Unusable::new(path, e)).map(drop)
                }
                _ => Ok(()),
            }?;
            let mut files = access.tls.iter().flat_map(Tls::files);
            files.try_for_each(|path| fs::File::open(path).map_err(|e| Unusable::new(path, e)).map(drop))
        });
        let checked = checked.await.map_err(|stopped| StoreError::Unavailable(stopped.into()))?;
        checked.map_err(|unusable| Rejection::Refused(unusable.into()).into())
    }

    /// Starts the options of a connection.
    pub(super) fn options(&self) -> ConnectOptions {
        let connect = match &self.login {
            Login::Nobody => ConnectOptions::new(),
            Login::Password(user, password) => ConnectOptions::with_user_and_password(user.clone(), password.0.clone()),
            Login::Token(token) => ConnectOptions::with_token(token.0.clone()),
            login @ (Login::Key(_) | Login::Credentials(_)) => {
                let login = login.clone();
                ConnectOptions::with_auth_callback(move |nonce| {
                    let login = login.clone();
                    async move {
                        let signed = tokio::task::spawn_blocking(move || login.sign(&nonce)).await;
                        signed.map_err(AuthError::new)?.map_err(AuthError::new)
                    }
                })
            }
        };
        match &self.tls {
            Some(tls) => tls.apply(connect),
            None => connect,
        }
    }
}

impl Login {
    /// The option of the URL that says it.
    pub(super) fn option(&self) -> &'static str {
        match self {
            Self::Nobody | Self::Password(..) => "user",
            Self::Token(_) => "token",
            Self::Key(_) => "nkey",
            Self::Credentials(_) => "creds",
        }
    }

    /// Answers the challenge of a server.
    fn sign(&self, nonce: &[u8]) -> Result<Auth, BoxError> {
        let mut auth = Auth::new();
        let pair = match self {
            Self::Key(path) => {
                let text = fs::read_to_string(path)?;
                let seed =
                    text.lines().map(str::trim).find(|line| line.starts_with('S')).ok_or("it holds no seed of an nkey")?;
                let pair = KeyPair::from_seed(seed)?;
                auth.nkey = Some(pair.public_key());
                pair
            }
            Self::Credentials(path) => {
                let text = fs::read_to_string(path)?;
                let lines = || text.lines().map(str::trim);
                let mut blocks =
                    lines().zip(lines().skip(1)).filter(|(l, _)| l.starts_with("-----BEGIN")).map(|(_, block)| block);
                let (Some(jwt), Some(seed)) = (blocks.next(), blocks.next()) else {
                    return Err("it holds no credentials".into());
                };
                auth.jwt = Some(jwt.to_owned());
                KeyPair::from_seed(seed)?
            }
            _ => return Ok(auth),
        };
        auth.signature = Some(pair.sign(nonce)?);
        Ok(auth)
    }
}

impl Tls {
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.authorities.iter().chain(self.identity.iter().flat_map(|(certificate, key)| [certificate, key]))
    }

    fn apply(&self, connect: ConnectOptions) -> ConnectOptions {
        // What rustls does by itself where it knows one provider; where it knows two it would panic.
        if CryptoProvider::get_default().is_none() {
            // It fails when somebody else installed one at this moment, which does as well.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let mut connect = connect.require_tls(true);
        if let Some(path) = &self.authorities {
            connect = connect.add_root_certificates(path.clone());
        }
        if let Some((certificate, key)) = &self.identity {
            connect = connect.add_client_certificate(certificate.clone(), key.clone());
        }
        connect
    }
}

/// A file that was named and cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("`{}` cannot be used: {source}", path.display())]
struct Unusable {
    path: PathBuf,
    source: BoxError,
}

impl Unusable {
    fn new(path: &Path, source: impl Into<BoxError>) -> Self {
        Self { path: path.to_owned(), source: source.into() }
    }
}

/// Tells whether the next try to connect would fail in the same way.
pub(super) fn is_final(error: &ConnectError) -> bool {
    use ConnectErrorKind::{Authentication, AuthorizationViolation, ServerParse, Tls};
    if matches!(error.kind(), Authentication | AuthorizationViolation | ServerParse | Tls) {
        return true;
    }
    let mut cause = error.source();
    while let Some(inner) = cause {
        // A certificate that one side does not accept comes as an error of the stream.
        if inner
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .is_some_and(|e| e.downcast_ref::<rustls::Error>().is_some())
        {
            return true;
        }
        if let Some(ServerError::Other(text)) = inner.downcast_ref() {
            let text = text.to_ascii_lowercase();
            return ["expired", "revoked", "tls required"].iter().any(|word| text.contains(word));
        }
        cause = inner.source();
    }
    false
}
