//! Real nats-servers for tests: one, or a cluster of three, that can be killed, paused and started again.
//!
//! The binary is the one that the environment variable `ANABRANCH_NATS_SERVER` names, otherwise `nats-server` from the path.
//! A server has a free port and a scratch directory, and dies with its handle or with the test process, however that ends: a
//! small shell beside it waits for the end of a pipe that only this process holds open. Nothing here knows JetStream beyond
//! asking whether it answers, and nothing knows logins: a server with a configuration of its own is taken for ready when it
//! greets.

use crate::time::{Clock, nonce};
use std::{
    env,
    ffi::OsString,
    fs, io,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one look at a server may take.
const LOOK: Duration = Duration::from_millis(400);

/// How a server is started.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ServerOptions {
    /// Whether each write reaches the disk before it is acknowledged.
    pub sync_always: bool,
    /// Whether it runs without JetStream.
    pub without_jetstream: bool,
    /// How many bytes JetStream may store in files; `None` leaves it to the server.
    pub max_file_store: Option<u64>,
    /// Whether it has a monitoring port.
    pub monitored: bool,
    /// What else its configuration says, such as who may connect.
    pub config: String,
}

impl ServerOptions {
    /// Lets each write reach the disk before it is acknowledged.
    #[must_use]
    pub fn sync_always(mut self) -> Self {
        self.sync_always = true;
        self
    }

    /// Leaves JetStream out.
    #[must_use]
    pub fn without_jetstream(mut self) -> Self {
        self.without_jetstream = true;
        self
    }

    /// Lets JetStream store so many bytes in files and no more.
    #[must_use]
    pub fn max_file_store(mut self, bytes: u64) -> Self {
        self.max_file_store = Some(bytes);
        self
    }

    /// Opens a monitoring port; see [`NatsServer::monitor_url`].
    #[must_use]
    pub fn monitored(mut self) -> Self {
        self.monitored = true;
        self
    }

    /// Adds to the configuration file, in its own language: `authorization`, `accounts`, `tls`, `max_payload` and so on.
    #[must_use]
    pub fn config(mut self, text: impl Into<String>) -> Self {
        self.config = text.into();
        self
    }

    /// Renders the configuration file.
    fn render(&self, name: &str, (port, monitor): (u16, Option<u16>), directory: &Path, more: &str) -> String {
        let monitor = monitor.map_or_else(String::new, |port| format!("http: \"127.0.0.1:{port}\"\n"));
        let limit = self.max_file_store.map_or_else(String::new, |bytes| format!(" max_file_store: {bytes}\n"));
        let sync = if self.sync_always { " sync_interval: always\n" } else { "" };
        let jetstream = match directory.join("js").display() {
            _ if self.without_jetstream => String::new(),
            store => format!("jetstream {{\n store_dir: \"{store}\"\n{sync}{limit}}}\n"),
        };
        format!("server_name: {name}\nlisten: \"127.0.0.1:{port}\"\n{monitor}{jetstream}{more}{}\n", self.config)
    }

    /// Starts a server.
    ///
    /// # Errors
    ///
    /// As [`NatsServer::start`].
    pub async fn start(self) -> io::Result<NatsServer> {
        let mut server = NatsServer::prepare("single", free_port()?, self, "")?;
        server.restart().await?;
        Ok(server)
    }

    /// Starts a cluster of three servers.
    ///
    /// # Errors
    ///
    /// As [`NatsServer::start`].
    pub async fn start_cluster(self) -> io::Result<NatsCluster> {
        let mut cluster = self.prepare_cluster(async |_, _, url| Ok(url)).await?;
        // All of them have to run before one of them answers.
        for node in &mut cluster.nodes {
            node.launch()?;
        }
        for node in &cluster.nodes {
            node.ready().await?;
        }
        Ok(cluster)
    }

