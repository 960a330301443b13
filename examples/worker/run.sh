#!/bin/sh
given=${OUT:-}
. "$(dirname "$0")/../common.sh"
command -v cargo >/dev/null || skip "the worker is built by cargo, which is not here"
root=$(cd "$example/../.." && pwd)
cargo build --quiet --locked --release --manifest-path "$root/Cargo.toml" -p snapfn --example worker >&2
cargo build --quiet --locked --release --manifest-path "$root/Cargo.toml" -p snapfn-capi >&2
release=${CARGO_TARGET_DIR:-$root/target}/release
worker=$release/examples/worker
snapcc -O2 "$example/handler.c" -o "$OUT/handler"
cc -O2 "$example/client.c" -o "$OUT/client"
snapshotter create --tag handler -- "$OUT/handler" >&2

rm -f "$OUT/worker.sock"
"$worker" handler "$OUT/worker.sock" 4 &
pid=$!
trap 'kill $pid 2>/dev/null || true; [ -n "$given" ] || rm -rf "$OUT"' EXIT
tries=0
while [ ! -S "$OUT/worker.sock" ]; do
    kill -0 $pid && [ $((tries += 1)) -lt 600 ] || exit 1
    sleep 0.1
done
for request in "a fresh process" "fresh fresh" "nothing" "start a process, a snapshot"; do
    echo "$request" | "$OUT/client" "$OUT/worker.sock"
done
wait $pid

echo "in C:"
cc -O2 -I "$root/crates/snapfn/capi/include" "$example/worker.c" "$release/libsnapfn_c.a" -lpthread -ldl -lm -o "$OUT/worker-c"
"$OUT/worker-c" handler
