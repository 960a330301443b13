#!/bin/sh
# scripts/miri.sh [TEST…] runs the tests of the on-disk formats under Miri, which detects undefined behaviour that no
# test can.
#
# Needs a nightly toolchain: rustup toolchain install nightly --component miri,rust-src. CI does not run it, since CI
# has a stable one. Miri is a thousand times slower, so loops over all bits of a file check a few of them, and property
# tests a few cases. The tests that compare FORMAT.md with the records do not run: they read a page, and no bytes of a
# file.
set -eu
cd "$(dirname "$0")/.."

cargo +nightly miri --version >/dev/null 2>&1 || {
    echo "miri.sh: no Miri here; install it: rustup toolchain install nightly --component miri,rust-src" >&2
    exit 1
}
# The tests read golden files, and proptest reads recorded failures.
export MIRIFLAGS="-Zmiri-disable-isolation ${MIRIFLAGS:-}"
exec cargo +nightly miri test --locked -p snapfn-format --lib --test snap_properties --target-dir target/miri -- "$@"
