# Sourced by each example's run.sh: finds the binaries and a place for what is built.
# SNAPFN_BIN: where snapcc, snapshotter and snaprun are (else $PATH, else target/release). OUT: where to build.
set -eu
example=$(cd "$(dirname "$0")" && pwd)
if [ -n "${SNAPFN_BIN:-}" ]; then
    PATH="$SNAPFN_BIN:$PATH"
elif ! command -v snaprun >/dev/null; then
    PATH="$example/../../target/release:$PATH"
fi
command -v snaprun >/dev/null || {
    echo "snaprun is not in PATH: install it, or run cargo build --release --workspace" >&2
    exit 1
}
if [ -z "${OUT:-}" ]; then
    OUT=$(mktemp -d)
    trap 'rm -rf "$OUT"' EXIT
fi
# skip TEXT: cannot be run on this machine.
skip() {
    echo "$*" >&2
    exit 77
}
