#!/bin/sh
# Compares the random values of many instances: scripts/uniqueness.sh [INSTANCES], default 1,000 of each program. The
# tests do the same with 200. Build first (scripts/test.sh does).
set -eu
cd "$(dirname "$0")/.."
SNAPFN_UNIQUE_INSTANCES=${1:-1000} exec cargo test --locked -p snapfn-tests --test safety uniqueness::
