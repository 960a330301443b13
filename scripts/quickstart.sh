#!/bin/sh
# Takes a fresh Debian 12 machine to programs that start from snapshots, and measures the gain: see usage below.
set -eu
. "$(dirname "$0")/lib.sh"

usage() {
    cat <<'TEXT'
Usage: scripts/quickstart.sh [--out DIR] [--runs N]

Installs missing packages (as root), builds snapfn, takes snapshots of a C function, of Debian's sqlite3 and of
Debian's python3, starts them, and measures ordinary starts against starts from the snapshot. At the end two of the
snapshots go through a registry on loopback into an empty store, and into another go code and init data file of one,
of which a snapshot is made there. That program is removed, and starts from both stores.

  --out DIR   directory of the store and all other files; default target/quickstart
  --runs N    measured starts of each kind; default 40
  -h, --help  this text

Environment:
  SNAPFN_BIN        directory of programs that are built already; then nothing is built
  CARGO_TARGET_DIR, NO_COLOR
TEXT
}

out=$target/quickstart
runs=40
while [ $# -gt 0 ]; do
    case $1 in
        --out) [ $# -ge 2 ] || die "--out needs a directory"; out=$2; shift ;;
        --out=*) out=${1#--out=} ;;
        --runs) [ $# -ge 2 ] || die "--runs needs a number"; runs=$2; shift ;;
        --runs=*) runs=${1#--runs=} ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
    shift
done
case $runs in
    '' | *[!0-9]* | 0*) die "--runs needs a number above 0, not '$runs'" ;;
esac

began=$(date +%s)
mkdir -p "$out"
out=$(cd "$out" && pwd)

registry=
stop_registry() {
    [ -z "$registry" ] || kill "$registry" 2>/dev/null || true
    registry=
}
trap stop_registry EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Finds Debian's docker-registry. A missing one is unpacked and not installed, since the installed package is a service
# that listens on all addresses. On other systems it may be missing.
find_registry() {
    PATH=$PATH:$out/unpacked/usr/bin
    ! command -v docker-registry >/dev/null && command -v dpkg-deb >/dev/null || return 0
    echo "unpacking docker-registry"
    mkdir -p "$out/unpacked"
    (
        cd "$out/unpacked"
        apt-get download -q docker-registry || { apt-get update -q && apt-get download -q docker-registry; }
        dpkg-deb -x docker-registry_*.deb .
    ) >"$out/unpacked/apt.log" 2>&1 || true
    command -v docker-registry >/dev/null || {
        tail -n 5 "$out/unpacked/apt.log" >&2
        die "cannot download docker-registry (if apt has no lists, as root: apt-get update)"
    }
}

# start_registry: sets $host to its address, 127.0.0.1 and a port that is free.
start_registry() {
    rm -rf registry
    : >registry.log
    cat >registry.yml <<YML
version: 0.1
log: { level: info }
storage: { filesystem: { rootdirectory: $out/registry } }
http: { addr: "127.0.0.1:0" }
YML
    # It takes settings from REGISTRY_... variables.
    env -i PATH="$PATH" setpriv --pdeathsig KILL docker-registry serve registry.yml >registry.log 2>&1 &
    registry=$!
    tries=0
    until host=$(sed -n 's/.*listening on \(127\.0\.0\.1:[0-9]*\).*/\1/p' registry.log) && [ -n "$host" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 200 ] || die "docker-registry does not start: $(cat registry.log)"
        sleep 0.05
    done
}

title() {
    printf '\n%s%s%s\n' "$bold" "$*" "$plain"
}
# show COMMAND: prints a line of shell and runs it.
show() {
    printf '  %s$ %s%s\n' "$green" "$1" "$plain"
    eval "$1" >shown || die "failed with status $?: $1"
    sed 's/^/    /' shown
}

title "1/6  Set-up"
need_packages gcc libc6-dev python3 sqlite3
find_registry
compilers=$(gcc --version | head -n 1)
if [ -z "${SNAPFN_BIN:-}" ]; then
    need_rust
    compilers="$compilers; $(rustc --version)"
fi
echo "  $compilers; $(/usr/bin/python3 --version)"

