//! What a node says of itself over HTTP: who leads, and whether it has everything that it should have.

use serde_json::Value;
use std::{io, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use anabranch::time::Clock;

/// How long a node may take to answer.
const LOOK: Duration = Duration::from_secs(2);

/// Asks a node, and returns the status and the answer.
async fn ask(address: &str, path: &str) -> io::Result<(u16, Value)> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| io::Error::other("half an answer"))?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Ok((status, serde_json::from_str(body)?))
    };
    Clock::system().timeout(LOOK, asked).await.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
}

/// Asks whether a node is well: it has JetStream, and all of its replicas are as new as their leaders'. Says what is missing.
pub(crate) async fn health(address: &str) -> Result<(), String> {
    match ask(address, "/healthz").await {
        Ok((200, _)) => Ok(()),
        Ok((status, body)) => Err(format!("{status} {}", body["error"].as_str().unwrap_or_default())),
        Err(error) => Err(error.to_string()),
    }
}

/// Who leads, as a node sees it: the cluster itself, and a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leaders {
    pub(crate) meta: Option<String>,
    pub(crate) stream: Option<String>,
}

pub(crate) async fn leaders(address: &str, stream: &str) -> io::Result<Leaders> {
    let (_, body) = ask(address, "/jsz?accounts=1&streams=1").await?;
    let name = |value: &Value| value.as_str().filter(|name| !name.is_empty()).map(str::to_owned);
    let accounts = body["account_details"].as_array().into_iter().flatten();
    let mut streams = accounts.filter_map(|account| account["stream_detail"].as_array()).flatten();
    let found = streams.find(|detail| detail["name"] == stream);
    Ok(Leaders {
        meta: name(&body["meta_cluster"]["leader"]),
        stream: found.and_then(|detail| name(&detail["cluster"]["leader"])),
    })
}
