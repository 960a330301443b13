#!/bin/sh
# Many random faults between snapfn and a registry; see usage below.
set -eu
. "$(dirname "$0")/lib.sh"

usage() {
    cat <<'TEXT'
Usage: scripts/registry-faults.sh [--runs N] [--seed S]

Pushes and pulls a snapshot through a proxy that cuts connections, stalls, corrupts, reorders and repeats, answers
429, 500 and 503, ignores ranges, expires tokens and redirects. Every run must end with the right bytes or with one
clear error, and no store may be damaged at any time. A run is its seed: run 17 alone is --runs 1 --seed 17.

  --runs N    number of runs (default 500)
  --seed S    seed of the first run (default 1)
  -h, --help  this text
TEXT
}

runs=500 seed=1
while [ $# -gt 0 ]; do
    case $1 in
        --runs | --seed)
            [ $# -ge 2 ] || { usage >&2; exit 2; }
            case $2 in '' | *[!0-9]*) usage >&2; exit 2 ;; esac
            if [ "$1" = --runs ]; then runs=$2; else seed=$2; fi
            shift
            ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
    shift
done
need_packages gcc libc6-dev docker-registry util-linux
need_rust
build_release
SNAPFN_FAULT_RUNS=$runs SNAPFN_FAULT_SEED=$seed SNAPFN_STRICT_TESTS=1 SNAPFN_BIN=$bin \
    cargo test --locked -p snapfn-tests --test registry_faults -- --nocapture
