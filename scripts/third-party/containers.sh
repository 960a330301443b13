#!/bin/sh
# Images that `snaprepo push` has put into Debian's docker-registry work with other programs: skopeo inspects and copies
# them, podman runs them, with and without user, capabilities and a writable root.
. "$(dirname "$0")/common.sh"

need docker-registry skopeo podman crun curl gcc libc6-dev util-linux
fresh_store
scratch=$SNAPFN_STORE.containers
mkdir -p "$scratch"
registry=
cleanup() {
    [ -z "$registry" ] || kill "$registry" 2>/dev/null || true
    rm -rf "$SNAPFN_STORE" "$scratch"
}
trap cleanup EXIT
export HOME="$scratch" XDG_CONFIG_HOME="$scratch/config" XDG_RUNTIME_DIR="$scratch/run" REGISTRY_AUTH_FILE="$scratch/auth.json"
mkdir -p "$XDG_RUNTIME_DIR"
echo '{}' >"$REGISTRY_AUTH_FILE"

# --- a registry on a port that it chooses itself ---
cat >"$scratch/registry.yml" <<YML
version: 0.1
log: { level: info }
storage: { filesystem: { rootdirectory: $scratch/storage }, delete: { enabled: true } }
http: { addr: "127.0.0.1:0" }
YML
# It reads settings from REGISTRY_... variables, and would read REGISTRY_AUTH_FILE as one.
env -i PATH="$PATH" setpriv --pdeathsig KILL docker-registry serve "$scratch/registry.yml" >"$scratch/registry.log" 2>&1 &
registry=$!
tries=0
until port=$(sed -n 's/.*listening on 127\.0\.0\.1:\([0-9]*\).*/\1/p' "$scratch/registry.log") && [ -n "$port" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 200 ] || die "docker-registry does not start: $(cat "$scratch/registry.log")"
    sleep 0.05
done
image=127.0.0.1:$port/team/fn:v1

# --- a program whose state is made before main ---
cat >"$scratch/born.h" <<'C'
#include <time.h>
static long born;
__attribute__((constructor)) static void fill(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    born = now.tv_sec * 1000000000L + now.tv_nsec;
}
C
cat >"$scratch/fn.c" <<'C'
#include <stdio.h>
#include "born.h"
int main(int argc, char **argv) {
    printf("%ld %s\n", born, argc > 1 ? argv[1] : "nobody");
    return 7;
}
C
gcc -O1 -o "$scratch/fn" "$scratch/fn.c"
step "snapshot" snapshotter create --tag fn -- "$scratch/fn"
expected=$(snaprun fn world) || true
[ -n "$expected" ] || die "the snapshot does not run"
rm "$scratch/fn"

for compression in zstd gzip; do
    image=127.0.0.1:$port/team/$compression:v1
    step "$compression: push" snaprepo push fn "$image" --plain-http --compression "$compression"

    # --- skopeo ---
    step "$compression: skopeo inspect" skopeo inspect --tls-verify=false "docker://$image"
    rm -rf "$scratch/layout" "$scratch/store"
    step "$compression: skopeo copy to a layout" skopeo --insecure-policy copy --src-tls-verify=false \
        --preserve-digests "docker://$image" "oci:$scratch/layout:v1"
    copy=127.0.0.1:$port/copied/$compression:v1
    step "$compression: and back" skopeo --insecure-policy copy --dest-tls-verify=false --preserve-digests \
        "oci:$scratch/layout:v1" "docker://$copy"
    same "$compression: digest" "$(skopeo inspect --tls-verify=false --format '{{.Digest}}' "docker://$image")" \
        "$(skopeo inspect --tls-verify=false --format '{{.Digest}}' "docker://$copy")"
    # An engine's copy works like the original.
    (
        export SNAPFN_STORE="$scratch/store"
        step "$compression: pull of the copy" snaprepo pull "$copy" --tag fn --plain-http
        same "$compression: snaprun after it" "$expected" "$(snaprun fn world || true)"
        [ "$failures" = 0 ]
    ) || failures=$((failures + 1))
done

