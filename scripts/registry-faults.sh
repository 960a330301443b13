#!/bin/sh
# Makes many random faults between snapfn and a registry, and many kills: see usage below.
set -eu
. "$(dirname "$0")/lib.sh"

usage() {
    cat <<'TEXT'
Usage: scripts/registry-faults.sh [--runs N] [--seed S] [--kills N]

Pushes and pulls a snapshot through a proxy that cuts connections, stalls, corrupts, reorders and repeats, answers
429, 500 and 503, ignores ranges, expires tokens and redirects. Every run must end with the right bytes or with one
clear error, and no store may be damaged at any time. A run is its seed: run 17 alone is --runs 1 --seed 17.

Then it kills pushes and pulls at random moments. After each kill the store must verify, and a garbage collection must
leave no rest. Complete layers must not move again, and the end must be the same image and the same snapshot.

  --runs N    number of runs (default 500)
  --seed S    seed of the first run (default 1)
  --kills N   number of kills (default 100)
  -h, --help  this text
TEXT
}

runs=500 seed=1 kills=100
while [ $# -gt 0 ]; do
    case $1 in
        --runs | --seed | --kills)
            [ $# -ge 2 ] || { usage >&2; exit 2; }
            case $2 in '' | *[!0-9]*) usage >&2; exit 2 ;; esac
            case $1 in
                --runs) runs=$2 ;;
                --seed) seed=$2 ;;
                --kills) kills=$2 ;;
            esac
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
export SNAPFN_FAULT_RUNS="$runs" SNAPFN_FAULT_SEED="$seed" SNAPFN_KILLS="$kills" SNAPFN_STRICT_TESTS=1 SNAPFN_BIN="$bin"
cargo test --locked -p snapfn-tests --test registry -- --nocapture faults:: kills::