    /// Prepares a cluster of three servers and starts none of them: [`NatsServer::launch`] does.
    ///
    /// `lay` is asked, for each node and each other one by their indexes, under which URL the first reaches the second; it gets the
    /// one where the second listens, and may return that of a [`Wire`](super::wire::Wire) to it. Nodes then tell each other no way
    /// around their wires, and clients learn of no nodes but those of their URL.
    ///
    /// # Errors
    ///
    /// When there are no ports or no scratch directories; whatever `lay` returns.
    pub async fn prepare_cluster(
        self,
        mut lay: impl AsyncFnMut(usize, usize, String) -> io::Result<String>,
    ) -> io::Result<NatsCluster> {
        let ports = [free_port()?, free_port()?, free_port()?];
        let routes = [free_port()?, free_port()?, free_port()?];
        let mut nodes = Vec::new();
        for (i, port) in ports.into_iter().enumerate() {
            let (mut ways, mut direct) = (Vec::new(), true);
            for (j, route) in routes.into_iter().enumerate() {
                let there = format!("nats://127.0.0.1:{route}");
                let way = if i == j { there.clone() } else { lay(i, j, there.clone()).await? };
                direct &= way == there;
                ways.push(format!("\"{}\"", way.replace("nats://", "nats-route://")));
            }
            // Nobody listens there, so nobody who is told of it gets through.
            let advertise = if direct { "" } else { " advertise: \"127.0.0.1:1\"\n no_advertise: true\n" };
            let cluster = format!(
                "cluster {{\n name: anabranch\n listen: \"127.0.0.1:{}\"\n{advertise} routes: [{}]\n}}\n",
                routes[i],
                ways.join(", ")
            );
            nodes.push(NatsServer::prepare(&format!("n{}", i + 1), port, self.clone(), &cluster)?);
        }
        Ok(NatsCluster { nodes })
    }
}

/// A nats-server, with JetStream unless it was left out, killed when it is dropped.
#[derive(Debug)]
pub struct NatsServer {
    name: String,
    port: u16,
    monitor: Option<u16>,
    options: ServerOptions,
    /// What a cluster adds to the configuration.
    more: String,
    directory: TempDir,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    server: Child,
    watchdog: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        // The watchdog first: once the server is reaped its process id may be somebody else's.
        for child in [&mut self.watchdog, &mut self.server] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl NatsServer {
    /// Starts a server with default options.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] when there is no nats-server, [`io::ErrorKind::TimedOut`] when it does not answer.
    pub async fn start() -> io::Result<Self> {
        ServerOptions::default().start().await
    }

    /// Returns a server that all tests of this process share, and never kill.
    ///
    /// # Panics
    ///
    /// When it cannot be started; the message says why.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<NatsServer> = OnceCell::const_new();
        let start = || async { Self::start().await.unwrap_or_else(|error| panic!("{error}")) };
        SHARED.get_or_init(start).await
    }

    /// Returns the URL of the server.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Returns the URL of its monitoring port, when it has one.
    #[must_use]
    pub fn monitor_url(&self) -> Option<String> {
        self.monitor.map(|port| format!("http://127.0.0.1:{port}"))
    }

