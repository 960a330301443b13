//! A command-line program that prepares a table, marks its snapshot point, and greets whom its arguments name.

use std::sync::atomic::{AtomicU64, Ordering};

/// What an instance draws anew.
static SEED: AtomicU64 = AtomicU64::new(0);

fn main() {
    let mut key = *b"a key that only the initialisation needs";
    let primes: Vec<u32> = (2..200_000u32).filter(|n| (2..).take_while(|d| d * d <= *n).all(|d| n % d != 0)).collect();
    snapfn_guest::secret(&key);
    snapfn_guest::on_restore(|| println!("first hook"));
    snapfn_guest::on_restore(|| SEED.store(snapfn_guest::generation().unwrap_or(0), Ordering::Relaxed));
    print!("prepared, "); // without an end of line: ready() flushes it
    let restored = snapfn_guest::ready();

    if restored {
        assert_eq!(key, [0; 40], "a secret is zeros in an instance");
        assert_ne!(SEED.load(Ordering::Relaxed), 0, "the second hook has run");
    }
    key.fill(0);
    assert_eq!(restored, snapfn_guest::ready(), "a second call changes nothing");
    assert_eq!(restored, snapfn_guest::generation().is_some());
    if snapfn_guest::args().nth(1).is_some_and(|argument| argument == "--generation") {
        println!("{:?}", snapfn_guest::generation());
        return;
    }
    println!("{} primes", primes.len());
    for name in snapfn_guest::args().skip(1) {
        println!("hello {}", name.to_string_lossy());
    }
}