title "2/6  Build"
if [ -n "${SNAPFN_BIN:-}" ]; then
    bin=$(cd "$SNAPFN_BIN" && pwd)
    echo "  nothing: \$SNAPFN_BIN is $bin"
else
    before=$(date +%s)
    build_release
    echo "  in $bin, after $(($(date +%s) - before)) s"
fi

cp scripts/quickstart/* "$out"
cd "$out"
for variable in $(env | sed -n 's/^\(SNAPFN_[A-Z_]*\)=.*/\1/p'); do
    unset "$variable"
done
export PATH="$bin:$PATH" SNAPFN_STORE="$out/store"

title "3/6  A function in C: Debian's package database, read and sorted before the snapshot is taken"
show "snapcc -O2 packages.c -o packages"
show "snapshotter create --tag packages -- ./packages"
show "snaprun packages bash /usr/bin/gcc"
mv shown expected

title "4/6  Debian's own programs: no source, no recompilation; the snapshot is taken where they wait for input"
cat /var/lib/dpkg/info/*.list | LC_ALL=C sort -u >files.txt
echo "  sqlite3 with the names of $(wc -l <files.txt) files in memory"
show "snapshotter create --tag files --at syscall:read:0 -- /usr/bin/sqlite3 -batch -init files.sql :memory:"
show "snaprun files <query.sql"
echo "  python3 with json, re, asyncio, http.server, sqlite3, ssl and unittest imported"
show "snapshotter create --tag python --at syscall:read:0 -- /usr/bin/python3 prepare.py"
show "snaprun python <request.py"

title "5/6  Measured here and now: $runs starts of each kind, alternately; medians"
gcc -O2 -o timing timing.c
./timing "$runs" \
    "packages (C)" /dev/null ./packages bash /usr/bin/gcc :: snaprun packages bash /usr/bin/gcc :: \
    "sqlite3, files in memory" query.sql /usr/bin/sqlite3 -batch -init files.sql :memory: :: snaprun files :: \
    "python3, 7 modules" request.py /usr/bin/python3 prepare.py :: snaprun python :: \
    >timing.tsv || die "the two kinds of start did not give the same result"
awk -v bold="$bold" -v plain="$plain" -f table.awk timing.tsv
echo "  Time runs from just before the process is created to its first byte of output, and until it has been reaped."

title "6/6  On the way to another host: through a registry on loopback into an empty store; then the program is removed"
if command -v docker-registry >/dev/null; then
    start_registry
    show "snaprepo push packages $host/packages --init --json >push.json && awk -f layers.awk push.json"
    show "snaprepo push python $host/python --json >push.json && awk -f layers.awk push.json"
    rm -rf elsewhere apart moved.init
    show "export SNAPFN_STORE=$out/elsewhere"
    for name in packages python; do
        show "snaprepo pull $host/$name --json >pull.json && awk -f layers.awk pull.json"
    done
    echo "  a third store gets code and init data file instead of the snapshot, and makes the snapshot itself"
    show "export SNAPFN_STORE=$out/apart"
    show "snaprepo pull $host/packages --init moved.init --json >pull.json && awk -f layers.awk pull.json"
    stop_registry
    show "rm packages packages.code packages.init"
    show "snapshotter create --init moved.init"
    for store in elsewhere apart; do
        show "export SNAPFN_STORE=$out/$store"
        show "snaprun packages bash /usr/bin/gcc"
        cmp -s shown expected || die "the snapshot in $store gives another result"
    done
else
    echo "  left out: there is no docker-registry in \$PATH"
fi

title "Next"
cat <<TEXT
  Everything is in $out, $(($(date +%s) - began)) s after the start. To go on there:
    export PATH="$bin:\$PATH" SNAPFN_STORE="$out/store"
    snaprun packages sqlite3 /usr/bin/python3
    snapshotter inspect packages   # the content of the snapshot
    snaprun --dry-run packages     # the plan of a start, one operation per line
    snaprepo ls
  A program of your own: snapcc -O2 fn.c -o fn && snapshotter create -- ./fn && snaprun fn
  To install: scripts/install.sh     Examples: examples/     How it works: ARCHITECTURE.md
TEXT
