#!/bin/sh
# Lua 5.4 from Debian's source package, built by its own build system with CC=snapcc: its own check, checks of the
# language, and an interpreter with its modules loaded that runs the script on its command line.
. "$(dirname "$0")/common.sh"

need build-essential autoconf automake libtool libreadline-dev dpkg-dev
source=$(source_package lua5.4)
cd "$source"
if [ ! -e .built ]; then
    export CC=snapcc CXX=snapc++ SNAPFN_STRICT=1
    # These are the steps of debian/rules.
    arch=$(dpkg-architecture -qDEB_HOST_MULTIARCH)
    mkdir -p debian/libtool
    cp debian/configure.ac debian/libtool/
    step "lua: autoreconf" sh -c "cd debian/libtool && LIBTOOLIZE='libtoolize -i' autoreconf -f -i"
    step "lua: configure" sh -c "cd debian/libtool && ./configure"
    printf '#ifndef _LUA_DEB_MULTIARCH_\n#define _LUA_DEB_MULTIARCH_\n#define DEB_HOST_MULTIARCH "%s"\n#endif\n' "$arch" \
        >src/lua5.4-deb-multiarch.h
    step "lua: make" make linux-readline MYLIBS= "LIBTOOL=$source/debian/libtool/libtool" "CC=$CC -std=gnu99" "CXX=$CXX" \
        DEB_HOST_MULTIARCH="$arch"
    touch .built
    unset SNAPFN_STRICT
fi
lua=$source/src/lua5.4
[ -x "$lua" ] || lua=$source/src/.libs/lua5.4
step "lua: make test" make test "LIBTOOL=$source/debian/libtool/libtool"
[ -e "$lua.code" ] && [ -e "$lua.init" ] || die "snapcc wrote no .code and .init next to $lua"
step "lua: checks of the language" "$lua" "$here/lua/selfcheck.lua"
step "lua: the snap module" make -C "$root/examples/lua" LUA_INCLUDE="$source/src" OUT="$cache/lua-module" CC=snapcc

fresh_store
scratch=$SNAPFN_STORE.scripts
mkdir -p "$scratch"
trap 'rm -rf "$SNAPFN_STORE" "$scratch"' EXIT
chmod 755 "$scratch"
cat >"$scratch/report.lua" <<'LUA'
-- `loaded` counts the modules that were loaded before: the same in both runs, or the snapshot has forgotten them.
print("script", #arg, arg[1], arg[2], os.getenv("WHO"))
print(inspect.describe({ 3, 1, 2 }), words.count("a b a c b a").a, #primes.upto(1000))
for line in io.lines() do print("line", (line:gsub("%w+", string.upper))) end
os.exit(tonumber(arg[2]) or 0)
LUA
cat >"$scratch/error.lua" <<'LUA'
local function fail() error({ code = 7 }) end
local co = coroutine.wrap(function() coroutine.yield(primes.upto(10)[2]) fail() end)
print(co())
local ok, err = pcall(co)
print(ok, err.code, select("#", table.unpack(arg)))
LUA
chmod 644 "$scratch"/*.lua
export LUA_CPATH="$cache/lua-module/?.so" LUA_PATH="$root/examples/lua/?.lua;;"
chmod -R go+rX "$cache/lua-module"

step "lua: snapshot with its modules loaded" \
    snapshotter create --tag lua-modules --at ready -- "$lua" "$root/examples/lua/preload.lua"
ordinary() { as_plain env -C / WHO="$who" "$lua" "$root/examples/lua/preload.lua" "$@"; }
restored() { as_plain env -C / WHO="$who" snaprun lua-modules "$@"; }
for who in first second; do
    for script in "report.lua x 3" "report.lua $who" "error.lua a b c"; do
        # shellcheck disable=SC2086
        expected=$(printf 'one two\nthree\n' | ordinary "$scratch"/$script 2>&1 && echo "status 0" || echo "status $?")
        # shellcheck disable=SC2086
        actual=$(printf 'one two\nthree\n' | restored "$scratch"/$script 2>&1 && echo "status 0" || echo "status $?")
        same "lua: $script for $who" "$expected" "$actual"
        case $actual in
        *stack\ traceback*) same "lua: $script does its work" "no traceback" "$actual" ;;
        esac
    done
done
finish
