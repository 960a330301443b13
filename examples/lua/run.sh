#!/bin/sh
. "$(dirname "$0")/../common.sh"
command -v lua5.4 >/dev/null && [ -e /usr/include/lua5.4/lua.h ] || skip "install lua5.4 and liblua5.4-dev"
make -s -C "$example" OUT="$OUT"
export LUA_CPATH="$OUT/?.so" LUA_PATH="$example/?.lua;;"
lua=$(command -v lua5.4)
snapshotter create --tag lua --at ready -- "$lua" "$example/preload.lua" >&2

echo "ordinary:"
"$lua" "$example/preload.lua" "$example/job.lua" x y
echo "from the snapshot:"
snaprun lua "$example/job.lua" x y
snaprun lua "$example/job.lua" z
