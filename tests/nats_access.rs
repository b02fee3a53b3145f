//! Who may use a server, and which servers are trusted: passwords, tokens, keys, credentials, certificates; each against a
//! server that insists on it.
//!
//! A login that is refused has to be an error at once: the engine's own timeout is ten minutes here, and the test's is one.
#![cfg(feature = "nats")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use anabranch::{
    engine::{Engine, Expect, Key, OpenError, PutOptions, Rejection, StoreError},
    testing::server::{NatsServer, ServerOptions},
    time::{Clock, nonce},
};
use nkeys::KeyPair;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer};
use serde_json::json;
use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

const SECRET: &str = "s3cret:of/the,river@";
/// The secret as a URL has it.
const ESCAPED: &str = "s3cret%3Aof%2Fthe%2Criver%40";

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Some(done) = Clock::system().timeout(Duration::from_secs(60), future).await else { panic!("{what} takes too long") };
    done
}

async fn server(config: impl Into<String>) -> NatsServer {
    ServerOptions::default().config(config).start().await.unwrap()
}

/// The URL of a server with something before its host, and with options.
fn url(server: &NatsServer, scheme: &str, before: &str, query: &str) -> String {
    let host = server.url().replace("nats://", "");
    format!("{scheme}://{before}{host}?timeout=600s&{query}")
}

async fn write(engine: &Engine) -> Result<(), StoreError> {
    let space = engine.space(format!("test-{:x}", nonce())).await?;
    let key = Key::new("k").unwrap();
    space.store().put(&key, "1".into(), Expect::Absent, PutOptions::default()).await.map(drop)
}

/// Opens a URL, writes something, and returns the engine, which must not show the secret.
async fn let_in(url: &str) -> Engine {
    let engine = in_time("opening", Engine::open(url)).await.unwrap();
    in_time("a write", write(&engine)).await.unwrap();
    assert!(!format!("{engine:?}").contains("s3cret"), "{engine:?}");
    engine
}