    /// Returns the version of the server that is running.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub fn version(&self) -> io::Result<String> {
        let (_, info) = connect(self.port)?;
        Ok(info["version"].as_str().unwrap_or_default().to_owned())
    }

    /// Returns its name: `n1`, `n2` or `n3` in a cluster, otherwise `single`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the directory where it stores what it has to keep.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.directory.path().join("js")
    }

    /// Returns what it has logged since it was first started.
    ///
    /// # Errors
    ///
    /// When it has never been started, or the file cannot be read.
    pub fn log(&self) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(self.directory.path().join("log"))?).into_owned())
    }

    /// Returns the id of its process; `None` when it was killed or stopped. One that ended by itself has its id until then.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.server.id())
    }

    /// Kills the server without giving it a chance to clean up.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Asks the server to end, and waits until it has.
    ///
    /// # Errors
    ///
    /// When the server cannot be signalled.
    pub fn stop(&mut self) -> io::Result<()> {
        self.signal("TERM")?;
        if let Some(running) = &mut self.running {
            running.server.wait()?;
        }
        self.running = None;
        Ok(())
    }

    /// Starts the server on the port and the directory that it had, and waits until it answers.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn restart(&mut self) -> io::Result<()> {
        self.launch()?;
        self.ready().await
    }

    /// Starts the server as [`restart`](Self::restart) does, and does not wait: a node of a cluster may have to wait for others.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] when there is no nats-server.
    pub fn launch(&mut self) -> io::Result<()> {
        self.running = None;
        let path = self.directory.path();
        let log = fs::OpenOptions::new().create(true).append(true).open(path.join("log"))?;
        let binary = binary();
        let mut server = Command::new(&binary)
            .arg("-c")
            .arg(path.join("server.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| missing(&binary, error))?;
        let watchdog = watchdog(&server, path).inspect_err(|_| {
            // Without one it would go on after this process: nobody else ends it.
            let _ = server.kill().and_then(|()| server.wait());
        })?;
        self.running = Some(Running { server, watchdog });
        Ok(())
    }

    /// Halts the server, as a machine does that swaps or migrates: its connections stay open, and nothing answers.
    ///
    /// # Errors
    ///
    /// When the server cannot be signalled.
    pub fn pause(&self) -> io::Result<()> {
        self.signal("STOP")
    }

    /// Lets a paused server go on.
    ///
    /// # Errors
    ///
    /// When the server cannot be signalled.
    pub fn resume(&self) -> io::Result<()> {
        self.signal("CONT")
    }

    /// Pauses the server at once, and resumes it when the returned future has waited for `duration`: a fault to inject.
    ///
    /// # Errors
    ///
    /// When the server cannot be signalled.
    pub fn fall_silent(&self, duration: Duration) -> io::Result<impl Future<Output = io::Result<()>> + '_> {
        self.pause()?;
        Ok(async move {
            Clock::system().sleep(duration).await;
            self.resume()
        })
    }

    /// Replaces what [`ServerOptions::config`] said while the server is running, as an operator does who changes permissions.
    ///
    /// Returns when the server was told; what it does then takes a moment, and what it cannot change it keeps.
    ///
    /// # Errors
    ///
    /// When the file cannot be written or the server cannot be signalled.
    pub fn reconfigure(&mut self, text: impl Into<String>) -> io::Result<()> {
        self.options.config = text.into();
        self.write_config()?;
        self.signal("HUP")
    }

    fn prepare(name: &str, port: u16, options: ServerOptions, more: &str) -> io::Result<Self> {
        let directory = TempDir::with_prefix("anabranch-nats-")?;
        let monitor = options.monitored.then(free_port).transpose()?;
        let server = Self { name: name.to_owned(), port, monitor, options, more: more.to_owned(), directory, running: None };
        server.write_config()?;
        Ok(server)
    }

    fn write_config(&self) -> io::Result<()> {
        let directory = self.directory.path();
        fs::write(
            directory.join("server.conf"),
            self.options.render(&self.name, (self.port, self.monitor), directory, &self.more),
        )
    }

    /// Waits until JetStream answers; in a cluster that takes a majority. A server that may not be asked by everybody begins to listen when
    /// it has JetStream.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] when it does not within 30 seconds, with what it has logged.
    pub async fn ready(&self) -> io::Result<()> {
        let clock = Clock::system();
        let until = clock.instant() + PATIENCE;
        while let Err(error) = self.ask() {
            if clock.instant() > until {
                let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
                return Err(io::Error::new(io::ErrorKind::TimedOut, format!("nats-server does not answer: {error}\n{log}")));
            }
            clock.sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    fn ask(&self) -> io::Result<()> {
        let (mut stream, _) = connect(self.port)?;
        if self.options.without_jetstream || !self.options.config.is_empty() {
            return Ok(());
        }
        stream.write_all(b"CONNECT {\"verbose\":false}\r\nSUB ready 1\r\nPUB $JS.API.INFO ready 0\r\n\r\n")?;
        let mut answer = Vec::new();
        let mut some = [0; 4096];
        loop {
            let n = stream.read(&mut some)?;
            answer.extend_from_slice(&some[..n]);
            let text = String::from_utf8_lossy(&answer);
            if n == 0 || text.contains("\"error\"") {
                return Err(io::Error::other("it is not ready"));
            }
            if text.contains("account_info_response") {
                return Ok(());
            }
        }
    }

    fn signal(&self, name: &str) -> io::Result<()> {
        let Some(running) = &self.running else { return Err(io::Error::other("the server is not running")) };
        let status = Command::new("kill").arg(format!("-{name}")).arg(running.server.id().to_string()).status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other("the server could not be signalled")) }
    }
}

