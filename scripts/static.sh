#!/bin/sh
# Builds programs that run on hosts with another C library: see usage below.
set -eu
. "$(dirname "$0")/lib.sh"

usage() {
    cat <<'TEXT'
Usage: scripts/static.sh [--out DIR] [--profile PROFILE] [--check]

Builds the programs of scripts/install/programs as static ones, and puts them into one directory with snaprun and
snapboot, which always are static. They run on any Linux for x86-64, with any C library, and in containers.

  --out DIR          directory of the programs; default target/static
  --profile PROFILE  cargo's profile for all except snaprun and snapboot; default release; dev is quicker, for a check
  --check            afterwards, make and start a snapshot in a root that holds only these programs (needs
                     bubblewrap)
  -h, --help         this text

Environment: CARGO_TARGET_DIR.
TEXT
}

out=$target/static
check=no
profile=release
while [ $# -gt 0 ]; do
    case $1 in
        --out) [ $# -ge 2 ] || die "--out needs a directory"; out=$2; shift ;;
        --out=*) out=${1#--out=} ;;
        --profile) [ $# -ge 2 ] || die "--profile needs the name of a profile"; profile=$2; shift ;;
        --profile=*) profile=${1#--profile=} ;;
        --check) check=yes ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
    shift
done

need_packages gcc libc6-dev binutils
need_rust
cargo build --release --locked -p snapfn-loader

# With --target the flags do not apply to build scripts and procedural macros, which the compiler loads as shared
# libraries.
static=$(shipped | awk '$6 == "yes" { print $1 }') always=$(shipped | awk '$6 == "always" { print $1 }')
triple=x86_64-unknown-linux-gnu
# shellcheck disable=SC2046,SC2086 # words
RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static" cargo build --profile "$profile" --locked --target "$triple" --workspace \
    $(printf -- '--bin %s ' $static)

# Cargo's folder of the profile dev is called debug.
built=$target/$triple/$profile
[ "$profile" != dev ] || built=$target/$triple/debug

mkdir -p "$out"
out=$(cd "$out" && pwd)
for program in $static; do
    install -m 755 "$built/$program" "$out/$program"
done
for program in $always; do
    install -m 755 "$bin/$program" "$out/$program"
done
ln -sfn snapcc "$out/snapc++"

for program in $static $always; do
    if readelf -lW "$out/$program" | grep -q INTERP || readelf -dW "$out/$program" | grep -q NEEDED; then
        die "$program is not static"
    fi
done
echo "in $out: static programs for any Linux on x86-64"
[ "$check" = yes ] || exit 0

# A root with the programs, an empty store and one static program: no C library, no /etc, no shell.
need_packages bubblewrap
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin" "$work/store" "$work/tmp" "$work/proc" "$work/dev"
cp "$out"/* "$work/bin/"
cat >"$work/hello.c" <<'C'
#include <stdio.h>
static char table[1 << 20];
__attribute__((constructor)) static void fill(void) {
    for (unsigned i = 0; i < sizeof table; i++) table[i] = (char)(i % 251);
}
int main(int argc, char **argv) {
    return printf("hello %s %d\n", argc > 1 ? argv[1] : "nobody", table[sizeof table - 1]) < 0;
}
C
gcc -O1 -static -o "$work/bin/hello" "$work/hello.c"
inside() {
    bwrap --bind "$work" / --proc /proc --dev /dev --unshare-user --unshare-net --clearenv --setenv PATH /bin \
        --setenv SNAPFN_STORE /store --setenv HOME /tmp "$@"
}
inside snapshotter create --tag hello -- /bin/hello
expected=$(inside hello world)
rm "$work/bin/hello"
found=$(inside snaprun hello world)
[ "$found" = "$expected" ] || die "an instance prints '$found' instead of '$expected'"
inside snapshotter inspect hello >/dev/null
inside snapshotter check hello >/dev/null
inside snaprepo verify --all
inside snaprepo ls | grep -q hello || die "snaprepo does not list the snapshot"
echo "they work in an empty root"
