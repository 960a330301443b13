#!/bin/sh
# Takes snapshots of many programs and starts instances in random order, with kill -9 of both: see --help.
set -eu
. "$(dirname "$0")/lib.sh"

case ${1:-} in
    -h | --help) ;;
    *)
        need_packages gcc g++ musl-tools perl gawk tcl lua5.4 sqlite3 python3 util-linux
        need_rust
        build_release >/dev/null
        ;;
esac
export SNAPFN_BIN="$bin"
# In the background or under nohup these signals are ignored, and programs would inherit that.
exec env --default-signal=HUP,INT,QUIT cargo run --quiet --locked -p snapfn-tests --bin soak -- "$@"