/// Three servers that replicate streams among themselves.
#[derive(Debug)]
pub struct NatsCluster {
    nodes: Vec<NatsServer>,
}

impl NatsCluster {
    /// Starts a cluster with default options.
    ///
    /// # Errors
    ///
    /// As [`NatsServer::start`].
    pub async fn start() -> io::Result<Self> {
        ServerOptions::default().start_cluster().await
    }

    /// Returns a cluster that all tests of this process share, and never kill.
    ///
    /// # Panics
    ///
    /// When it cannot be started; the message says why.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<NatsCluster> = OnceCell::const_new();
        let start = || async { Self::start().await.unwrap_or_else(|error| panic!("{error}")) };
        SHARED.get_or_init(start).await
    }

    /// Returns the URL of all nodes, with three replicas.
    #[must_use]
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("nats://{}?replicas=3", hosts.join(","))
    }

    /// Returns the nodes, which are named `n1`, `n2` and `n3`.
    #[must_use]
    pub fn nodes(&self) -> &[NatsServer] {
        &self.nodes
    }

    /// Returns the nodes, to do something to all of them.
    #[must_use]
    pub fn nodes_mut(&mut self) -> &mut [NatsServer] {
        &mut self.nodes
    }

    /// Returns a node by its name, to kill it, pause it or start it again.
    ///
    /// # Panics
    ///
    /// When there is none of this name.
    pub fn node(&mut self, name: &str) -> &mut NatsServer {
        let index = ["n1", "n2", "n3"].iter().position(|n| *n == name);
        &mut self.nodes[index.expect("a node's name is n1, n2 or n3")]
    }
}

/// Connects and reads what the server says first.
fn connect(port: u16) -> io::Result<(TcpStream, serde_json::Value)> {
    let stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), LOOK)?;
    stream.set_read_timeout(Some(LOOK))?;
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line)?;
    let info = serde_json::from_str(line.trim_start_matches("INFO").trim())?;
    Ok((stream, info))
}

fn binary() -> OsString {
    env::var_os("ANABRANCH_NATS_SERVER").filter(|path| !path.is_empty()).unwrap_or_else(|| "nats-server".into())
}

fn missing(binary: &OsString, error: io::Error) -> io::Error {
    let hint = "run ./scripts/test, or name a binary in ANABRANCH_NATS_SERVER";
    io::Error::new(error.kind(), format!("`{}` cannot be started ({error}): {hint}", binary.display()))
}

/// Kills the server when this process is gone, also when it was killed: its end of the pipe closes with it.
fn watchdog(server: &Child, directory: &Path) -> io::Result<Child> {
    Command::new("sh")
        .args(["-c", "cat >/dev/null; kill -9 \"$1\"; rm -rf \"$2\"", "watchdog"])
        .arg(server.id().to_string())
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// A port that nobody listens on, and that this process has given to no other server. It is below those that systems give to
/// connections: one of those could be taken before the server listens, or while it is down.
fn free_port() -> io::Result<u16> {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(u16::try_from(nonce() % u64::from(COUNT)).unwrap_or(0)));
    (0..COUNT)
        .map(|_| FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::AddrInUse, "there is no port that nobody listens on"))
}
