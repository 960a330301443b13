//! `worker SNAPSHOT SOCKET REQUESTS`: a fresh instance for every connection, which is its standard input and output.

use snapfn::{Pool, Snapshot};
use std::env;
use std::error::Error;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

fn serve(pool: &Pool, connection: UnixStream) -> Result<(), snapfn::Error> {
    let input = connection.try_clone().map_err(|source| snapfn::Error::System { what: "dup", source })?;
    let mut child = {
        let mut command = pool.command();
        command.stdin(input).stdout(connection);
        // The command holds the connection until it is dropped. After that only the instance has it.
        command.spawn()?
    };
    let status = child.wait()?;
    if !status.success() {
        eprintln!("instance {}: {status}", child.id());
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [name, socket, requests] = &args[..] else {
        return Err("usage: worker SNAPSHOT SOCKET REQUESTS".into());
    };
    let pool = Pool::new(&Snapshot::open(name)?, 2)?;
    let listener = UnixListener::bind(socket)?;
    thread::scope(|scope| {
        for connection in listener.incoming().take(requests.parse().unwrap_or(usize::MAX)) {
            match connection {
                Ok(connection) => {
                    let pool = &pool;
                    scope.spawn(move || serve(pool, connection).unwrap_or_else(|error| eprintln!("worker: {error}")));
                }
                Err(error) => eprintln!("worker: {error}"),
            }
        }
    });
    Ok(())
}
