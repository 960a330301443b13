#!/bin/sh
# Runs the tests of the on-disk formats under Miri, which sees undefined behaviour that no test can: scripts/miri.sh
# [TEST…].
#
# Needs a nightly toolchain: rustup toolchain install nightly --component miri,rust-src. No part of CI, which has a
# stable one. Loops over all bits of a file look at a few of them there, and property tests at a few cases: Miri takes a
# thousand times as long. Not run are the tests that compare FORMAT.md with the records: they read a page, and no bytes
# of a file.
set -eu
cd "$(dirname "$0")/.."

cargo +nightly miri --version >/dev/null 2>&1 || {
    echo "miri.sh: no Miri here; install it: rustup toolchain install nightly --component miri,rust-src" >&2
    exit 1
}
# Golden files are read, and proptest looks for failures that it has kept.
export MIRIFLAGS="-Zmiri-disable-isolation ${MIRIFLAGS:-}"
exec cargo +nightly miri test --locked -p snapfn-format --lib --test snap_properties --target-dir target/miri -- "$@"
