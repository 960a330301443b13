#!/bin/sh
. "$(dirname "$0")/../common.sh"
# The C++ driver is snapc++, a link to snapcc.
command -v snapc++ >/dev/null || {
    ln -sf "$(command -v snapcc)" "$OUT/snapc++"
    PATH="$OUT:$PATH"
}
snapc++ -std=c++17 -O2 "$example/wordfreq.cc" -o "$OUT/wordfreq"
snapshotter create --tag wordfreq -- "$OUT/wordfreq" >&2 # at main, because the program marks nothing

text="the cat and the dog and the cat in the hat on the mat of the cat filler77"
echo "ordinary:"
echo "$text" | "$OUT/wordfreq" 2
echo "from the snapshot:"
echo "$text" | snaprun wordfreq 2
echo "$text" | snaprun wordfreq 1
snaprun wordfreq </dev/null || echo "status $?"
