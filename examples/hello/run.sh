#!/bin/sh
. "$(dirname "$0")/../common.sh"
snapcc -O2 "$example/hello.c" -o "$OUT/hello"
snapshotter create --tag hello -- "$OUT/hello" >&2 # at snap_ready(), because the program marks it

echo "ordinary:"
"$OUT/hello" 4999999
echo "from the snapshot:"
snaprun hello 4999999 4999998
snaprun hello 2
snaprun hello 9999999 2>&1 || echo "status $?"
