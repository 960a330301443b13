#!/bin/sh
# Ordinary starts against starts from a snapshot, for programs of several sizes: see usage below.
set -eu
. "$(dirname "$0")/lib.sh"

usage() {
    cat <<'TEXT'
Usage: scripts/bench.sh [--runs N] [WORD…]

Measures ordinary starts and starts from a snapshot alternately and prints the medians. With WORDs only the cases
whose names contain one of them. Run it on a machine that has nothing else to do.

  --runs N    measured starts of each kind; default 100
  -h, --help  this text
TEXT
}

runs=100
while [ $# -gt 0 ]; do
    case $1 in
        --runs) [ $# -ge 2 ] || die "--runs needs a number"; runs=$2; shift ;;
        -h | --help) usage; exit 0 ;;
        -*) usage >&2; exit 2 ;;
        *) break ;;
    esac
    shift
done
case $runs in
    '' | *[!0-9]* | 0*) die "--runs needs a number above 0, not '$runs'" ;;
esac
words=$*

need_packages gcc libc6-dev python3 sqlite3
need_rust
build_release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp scripts/quickstart/* "$work"
cd "$work"
for variable in $(env | sed -n 's/^\(SNAPFN_[A-Z_]*\)=.*/\1/p'); do
    unset "$variable"
done
export PATH="$bin:$PATH" SNAPFN_STORE="$work/store"
gcc -O2 -o timing timing.c

# Touches as many MiB as its first argument says before the snapshot point, and a byte of each later.
cat >heap.c <<'C'
#include <snap.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    size_t size = argc > 1 ? strtoul(argv[1], NULL, 10) << 20 : 0;
    char *memory = malloc(size + 1);
    if (!memory) return 1;
    for (size_t i = 0; i < size; i += 64) memory[i] = (char)(i >> 12 | 1);
    memory[size] = 1;
    snap_ready();
    unsigned long sum = 0;
    for (size_t i = 0; i <= size; i += 1 << 20) sum += (unsigned char)memory[i];
    return printf("%lu\n", sum) < 0;
}
C
printf 'int main(void) { return 0; }\n' >noop.c
printf 'print(2 + 2)\n' >print.py
snapcc -O2 heap.c -o heap
snapcc -O2 noop.c -o noop
snapcc -O2 -static noop.c -o noop-static
snapcc -O2 packages.c -o packages
cat /var/lib/dpkg/info/*.list | LC_ALL=C sort -u >files.txt

# bench LABEL INPUT POINT PROGRAM…: the program that is measured, up to its snapshot point.
bench() {
    label=$1 input=$2 point=$3
    shift 3
    [ -z "$words" ] || {
        wanted=no
        for word in $words; do
            case $label in *"$word"*) wanted=yes ;; esac
        done
        [ $wanted = yes ] || return 0
    }
    echo "  $label" >&2
    snapshotter create --tag bench --at "$point" -- "$@" >created || die "$label: no snapshot"
    # The program gets the same arguments again; at another point than main it does not look at them.
    program=$1
    shift
    ./timing "$runs" "$label" "$input" "$program" "$@" :: snaprun bench "$@" :: >>timing.tsv ||
        die "$label: the two kinds of start did not give the same result"
}

python=/usr/bin/python3
: >timing.tsv
bench "empty, static" /dev/null main ./noop-static
bench "empty" /dev/null main ./noop
for size in 1 16 128; do
    bench "heap of $size MiB" /dev/null ready ./heap $size
done
bench "packages" /dev/null ready ./packages bash /usr/bin/gcc
bench "sqlite3" query.sql syscall:read:0 /usr/bin/sqlite3 -batch -init files.sql :memory:
bench "python3" print.py syscall:read:0 $python -c 'import sys; exec(sys.stdin.read())'
bench "python3, 7 modules" request.py syscall:read:0 $python prepare.py
awk -v bold="$bold" -v plain="$plain" -f table.awk timing.tsv
