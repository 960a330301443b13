#!/bin/sh
# Takes snapshots of programs with random kernel state and compares their instances with ordinary runs: see --help.
set -eu
. "$(dirname "$0")/lib.sh"

case ${1:-} in
    -h | --help) ;;
    *)
        need_packages gcc libc6-dev util-linux
        need_rust
        build_release >/dev/null
        ;;
esac
export SNAPFN_BIN="$bin"
# In the background or under nohup these signals are ignored, and programs would inherit that.
exec env --default-signal=HUP,INT,QUIT cargo run --quiet --locked -p snapfn-tests --bin random-state -- "$@"
