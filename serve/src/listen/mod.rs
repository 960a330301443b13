//! Sockets and connections.
//!
//! ```text
//!  inherit  sockets of systemd      tap  looks at what a connection reads, before hyper does
//! ```

mod inherit;
mod tap;

use crate::config::{Address, Server};
use crate::observe::{Log, Open};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::Watcher;
use rustix::net::sockopt::{set_socket_linger, set_tcp_user_timeout};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tap::Tap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;

pub(crate) use inherit::inherited;

/// A socket that accepts connections.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, Option<PathBuf>),
}

/// Both ends of a connection, and what is known about it beside its bytes.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    remote: Option<SocketAddr>,
    local: Option<SocketAddr>,
    /// A head with Content-Length and Transfer-Encoding has been read.
    two_lengths: AtomicBool,
    /// An answer has been cut, and nothing else than the end of the connection tells that.
    cut: AtomicBool,
}

impl Peer {
    pub(crate) fn remote_address(&self) -> String {
        self.remote.map_or_else(|| "unix:".to_owned(), |address| address.ip().to_canonical().to_string())
    }

    pub(crate) fn remote_port(&self) -> Option<u16> {
        self.remote.map(|address| address.port())
    }

    /// What the server is called if the client calls it nothing.
    pub(crate) fn local_name(&self) -> String {
        self.local.map_or_else(|| "localhost".to_owned(), |address| address.ip().to_canonical().to_string())
    }

    /// The port of the socket; of a Unix socket, that of the client's Host.
    pub(crate) fn local_port(&self, of_host: Option<u16>) -> u16 {
        self.local.map_or(of_host.unwrap_or(80), |address| address.port())
    }

    /// The connection is to end in a way that no complete answer ends.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    pub(crate) fn has_two_lengths(&self) -> bool {
        self.two_lengths.load(Ordering::Relaxed)
    }
}

impl Listener {
    pub(crate) async fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => TcpListener::bind(address).await.map(Listener::Tcp),
            Address::Unix(path) => {
                let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
                // Left over by a server that was killed: nobody listens there any more.
                let refuses = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
                if is_socket && std::os::unix::net::UnixStream::connect(path).is_err_and(refuses) {
                    std::fs::remove_file(path)?;
                }
                Ok(Listener::Unix(UnixListener::bind(path)?, Some(path.clone())))
            }
        }
    }

    pub(crate) fn address(&self) -> String {
        match self {
            Listener::Tcp(socket) => socket.local_addr().map_or_else(|e| e.to_string(), |at| format!("http://{at}")),
            Listener::Unix(_, Some(path)) => format!("unix:{}", path.display()),
            Listener::Unix(_, None) => "unix:".to_owned(),
        }
    }

    async fn accept(&self) -> io::Result<(Box<dyn Connection>, Peer)> {
        match self {
            Listener::Tcp(socket) => {
                let (stream, remote) = socket.accept().await?;
                stream.set_nodelay(true)?;
                // A client that takes nothing for so long has gone.
                set_tcp_user_timeout(&stream, 60_000)?;
                let local = stream.local_addr().ok();
                Ok((Box::new(stream), Peer { remote: Some(remote), local, ..Peer::default() }))
            }
            Listener::Unix(socket, _) => {
                let (stream, _) = socket.accept().await?;
                Ok((Box::new(stream), Peer::default()))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix(_, Some(path)) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

pub(crate) trait Connection: AsyncRead + AsyncWrite + Unpin + Send {
    /// The other side gets a reset instead of an end, where the connection has such a thing.
    fn reset_when_closed(&self) {}
}

impl Connection for TcpStream {
    fn reset_when_closed(&self) {
        // If this fails, the connection has ended already.
        let _ = set_socket_linger(self, Some(Duration::ZERO));
    }
}

impl Connection for UnixStream {}

impl Connection for Box<dyn Connection> {
    fn reset_when_closed(&self) {
        (**self).reset_when_closed();
    }
}

/// What all connections of a listener share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) log: Log,
    pub(crate) server: Arc<Server>,
    pub(crate) places: Arc<Semaphore>,
    pub(crate) open: Open,
}

/// Accepts connections until the task is dropped, and serves each with `answer`.
pub(crate) async fn accept<F, R>(listener: Listener, shared: Shared, watcher: impl Fn() -> Option<Watcher>, answer: F)
where
    F: Fn(hyper::Request<Incoming>, Arc<Peer>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = crate::response::Response> + Send + 'static,
{
    loop {
        // Beyond the bound, clients wait in the kernel's queue.
        let Ok(place) = Arc::clone(&shared.places).acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Most likely there are no descriptors left, and a connection ends soon.
                shared.log.line("warn", None, &format!("accept: {error}"));
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let peer = Arc::new(peer);
        let tap = Tap::new(stream, Arc::clone(&peer), shared.server.header_timeout);
        let answer = answer.clone();
        let service = service_fn(move |request| {
            let answered = answer(request, Arc::clone(&peer));
            async move { Ok::<_, Infallible>(answered.await) }
        });
        let builder = builder(&shared.server);
        let open = shared.open.one_more();
        // While the server drains, no connection begins.
        let Some(watcher) = watcher() else { return };
        tokio::spawn(async move {
            let connection = builder.serve_connection(TokioIo::new(tap), service).into_owned();
            // An error is a client that has gone or has sent nonsense; hyper has answered what can be answered.
            let _ = watcher.watch(connection).await;
            drop((place, open));
        });
    }
}

fn builder(server: &Server) -> Builder<TokioExecutor> {
    /// Streams of a connection at a time.
    const STREAMS: u32 = 100;
    /// How often a connection of HTTP/2 is asked whether it is there.
    const PING: Duration = Duration::from_secs(20);
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(server.header_timeout)
        .max_buf_size(server.header_bytes)
        .max_headers(100);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(server.header_bytes as u32)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    builder
}
