//! A listener and the threads of its connections, all of which end when it is dropped.

use std::collections::HashMap;
use std::io::{self, BufReader};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// State that all connections share.
#[derive(Debug, Default)]
pub(crate) struct Live {
    is_over: AtomicBool,
    next: AtomicU64,
    streams: Mutex<HashMap<u64, TcpStream>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Live {
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// Sleeps, but not beyond the end of the server.
    pub(crate) fn sleep(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.is_over() && Instant::now() < until {
            thread::sleep(until.saturating_duration_since(Instant::now()).min(Duration::from_millis(10)));
        }
    }
}

/// A connection from a client.
pub(crate) struct Connection {
    pub(crate) from: BufReader<TcpStream>,
    pub(crate) to: TcpStream,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { from: BufReader::with_capacity(64 << 10, stream.try_clone()?), to: stream })
    }
}

#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    live: Arc<Live>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens on a free port of a loopback address; `serve` runs once per connection, in a thread of its own. An error
    /// means that the client has gone.
    pub(crate) fn start(
        ip: &str,
        serve: impl Fn(&mut Connection, &Live) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((ip, 0)).expect("a free port on loopback");
        let address = listener.local_addr().expect("address of a listener");
        let live = Arc::new(Live::default());
        let shared = Arc::clone(&live);
        let serve = Arc::new(serve);
        let accepting = thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if shared.is_over() {
                    break;
                }
                let number = shared.next.fetch_add(1, Ordering::SeqCst);
                let (Ok(clone), Ok(mut connection)) = (stream.try_clone(), Connection::new(stream)) else { continue };
                shared.streams.lock().unwrap().insert(number, clone);
                let (live, serve) = (Arc::clone(&shared), Arc::clone(&serve));
                let thread = thread::spawn(move || {
                    let _ = serve(&mut connection, &live);
                    let _ = connection.to.shutdown(Shutdown::Both);
                    live.streams.lock().unwrap().remove(&number);
                });
                let mut threads = shared.threads.lock().unwrap();
                threads.retain(|thread| !thread.is_finished());
                threads.push(thread);
            }
        });
        Self { address, live, accepting: Some(accepting) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.live.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.accepting.take() {
            let _ = thread.join();
        }
        for stream in self.live.streams.lock().unwrap().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let threads = std::mem::take(&mut *self.live.threads.lock().unwrap());
        for thread in threads {
            let _ = thread.join();
        }
    }
}
