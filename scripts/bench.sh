#!/bin/sh
# Measures ordinary starts against starts from a snapshot: see usage below.
set -eu
. "$(dirname "$0")/lib.sh"

usage() {
    cat <<'TEXT'
Usage: scripts/bench.sh [OPTIONS] [WORD…]

Measures ordinary starts, starts from a snapshot and forks of a warm parent in turns. Prints medians with their spread,
the kernel's work for each start, and ratios. WORDs select the cases whose names contain one of them. Run it on a
machine without other load. It also measures CRIU, and wasmtime with Wizer (and clang for wasm32-wasi), if they are
installed and can be used.

  --runs N      measured starts of each kind; default 60, a quarter of it if a start takes more than 100 ms
  --seconds S   time for which starts per second are counted; default 2
  --live N      live instances beside which the next is started (repeatable); default 1, 100, 1000, 5000
  --json FILE   write all figures to FILE
  --svg DIR     write pictures into DIR
  --quick       one round of each with few instances, to see that everything can be measured
  -h, --help    this text
TEXT
}

# Paths begin at the caller's directory.
absolute() {
    case $1 in
        /*) echo "$1" ;;
        *) echo "$OLDPWD/$1" ;;
    esac
}

option() {
    set -- "$1" "${2-}"
    [ -n "$2" ] || die "$1 needs a value"
}

quick=no
set -- "$@" --
while [ "$1" != -- ]; do
    case $1 in
        --runs | --seconds | --live) option "$1" "${2-}"; set -- "$@" "$1" "$2"; shift 2; continue ;;
        --json | --svg) option "$1" "${2-}"; set -- "$@" "$1" "$(absolute "$2")"; shift 2; continue ;;
        --quick) quick=yes ;;
        -h | --help) usage; exit 0 ;;
        -*) usage >&2; exit 2 ;;
        *) set -- "$@" "$1" ;;
    esac
    shift
done
shift
[ "$quick" = no ] || set -- --runs 1 --seconds 0.1 --live 1 --live 20 "$@"

need_packages gcc g++ libc6-dev binutils python3 python3-numpy lua5.4 sqlite3 redis-server redis-tools
need_rust
build_release
cargo build --release --locked -p snapfn-bench
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp bench/programs/* "$work"
cd "$work"
for variable in $(env | sed -n 's/^\(SNAPFN_[A-Z_]*\)=.*/\1/p'); do
    unset "$variable"
done
export PATH="$bin:$PATH" SNAPFN_STORE="$work/store"
# An ordinary start of Python has its modules compiled.
unset PYTHONDONTWRITEBYTECODE PYTHONUNBUFFERED PYTHONPYCACHEPREFIX

gcc -O2 -static -nostdlib -o floor floor.c
snapcc -O2 -static -o noop-static noop.c
for program in noop idle heap; do
    snapcc -O2 -o "$program" "$program.c"
done
gcc -O2 -o serve serve.c
gcc -O2 -static -o serve-static serve.c
gcc -O2 -o waiting waiting.c

# A C++ program with shared libraries of its own, each with a constructor that fills a table: compiled once, with
# another name for its function in every library.
cat >part.cc <<'CXX'
#include <map>
#include <string>
static const std::map<int, std::string> table = [] {
    std::map<int, std::string> filled;
    for (int i = 0; i < 200; i++) filled[i * 17 % 211] = "word " + std::to_string(i);
    return filled;
}();
extern "C" int part() { return static_cast<int>(table.size()); }
CXX
g++ -O2 -fPIC -c -o part.o part.cc
for count in 0 10 30 100; do
    calls='' declarations='' libraries=''
    i=0
    while [ $i -lt $count ]; do
        i=$((i + 1))
        [ -e "libpart$i.so" ] || {
            objcopy --redefine-sym "part=part$i" part.o "part$i.o"
            g++ -shared -o "libpart$i.so" "part$i.o"
        }
        declarations="$declarations int part$i();" calls="$calls + part$i()" libraries="$libraries -lpart$i"
    done
    printf '#include <iostream>\nextern "C" { %s }\nint main() { std::cout << 0 %s << std::endl; }\n' \
        "$declarations" "$calls" >main.cc
    # shellcheck disable=SC2086
    snapc++ -O2 -o "libraries-$count" main.cc -L. $libraries -Wl,-rpath,"$work"
done

# 100,000 keys, which an ordinary start loads from its dump.
/usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])' >redis.port
printf 'bind 127.0.0.1\nport %s\ndir %s\nsave ""\nappendonly no\n' "$(cat redis.port)" "$work" >redis.conf
redis-server redis.conf >redis.log &
server=$!
until redis-cli -p "$(cat redis.port)" ping >/dev/null 2>&1; do sleep 0.05; done
awk 'BEGIN { for (i = 0; i < 100000; i++) printf "SET key:%d value-%d\r\n", i, i }' |
    redis-cli -p "$(cat redis.port)" --pipe >/dev/null
redis-cli -p "$(cat redis.port)" save >/dev/null
redis-cli -p "$(cat redis.port)" shutdown nosave || true
wait $server || true

# Compiles programs that are not compiled yet.
for program in noop modules numeric; do
    /usr/bin/python3 "$program.py" <request.py >/dev/null
done
snapfn-bench --work "$work" "$@"
