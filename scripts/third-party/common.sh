# The scripts beside this file source it. SNAPFN_BIN names the directory of snapfn's binaries, SNAPFN_THIRD_PARTY the
# one for downloads and builds.

set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
bin=$(cd "${SNAPFN_BIN:-$root/target/release}" 2>/dev/null && pwd) || {
    echo "build first: cargo build --release --workspace, or set SNAPFN_BIN" >&2
    exit 1
}
cache=${SNAPFN_THIRD_PARTY:-$root/target/third-party}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
export PATH="$bin:$PATH"
failures=0

# Another user starts the instances, so snapshots are for all.
snapshotter() {
    [ "$1" != create ] || { shift; set -- create --share "$@"; }
    command snapshotter "$@"
}

die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# The C++ driver is a link to the C driver, which checks its own name.
[ -e "$bin/snapc++" ] || ln -sf snapcc "$bin/snapc++" || die "cannot make $bin/snapc++"

# need PACKAGE...: Debian packages that must be installed. Root installs them; for others it prints the names.
need() {
    missing=
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
    [ -z "$missing" ] && return
    [ "$(id -u)" = 0 ] || die "please install:$missing"
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >"$cache/apt.log" 2>&1 || {
        apt-get update -q >>"$cache/apt.log" 2>&1
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >>"$cache/apt.log" 2>&1
    } || die "cannot install:$missing (see $cache/apt.log)"
}

# apt-get with lists, cache and sources of its own: it reads the host's configuration only for its mirrors.
private_apt() {
    apt-get -q -o "Dir::Etc::SourceList=$cache/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o "Dir::State=$cache/apt/state" -o Dir::State::status=/var/lib/dpkg/status \
        -o "Dir::Cache=$cache/apt/cache" -o APT::Sandbox::User=root "$@"
}

# source_package NAME: unpacks the newest Debian source of this release; prints its directory.
source_package() {
    unpacked=$cache/src/$1
    if [ ! -e "$unpacked/.complete" ]; then
        mkdir -p "$cache/apt/state/lists/partial" "$cache/apt/cache/archives/partial" "$cache/src"
        if [ ! -e "$cache/apt/updated" ]; then
            apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)' 'Created-By: Packages' |
                awk '$3 == "main" && ($4 == "Debian" || $1 ~ /debian/) {
                    print "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]", $1, $2, $3 }' |
                sort -u >"$cache/apt/sources.list"
            [ -s "$cache/apt/sources.list" ] || die "no Debian mirror in the host's apt configuration"
            private_apt update >"$cache/apt/log" 2>&1 || die "cannot read source lists: $(tail -3 "$cache/apt/log")"
            touch "$cache/apt/updated"
        fi
        rm -rf "$unpacked" "$cache/src/download-$1"
        mkdir -p "$cache/src/download-$1"
        (
            cd "$cache/src/download-$1"
            private_apt source --download-only "$1" >>"$cache/apt/log" 2>&1 || die "cannot download $1"
            dpkg-source -x ./*.dsc "$unpacked" >>"$cache/apt/log" 2>&1 || die "cannot unpack $1"
        )
        rm -rf "$cache/src/download-$1"
        touch "$unpacked/.complete"
    fi
    echo "$unpacked"
}

# step TEXT COMMAND...: runs it with its output in a log, and prints the log if it fails.
step() {
    text=$1
    shift
    if "$@" >"$cache/step.log" 2>&1; then
        echo "ok    $text"
    else
        echo "FAIL  $text"
        tail -30 "$cache/step.log"
        exit 1
    fi
}

# same TEXT EXPECTED ACTUAL: prints and counts a mismatch, which fails the script at its end.
same() {
    if [ "$2" = "$3" ]; then
        echo "ok    $1"
    else
        printf 'FAIL  %s\n--- expected\n%s\n--- got\n%s\n' "$1" "$2" "$3"
        failures=$((failures + 1))
    fi
}

# as_plain COMMAND...: runs it without any privilege, like an instance in production.
as_plain() {
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all -- "$@"
    else
        "$@"
    fi
}

# Ends the script if podman cannot run here. Only root can give it a mount namespace of its own with a cgroup2 in it,
# for hosts with the older hierarchy.
need_podman() {
    [ "$(id -u)" = 0 ] && unshare -m sh -c 'mount -t cgroup2 none /sys/fs/cgroup' 2>/dev/null && return
    reason="podman: needs root, and unshare and mount of cgroup2 to be allowed"
    [ "${SNAPFN_STRICT_TESTS:-0}" != 1 ] || die "cannot run here: $reason"
    echo "skip  $reason"
    finish
    exit 0
}

# A store of the script's own, readable by all.
fresh_store() {
    SNAPFN_STORE=$(mktemp -d "${TMPDIR:-/tmp}/snapfn-store-XXXXXX")
    chmod 755 "$SNAPFN_STORE"
    export SNAPFN_STORE
    trap 'rm -rf "$SNAPFN_STORE"' EXIT
}

finish() {
    [ "$failures" = 0 ] || die "$failures mismatches"
    echo "all good"
}
