#!/bin/sh
# The Dockerfile and the CI job of examples/container: podman builds the image under its default seccomp profile and
# capabilities, and runs it without any. The base image is made of this machine's own Debian packages, since a test
# downloads no image.
. "$(dirname "$0")/common.sh"

need podman crun python3 util-linux tar
scratch=$(mktemp -d "${TMPDIR:-/tmp}/snapfn-dockerfile-XXXXXX")
trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT
chmod 755 "$scratch"

need_podman

# --- the base: a shell and python3, from the packages that are installed here ---
# depends PACKAGE...: these packages and all that they depend on, among the installed ones.
depends() {
    dpkg-query -W -f '${Package}\t${Provides}\t${Pre-Depends}, ${Depends}\n' | awk -F '\t' -v wanted="$*" '
        { sub(/:.*/, "", $1); gsub(/ *\([^)]*\)|:any/, "", $3); needs[$1] = $3
          gsub(/ *\([^)]*\)/, "", $2); count = split($2, names, /, */)
          for (i = 1; i <= count; i++) if (!(names[i] in of)) of[names[i]] = $1 }
        END { count = split(wanted, queue, " ")
          for (at = 1; at <= count; at++) {
              name = queue[at] in needs ? queue[at] : of[queue[at]]
              if (name == "" || name in done) continue
              done[name] = 1; print name
              more = split(needs[name], names, / *[,|] */)
              for (i = 1; i <= more; i++) if (names[i] != "") queue[++count] = names[i] } }'
}
base=$scratch/base
mkdir -p "$base/usr/bin" "$base/usr/lib" "$base/usr/lib64" "$base/usr/sbin" "$base/tmp" "$base/proc" "$base/sys" "$base/dev"
for name in bin lib lib64 sbin; do ln -s "usr/$name" "$base/$name"; done
chmod 1777 "$base/tmp"
# Documentation is of no use here. A directory comes with the files in it.
for package in $(depends dash coreutils grep base-files base-passwd python3); do
    dpkg-query -L "$package"
done | grep -v -e ^/usr/share/doc -e ^/usr/share/man -e ^/usr/share/locale -e ^/usr/share/perl | sort -u |
    while IFS= read -r path; do [ -d "$path" ] && [ ! -L "$path" ] || [ ! -e "$path" ] || echo "$path"; done >"$scratch/files"
tar -C / -c --no-recursion -T "$scratch/files" 2>/dev/null | tar -C "$base" -x --keep-directory-symlink
printf 'root:x:0:0::/:/bin/sh\n' >"$base/etc/passwd"

# --- the context of the build ---
context=$scratch/context
mkdir "$context"
cp -r "$root/examples/container/Dockerfile" "$root/examples/container/handler.py" "$root/examples/container/ci.sh" \
    "$root/python/src" "$context/"
mv "$context/src" "$context/python"
mkdir "$context/bin"
for program in snapshotter snapboot snaprun; do cp "$bin/$program" "$context/bin/"; done
tar -C "$base" -c . >"$scratch/base.tar"
# engine ARGUMENT...: podman as root.
engine() {
    # shellcheck disable=SC2016 # the inner shell's variables
    env -i PATH="$PATH" HOME="$scratch" XDG_RUNTIME_DIR="$scratch" \
        unshare -m sh -c 'mount -t cgroup2 none /sys/fs/cgroup && exec podman "$@"' sh \
        --root "$scratch/podman" --runroot "$scratch/podman-run" --storage-driver=vfs --cgroup-manager=cgroupfs "$@"
}
limits="--ulimit nofile=1024:4096 --ulimit nproc=100:100"
# run OPTION... IMAGE ARGUMENT...
run() {
    # shellcheck disable=SC2086 # words
    engine run -i --rm --pull=never --cgroups=disabled --network=host $limits "$@" 2>"$scratch/podman.log" ||
        echo "status $?: $(cat "$scratch/podman.log")"
}
request='{"words": ["word7", "other", "word19999"]}'
answer() { echo "{\"found\": {\"word19999\": 399960001, \"word7\": 49}, \"arguments\": [\"a\", \"b\"], \"user\": $1}"; }

step "base: import" engine import "$scratch/base.tar" localhost/base
# A build inside of a container makes none of its own: the isolation "chroot" needs no rights for that. Seccomp profile
# and capabilities are podman's defaults.
step "Dockerfile: build" engine build --isolation=chroot --layers=false --pull=never --network=host \
    --build-arg BASE=localhost/base -t localhost/fn "$context"

same "run --cap-drop all --read-only --user 65534" "$(answer 65534)" \
    "$(echo "$request" | run --cap-drop all --read-only --user 65534 localhost/fn a b)"
same "run with the image's own settings" "$(answer 65534)" "$(echo "$request" | run localhost/fn a b)"

# --- the CI job, which makes and starts a snapshot inside one container: under the default profile, with and without
# capabilities ---
for options in "" "--cap-drop all --user 65534"; do
    user=${options##* }
    # shellcheck disable=SC2086,SC2016 # words; the inner shell's variables
    same "create in a container ${options:-by root}" "$(answer "${user:-0}")" \
        "$(echo "$request" | run $options -v "$context:/context:ro" localhost/base \
            sh -c 'grep -q "^Seccomp:.2" /proc/self/status && PATH=/context/bin:$PATH PYTHONPATH=/context/python \
                exec sh /context/ci.sh a b')"
done
finish
