#!/bin/bash
# Measures how fast a snapshot goes to a registry and back, and the memory of both, beside `skopeo copy` of the same
# image.
# Usage: scripts/bench-registry.sh [MIB]     (default 1024; needs docker-registry, skopeo and python3)
set -euo pipefail
cd "$(dirname "$0")/.."
mib=${1:-1024}
bin=${SNAPFN_BIN:-target/release}
for program in docker-registry skopeo python3; do
    command -v "$program" >/dev/null || { echo "bench-registry: $program is not installed" >&2; exit 1; }
done
[ -x "$bin/snaprepo" ] || { echo "bench-registry: build first: cargo build --release" >&2; exit 1; }
bin=$(realpath "$bin")
work=$(mktemp -d)
server=
cleanup() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

# The content is a quarter each of numbers in order, noise, text and zeros.
cat >"$work/fn.c" <<'C'
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void) {
    size_t words = ((size_t)MIB << 20) / 8, quarter = words / 4;
    unsigned long *memory = malloc(words * 8), state = 88172645463325252ul;
    for (size_t i = 0; i < quarter; i++) memory[i] = i;
    for (size_t i = quarter; i < 2 * quarter; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        memory[i] = state;
    }
    for (size_t i = 2 * quarter; i < 3 * quarter; i++) memcpy(memory + i, "the fox " + (i * 7 % 5), 4);
    snap_ready();
    printf("%lx\n", memory[quarter] ^ memory[words - 1]);
}
C
"$bin/snapcc" -O2 -DMIB="$mib" "$work/fn.c" -o "$work/fn"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >"$work/registry.yml" <<YML
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $work/registry}}
http: {addr: "127.0.0.1:$port"}
YML
docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
server=$!
export SNAPFN_STORE=$work/here
"$bin/snapshotter" create --tag fn -- "$work/fn" >/dev/null
until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do sleep 0.1; done

measure() { # LABEL COMMAND...: time, rate, processor time and largest resident set
    python3 - "$mib" "$@" <<'PY'
import resource, subprocess, sys, time
mib, label, *command = sys.argv[1:]
start = time.monotonic()
status = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
took = time.monotonic() - start
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
cpu = usage.ru_utime + usage.ru_stime
print(f"{label:34} {took:7.1f} s {int(mib) / took:6.0f} MiB/s   cpu {cpu:6.1f} s   {usage.ru_maxrss // 1024:5} MiB")
sys.exit(status)
PY
}

image=127.0.0.1:$port/bench/fn
echo "snapshot of $mib MiB"
measure "push" "$bin/snaprepo" push fn "$image:1"
measure "push again, nothing to send" "$bin/snaprepo" push fn "$image:2"
SNAPFN_STORE=$work/there measure "pull" "$bin/snaprepo" pull "$image:1"
# This is six times as slow as the rest together, so it is measured for small snapshots only.
[ "$mib" -gt 256 ] || measure "push, gzip" "$bin/snaprepo" push fn "$image:gz" --compression gzip
measure "skopeo copy to a directory" skopeo copy --src-tls-verify=false "docker://$image:1" "dir:$work/dir"
measure "skopeo copy to another repository" skopeo copy --dest-tls-verify=false "dir:$work/dir" "docker://127.0.0.1:$port/other/fn:1"
echo "registry: $(du -sm "$work/registry" | cut -f1) MiB"