# --- on top of another image, whose files the program reads after its start --- The base has the usual form: gzip
# layers, an image for each architecture, and a list of them.
layout=$scratch/base
mkdir -p "$layout/blobs/sha256"
# blob TYPE FILE: adds it to the layout, and prints its descriptor.
blob() {
    digest=$(sha256sum "$2" | cut -d' ' -f1)
    cp "$2" "$layout/blobs/sha256/$digest"
    printf '"mediaType":"%s","digest":"sha256:%s","size":%s' "$1" "$digest" "$(stat -c %s "$2")"
}
oci=application/vnd.oci.image entries='' file=$scratch/blob
for arch in arm64 amd64; do
    mkdir -p "$scratch/root-$arch/etc/fn"
    echo "written for $arch" >"$scratch/root-$arch/etc/fn/greeting"
    tar -C "$scratch/root-$arch" --owner=0 --group=0 -cf "$file" etc
    id=$(sha256sum "$file" | cut -d' ' -f1)
    gzip -n "$file"
    layer=$(blob "$oci.layer.v1.tar+gzip" "$file.gz")
    rm "$file.gz"
    printf '{"architecture":"%s","os":"linux","config":{"Env":["FN_STYLE=plain"],"Cmd":["sh"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
        "$arch" "$id" >"$file"
    config=$(blob "$oci.config.v1+json" "$file")
    printf '{"schemaVersion":2,"mediaType":"%s","config":{%s},"layers":[{%s}]}' "$oci.manifest.v1+json" "$config" "$layer" >"$file"
    entries="$entries${entries:+,}{$(blob "$oci.manifest.v1+json" "$file"),\"platform\":{\"os\":\"linux\",\"architecture\":\"$arch\"}}"
done
printf '{"schemaVersion":2,"mediaType":"%s","manifests":[%s]}' "$oci.index.v1+json" "$entries" >"$file"
list=$(blob "$oci.index.v1+json" "$file")
printf '{"schemaVersion":2,"manifests":[{%s,"annotations":{"org.opencontainers.image.ref.name":"v1"}}]}' "$list" >"$layout/index.json"
echo '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
base=127.0.0.1:$port/base/system:v1
step "base: copied to the registry" skopeo --insecure-policy copy --all --dest-tls-verify=false \
    "oci:$layout:v1" "docker://$base"

cat >"$scratch/reader.c" <<'C'
#include <stdio.h>
#include <stdlib.h>
#include "born.h"
int main(void) {
    char line[100] = "nothing\n", *style = getenv("FN_STYLE");
    FILE *file = fopen("/etc/fn/greeting", "r");
    if (file) fgets(line, sizeof line, file);
    printf("%ld %s %s", born, style ? style : "bare", line);
    return 7;
}
C
gcc -O1 -o "$scratch/reader" "$scratch/reader.c"
step "base: snapshot" snapshotter create --tag reader -- "$scratch/reader"
reader=$(snaprun reader) || true
same "base: not there outside of the container" "${reader%% *} bare nothing" "$reader"
rm "$scratch/reader"
based=127.0.0.1:$port/team/based:v1
step "base: push" sh -c "snaprepo push reader $based --base $base --plain-http --json >$scratch/push.json"
same "base: layers mounted, not copied" 1 "$(grep '"event":"mounted"' "$scratch/push.json" | grep -c '"kind":"base"')"
step "base: skopeo inspect" skopeo inspect --tls-verify=false "docker://$based"

# --- podman ---
need_podman
# engine ARGUMENT...: podman, with its files below the scratch directory.
engine() {
    # shellcheck disable=SC2016 # the inner shell's variables
    unshare -m sh -c 'mount -t cgroup2 none /sys/fs/cgroup && exec podman "$@"' sh \
        --root "$scratch/podman" --runroot "$scratch/podman-run" --storage-driver=vfs --cgroup-manager=cgroupfs "$@"
}
# run IMAGE OPTION...: the output of its container, and the exit status.
run() {
    which=$1
    shift
    status=0
    engine run --rm --pull=never --cgroups=disabled --network=host \
        --ulimit nofile=1024:4096 --ulimit nproc=100:100 "$@" "$which" world 2>"$scratch/podman.log" ||
        status=$?
    echo "status $status"
}
answer="$expected
status 7"
for compression in zstd gzip; do
    image=127.0.0.1:$port/team/$compression:v1
    step "podman: pull ($compression)" engine pull --tls-verify=false "$image"
    same "podman run ($compression)" "$answer" "$(run "$image")"
done
step "podman: pull (base)" engine pull --tls-verify=false "$based"
same "podman run (base)" "${reader%% *} plain written for amd64
status 7" "$(run "$based")"
same "podman run --user 65534" "$answer" "$(run "$image" --user 65534)"
same "podman run --cap-drop all" "$answer" "$(run "$image" --cap-drop all)"
same "podman run --read-only" "$answer" "$(run "$image" --read-only)"
same "podman run, all of them" "$answer" "$(run "$image" --user 65534 --cap-drop all --read-only)"
[ "$failures" = 0 ] || cat "$scratch/podman.log"
finish
