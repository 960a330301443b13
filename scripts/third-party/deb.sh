#!/bin/sh
# The Debian packages of scripts/deb.sh: their files work, where dpkg has put them. Usage: deb.sh [--debootstrap | ROOT]
# Without an argument the packages are only unpacked, and their programs run in this system (CI). With --debootstrap,
# dpkg installs them into a clean Debian that debootstrap makes, or into ROOT, the directory of one: as root.
. "$(dirname "$0")/common.sh"

need dpkg binutils gcc libc6-dev pkg-config man-db python3
scratch=$(mktemp -d "${TMPDIR:-/tmp}/snapfn-deb-XXXXXX")
trap 'rm -rf "$scratch"' EXIT
chmod 755 "$scratch"
# deb.sh takes the programs from the build's directory "release".
mkdir "$scratch/target" && ln -s "$bin" "$scratch/target/release"
step "packages" env CARGO_TARGET_DIR="$scratch/target" "$root/scripts/deb.sh" "$scratch/debs"

# --- what a user does, with the files below $1, in the directory $2 ---
cat >"$scratch/use.sh" <<'SH'
set -eu
prefix=$1
cd "$2"
export PATH="$prefix/bin:$PATH" HOME="$2" SNAPFN_STORE="$2/store"
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig" LD_LIBRARY_PATH="$prefix/lib"
[ "$prefix" = /usr ] && define= || define="--define-prefix"
cat >fn.c <<'C'
#include <snap.h>
#include <stdio.h>
int main(void) {
    snap_ready();
    return printf("started %d times from a snapshot\n", snap_generation() > 0) < 0;
}
C
# shellcheck disable=SC2046,SC2086 # words
gcc fn.c -o plain $(pkg-config $define --cflags snap)
./plain
snapcc fn.c -o fn
snapshotter create --tag fn -- ./fn >&2
snaprun fn
cat >host.c <<'C'
#include <snapfn/snapfn.h>
#include <stdio.h>
int main(void) {
    char error[256] = "";
    int status = -1;
    const char *argv[] = {"host", NULL};
    struct snapfn_start start = {.argv = argv};
    struct snapfn *snapshot = snapfn_open("fn", error, sizeof error);
    struct snapfn_child *child = snapshot ? snapfn_spawn(snapshot, &start, error, sizeof error) : NULL;
    int started = child ? snapfn_wait(child, &status, error, sizeof error) : -1;
    return printf("waited: %d %d %s\n", started, status, error) < 0;
}
C
# shellcheck disable=SC2046,SC2086 # words
gcc host.c -o host $(pkg-config $define --cflags --libs snapfn)
./host
echo 'import json, sys; print("python", json.dumps(sys.argv[1:]))' >app.py
snapfn --version
PYTHONPATH="$prefix/lib/python3/dist-packages" snapfn run app.py a b
PYTHONPATH="$prefix/lib/python3/dist-packages" python3 -c 'import snapfn; print(snapfn.__name__)'
for name in snapcc snapc++ snapshotter snaprun snaprepo snapserve snapfn; do
    [ -s "$prefix/share/man/man1/$name.1.gz" ] || echo "no manual page of $name"
done
snapserve --protocol json --check fn 2>&1
bash -c '. "$1/share/bash-completion/completions/snaprun"; COMP_WORDS=(snaprun f) COMP_CWORD=1; _snaprun
    COMP_WORDS=(snaprun --dr) COMP_CWORD=1; echo "completed: ${COMPREPLY[*]}"; _snaprun; echo "completed: ${COMPREPLY[*]}"' \
    bash "$prefix"
for unit in system user; do
    grep -q "^ExecStart=/usr/bin/snaprun --pool" "$prefix/lib/systemd/$unit/snapfn-pool@.service"
    grep -q "^ExecStart=/usr/bin/snapserve --config" "$prefix/lib/systemd/$unit/snapserve.service"
    [ -s "$prefix/lib/systemd/$unit/snapserve.socket" ]
done
SH
expected="started 0 times from a snapshot
started 1 times from a snapshot
started 1 times from a snapshot
waited: 0 0 
snapfn $(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)
python [\"a\", \"b\"]
snapfn
completed: fn
completed: --dry-run"

case ${1:-} in
    '')
        for deb in "$scratch"/debs/*.deb; do dpkg-deb -x "$deb" "$scratch/root"; done
        mkdir "$scratch/work"
        same "the unpacked files work" "$expected" \
            "$(sh "$scratch/use.sh" "$scratch/root/usr" "$scratch/work" 2>"$scratch/log" || cat "$scratch/log")"
        finish
        exit 0
        ;;
    --debootstrap)
        need debootstrap
        clean=$scratch/clean
        mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -n 1)
        release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
        step "debootstrap" debootstrap --variant=minbase --include=gcc,libc6-dev,pkg-config,python3 "$release" "$clean" "$mirror"
        ;;
    *) clean=$1 ;;
esac
step "packages again" env CARGO_TARGET_DIR="$scratch/target" "$root/scripts/deb.sh" "$scratch/again"
same "equal inputs give equal packages" "$(cd "$scratch/debs" && sha256sum ./*)" "$(cd "$scratch/again" && sha256sum ./*)"
mkdir -p "$clean/tmp/debs" "$clean/tmp/work"
cp "$scratch"/debs/*.deb "$clean/tmp/debs/"
cp "$scratch/use.sh" "$clean/tmp/"
# In a mount namespace, whose /proc goes with it.
inside() {
    unshare -m sh -c 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"' "$clean" env -i \
        PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}
step "dpkg --install" inside sh -c 'dpkg --install /tmp/debs/*.deb'
same "what dpkg has installed works" "$expected" \
    "$(inside sh /tmp/use.sh /usr /tmp/work 2>"$scratch/log" || cat "$scratch/log")"
step "dpkg --verify" inside sh -c '[ -z "$(dpkg --verify snapfn libsnapfn0 libsnapfn-dev python3-snapfn)" ]'
step "dpkg --purge" inside dpkg --purge python3-snapfn libsnapfn-dev libsnapfn0 snapfn
same "nothing is left" "" "$(find "$clean/usr" -name '*snapfn*' -o -name 'snaprun*' -o -name 'snapserve*' | head)"
finish