/// Opens a URL that has to be refused, and returns everything that the error says, which must not be the secret.
async fn refused(url: &str) -> String {
    let error = in_time("the refusal", Engine::open(url)).await.unwrap_err();
    assert!(matches!(error, OpenError::Store(StoreError::Rejected(Rejection::Refused(_)))), "{error:?}");
    let mut said = format!("{error:?}; {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        said.push_str("; ");
        said.push_str(&error.to_string());
        cause = error.source();
    }
    assert!(!said.contains("s3cret"), "{said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_opens_a_server_and_a_wrong_one_is_refused_at_once() {
    let server = server(format!("authorization {{ user: ann, password: \"{SECRET}\" }}")).await;
    let_in(&url(&server, "nats", &format!("ann:{ESCAPED}@"), "")).await;
    let_in(&url(&server, "nats", "", &format!("user=ann&password={ESCAPED}"))).await;
    for (before, query) in
        [("", ""), ("ann:s3cret@", ""), ("bob:s3cret@", ""), ("s3cret@", ""), ("", "user=ann&password=s3cret")]
    {
        let said = refused(&url(&server, "nats", before, query)).await;
        assert!(said.contains("authorization violation"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_a_server_and_a_wrong_one_is_refused_at_once() {
    let server = server(format!("authorization {{ token: \"{SECRET}\" }}")).await;
    let_in(&url(&server, "nats", &format!("{ESCAPED}@"), "")).await;
    let_in(&url(&server, "nats", "", &format!("token={ESCAPED}"))).await;
    let said = refused(&url(&server, "nats", "", "token=s3cret")).await;
    assert!(said.contains("authorization violation"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_a_server_and_is_read_again_when_it_was_renewed() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("user.nk");
    let (first, second) = (KeyPair::new_user(), KeyPair::new_user());
    let users = |pair: &KeyPair| format!("authorization {{ users: [ {{ nkey: {} }} ] }}", pair.public_key());
    let mut server = server(users(&first)).await;
    let query = format!("nkey={}", file.display());

    let said = refused(&url(&server, "nats", "", &query)).await;
    assert!(said.contains("user.nk"), "a file that is missing is named: {said}");
    fs::write(&file, "no key").unwrap();
    let said = refused(&url(&server, "nats", "", &query)).await;
    assert!(said.contains("user.nk") && said.contains("seed"), "{said}");
    fs::write(&file, second.seed().unwrap()).unwrap();
    let said = refused(&url(&server, "nats", "", &query)).await;
    assert!(said.contains("authorization violation"), "{said}");

    fs::write(&file, format!("# of ann\n{}\n", first.seed().unwrap())).unwrap();
    let engine = let_in(&url(&server, "nats", "", &query)).await;
    fs::write(&file, second.seed().unwrap()).unwrap();
    server.reconfigure(users(&second)).unwrap();
    in_time("the way back", async { while write(&engine).await.is_err() {} }).await;
    server.kill();
    server.restart().await.unwrap();
    in_time("the way back", async { while write(&engine).await.is_err() {} }).await;
}

/// Base64 for URLs, without padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for some in bytes.chunks(3) {
        let bits = some.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - some.len()));
        for digit in 0..=some.len() {
            text.push(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize].into());
        }
    }
    text
}

/// A claim of NATS about `subject`, signed by `issuer`.
fn jwt(issuer: &KeyPair, subject: &KeyPair, kind: &str, mut claim: serde_json::Value) -> String {
    claim["type"] = kind.into();
    claim["version"] = 2.into();
    let claims = json!({
        "jti": format!("{:x}", nonce()), "iat": 1_700_000_000, "iss": issuer.public_key(), "sub": subject.public_key(),
        "name": kind, "nats": claim,
    });
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let signed = format!("{}.{}", base64(header.to_string().as_bytes()), base64(claims.to_string().as_bytes()));
    format!("{signed}.{}", base64(&issuer.sign(signed.as_bytes()).unwrap()))
}

fn credentials(user: &KeyPair, jwt: &str) -> String {
    let seed = user.seed().unwrap();
    format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\nKeep it secret.\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_open_a_server_and_others_are_refused_at_once() {
    let scratch = tempfile::tempdir().unwrap();
    let (operator, system, account, user) =
        (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account(), KeyPair::new_user());
    let limits = json!({ "limits": {
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    } });
    let no_storage = json!({ "limits": {
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
    } });
    let server = server(format!(
        "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{\n {}: {}\n {}: {}\n}}",
        jwt(&operator, &operator, "operator", json!({})),
        system.public_key(),
        system.public_key(),
        jwt(&operator, &system, "account", no_storage),
        account.public_key(),
        jwt(&operator, &account, "account", limits),
    ))
    .await;
    let user_claim = || json!({ "subs": -1, "data": -1, "payload": -1 });
    let file = |name: &str, text: String| -> PathBuf {
        let path = scratch.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let open = |path: &Path| url(&server, "nats", "", &format!("creds={}", path.display()));

    let good = file("good.creds", credentials(&user, &jwt(&account, &user, "user", user_claim())));
    let_in(&open(&good)).await;
    let stranger = KeyPair::new_account();
    let bad = file("bad.creds", credentials(&user, &jwt(&stranger, &user, "user", user_claim())));
    let said = refused(&open(&bad)).await;
    assert!(said.contains("authorization violation"), "{said}");
    let said = refused(&open(&file("empty.creds", String::new()))).await;
    assert!(said.contains("empty.creds") && said.contains("no credentials"), "{said}");
}

/// An authority, and files with what it certified.
struct Authority {
    issuer: Issuer<'static, rcgen::KeyPair>,
    directory: PathBuf,
    name: &'static str,
}

impl Authority {
    fn new(directory: &Path, name: &'static str) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        fs::write(directory.join(format!("{name}.pem")), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), directory: directory.to_owned(), name }
    }

    /// The file with its own certificate.
    fn file(&self) -> String {
        self.directory.join(format!("{}.pem", self.name)).display().to_string()
    }

    /// Certifies somebody, and returns the files with the certificate and the key.
    fn certify(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages.push(purpose);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |end: &str, text: String| {
            let path = self.directory.join(format!("{}-{name}.{end}", self.name));
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        (file("crt", certificate.pem()), file("key", key.serialize_pem()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_a_trusted_authority_is_accepted_and_no_other() {
    let scratch = tempfile::tempdir().unwrap();
    let (ours, other) = (Authority::new(scratch.path(), "ours"), Authority::new(scratch.path(), "other"));
    let (certificate, key) = ours.certify("server", ExtendedKeyUsagePurpose::ServerAuth);
    let server = server(format!("tls {{ cert_file: \"{certificate}\", key_file: \"{key}\" }}")).await;
    let trust = |authority: &Authority| format!("ca={}", authority.file());
    let_in(&url(&server, "tls", "", &trust(&ours))).await;
    let_in(&url(&server, "nats", "", &trust(&ours))).await;
    let_in(&url(&server, "nats", "", &format!("tls=required&{}", trust(&ours)))).await;
    for query in ["", "tls=required", &trust(&other)] {
        let said = refused(&url(&server, "nats", "", query)).await;
        assert!(said.contains("certificate"), "{query}: {said}");
    }
    let said = refused(&url(&server, "tls", "", "ca=missing.pem")).await;
    assert!(said.contains("missing.pem"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_wants_a_certificate_gets_one_and_refuses_others() {
    let scratch = tempfile::tempdir().unwrap();
    let (ours, other) = (Authority::new(scratch.path(), "ours"), Authority::new(scratch.path(), "other"));
    let (certificate, key) = ours.certify("server", ExtendedKeyUsagePurpose::ServerAuth);
    let ca = ours.file();
    let tls = format!("tls {{ cert_file: \"{certificate}\", key_file: \"{key}\", ca_file: \"{ca}\", verify: true }}");
    let server = server(tls).await;
    let identity = |authority: &Authority| {
        let (certificate, key) = authority.certify("client", ExtendedKeyUsagePurpose::ClientAuth);
        format!("ca={ca}&cert={certificate}&key={key}")
    };
    let_in(&url(&server, "tls", "", &identity(&ours))).await;
    refused(&url(&server, "tls", "", &identity(&other))).await;
    let said = refused(&url(&server, "tls", "", &format!("ca={ca}"))).await;
    assert!(said.contains("ertificate"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_has_to_be_encrypted_never_is_in_the_clear() {
    let server = server("").await;
    refused(&url(&server, "tls", "", "")).await;
    refused(&url(&server, "nats", "", "tls=required")).await;
}
