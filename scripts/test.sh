#!/bin/sh
# Runs every check that a change must pass: see usage below.
set -u
# In the background or under nohup signals are ignored, and tests would inherit that. A shell cannot undo it, so the
# script starts itself once more.
[ -n "${SNAPFN_DEFAULT_SIGNALS:-}" ] || exec env --default-signal=HUP,INT,QUIT SNAPFN_DEFAULT_SIGNALS=1 sh "$0" "$@"
. "$(dirname "$0")/lib.sh"

usage() {
    cat <<'TEXT'
Usage: scripts/test.sh [--quick | --fast [--since REVISION]] [--strict]

Installs missing packages (as root), builds snapfn and runs every check: format, lints, documentation, all tests (among
them the corpus: ordinary run = run from a snapshot), fuzz targets, installation, Lua, SQLite and Python from Debian.

  --quick     format, lints and tests only
  --fast      after each edit, in less than two minutes: format, lints and tests of what has changed since REVISION
              (default: HEAD) and of what depends on it; each program of the corpus built in one way; nothing installed
  --strict    a test that cannot run here fails (the same as SNAPFN_STRICT_TESTS=1)
  -h, --help  this text

Environment: CARGO_TARGET_DIR, NO_COLOR. Logs of all phases are in target/test-logs.
TEXT
}

quick=no fast=no since=HEAD
strict=${SNAPFN_STRICT_TESTS:-0}
while [ $# -gt 0 ]; do
    case $1 in
        --quick) quick=yes ;;
        --fast) fast=yes ;;
        --since)
            [ $# -ge 2 ] || { usage >&2; exit 2; }
            since=$2
            shift
            ;;
        --strict) strict=1 ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
    shift
done
# The caller's settings must not change what is tested.
for variable in $(env | sed -n 's/^\(SNAPFN_[A-Z_]*\)=.*/\1/p'); do
    unset "$variable"
done
export SNAPFN_STRICT_TESTS="$strict" SNAPFN_BIN="$bin" LC_ALL=C.UTF-8 CARGO_TERM_COLOR=never

logs=$target/test-logs
mkdir -p "$logs" || die "cannot write to $target"
passed=0 failed=0 failures=''

# phase NAME COMMAND...: runs it with its output in a log, and prints the end of the log if it fails. It counts as one
# check, unless the command has counted itself (`counted`).
phase() {
    name=$1
    shift
    counted=no
    before=$(date +%s)
    "$@" >"$logs/$name.log" 2>&1 </dev/null
    status=$?
    took=$(($(date +%s) - before))
    if [ "$status" = 0 ]; then
        [ "$counted" = yes ] || passed=$((passed + 1))
        printf '%-14s %sok%s    %4d s%s\n' "$name" "$green" "$plain" "$took" "${note:+   $note}"
    else
        [ "$counted" = yes ] || failed=$((failed + 1))
        failures="$failures $name"
        printf '%-14s %sFAIL%s  %4d s   %s\n' "$name" "$red" "$plain" "$took" "$logs/$name.log"
        tail -n "${show:-60}" "$logs/$name.log" | sed 's/^/    /'
    fi
    note=''
    return "$status"
}
note=''

finish() {
    echo
    [ -z "$failures" ] || echo "failed:$failures"
    echo "in all $(($(date +%s) - began)) s"
    echo "$passed passed, $failed failed"
    [ -z "$failures" ]
    exit
}
began=$(date +%s)

# --- fast -------------------------------------------------------------------------------------------------------------

# Programs without optimisation, which take a third of the time to build; only the loader must be as it is installed.
# The whole workspace is built at once: another selection of packages would select other features, and build the
# dependencies once more.
build_fast() {
    cargo build --release --locked -p snapfn-loader && cargo build --locked --workspace --bins --tests || return
    mkdir -p "$target/fast"
    shipped | while read -r program package _; do
        case $package in snapfn-loader) from=$bin ;; *) from=$target/debug ;; esac
        ln -f "$from/$program" "$target/fast/$program" || return
    done
    ln -f "$target"/debug/libsnapfn_c.* "$target/fast/"
    ln -sfn snapcc "$target/fast/snapc++"
}

# fast_tests ARGUMENTS...: the body of a phase whose checks are the tests that run.
fast_tests() {
    counted=yes
    cargo nextest run --locked --no-tests pass --status-level fail --no-fail-fast "$@"
    result=$?
    count_tests "$logs/$name.log"
    [ "$result" = 0 ] || [ "$bad" != 0 ] || bad=1
    passed=$((passed + good)) failed=$((failed + bad))
    note="$good passed"
    return "$result"
}

# count_tests LOG: sets good, bad and ignored from the summary of nextest.
count_tests() {
    # shellcheck disable=SC2046 # words
    set -- $(sed -n 's/^ *Summary .*: \(.*\)/\1/p' "$1" | tail -n 1 | tr -d ',()')
    good=0 bad=0 ignored=0
    while [ $# -ge 2 ]; do
        case $2 in
            passed) good=$1 ;;
            failed | timed | exec) bad=$((bad + $1)) ;;
            skipped) ignored=$1 ;;
        esac
        shift
    done
}

if [ "$fast" = yes ]; then
    need_rust fmt clippy
    cargo nextest --version >/dev/null 2>&1 || die "--fast needs nextest: cargo install --locked cargo-nextest"
    affected=$(scripts/affected.py "$since") || die "cannot tell what has changed since $since"
    note=$(echo "$affected" | sed -n 1p)
    filter=$(echo "$affected" | sed -n 2p)
    phase format cargo fmt --all --check
    phase docs scripts/docs.py
    phase build build_fast || finish
    [ -z "$filter" ] || {
        phase lints cargo clippy --workspace --bins --tests --locked -- -D warnings
        export SNAPFN_ORACLE=one SNAPFN_BIN="$target/fast"
        phase tests fast_tests --workspace -E "$filter"
    }
    finish
fi

# --- set-up -----------------------------------------------------------------------------------------------------------

# Compilers and linkers that programs are built with; tools that read snapshot files; build systems and wrappers that
# snapcc must get along with; programs that the examples and scripts start; a registry and clients of it.
need_packages \
    gcc g++ libc6-dev make clang lld llvm musl-tools binutils gdb elfutils strace patchelf \
    cmake meson ninja-build libtool autoconf automake ccache pkg-config \
    python3 lua5.4 liblua5.4-dev sqlite3 tcl gawk perl util-linux man-db \
    libssl-dev python3-numpy \
    docker-registry skopeo curl minisign bubblewrap podman crun
[ "$quick" = yes ] ||
    need_packages build-essential dpkg-dev python3-numpy redis-server redis-tools libreadline-dev tcl-dev zlib1g-dev debian-archive-keyring xz-utils
need_rust fmt clippy
note="$(rustc --version), $(nproc) processors"
phase build build_release || finish

# --- checks -----------------------------------------------------------------------------------------------------------

phase format cargo fmt --all --check
phase lints cargo clippy --workspace --lib --bins --tests --examples --locked -- -D warnings

phase docs scripts/docs.py
phase figures scripts/figures.py --check
phase programs scripts/programs.py --check
phase dependencies scripts/dependencies.py
phase arrows scripts/arrows.py

# Golden files are added, never changed: the files of an earlier version must stay readable.
golden() (
    cd "$root/crates/format/tests/golden" || exit
    sha256sum --strict --check SHA256SUMS || exit
    for file in *.init *.meta; do
        grep -q " $file\$" SHA256SUMS || { echo "$file: not in SHA256SUMS, add it"; exit 1; }
    done
)
phase golden golden

# Every test of the workspace, with the release binaries; the counts are those of the test runner.
tests() {
    counted=yes
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --workspace --locked --profile ci
        result=$?
        count_tests "$logs/tests.log"
    else
        cargo test --workspace --locked --no-fail-fast
        result=$?
        set -- $(awk '/^test result:/ { good += $4; bad += $6; ignored += $8 } END { print good + 0, bad + 0, ignored + 0 }' \
            "$logs/tests.log")
        good=$1 bad=$2 ignored=$3
    fi
    # A crash of the runner, or a build that failed, is a failure of at least one test.
    [ "$result" = 0 ] || [ "$bad" != 0 ] || bad=1
    passed=$((passed + good)) failed=$((failed + bad))
    note="$good passed, $ignored skipped"
    return "$result"
}
show=200 phase tests tests

[ "$quick" = no ] || finish

# The fuzz targets, coverage-guided, a few seconds each: the parsers of all input from outside.
phase fuzz scripts/fuzz.sh 4

# The files that install.sh puts into a prefix work there, without the source tree, and --uninstall leaves none.
installation() (
    set -e
    dir=$(mktemp -d)
    trap 'rm -rf "$dir"' EXIT
    scripts/install.sh --prefix "$dir/usr"
    # A new user has no settings, and the store in the home directory.
    unset SNAPFN_BIN CARGO_TARGET_DIR
    export PATH="$dir/usr/bin:$PATH" HOME="$dir" XDG_DATA_HOME=
    cp examples/hello/hello.c examples/argv/wordfreq.cc "$dir"
    cd "$dir"
    snapcc -O2 hello.c -o hello
    snapshotter create --tag hello -- ./hello
    [ "$(snaprun hello 4999999)" = "$(./hello 4999999)" ]
    snapc++ -O2 wordfreq.cc -o wordfreq
    snapshotter create -- ./wordfreq
    [ "$(echo a b a | snaprun wordfreq 1)" = "$(echo a b a | ./wordfreq 1)" ]
    snapshotter create -o function.snap -- ./hello
    [ "$(snaprun ./function.snap 7)" = "$(./hello 7)" ]
    snaprepo ls
    snaprepo verify --all
    for tool in snapcc snapshotter snaprun snaprepo snapserve; do
        MANPATH=$dir/usr/share/man man "$tool" >page
        grep -q "$tool" page
    done
    "$root/scripts/install.sh" --prefix "$dir/usr" --uninstall
    left=$(find usr ! -type d)
    [ -f .local/share/snapfn/refs/hello/latest ]
    [ -z "$left" ] || { echo "left behind: $left"; exit 1; }
)
phase installation installation

# Static programs work without a C library.
phase static scripts/static.sh --out "$target/static-check" --profile dev --check

# Everything can be measured; the figures are not checked.
phase bench scripts/bench.sh --quick no-op "16 MiB" "10 libraries" lua sqlite "python3, no-op" redis

# Programs from Debian: built by their own build systems with snapcc, or unchanged.
for script in scripts/third-party/*.sh; do
    name=$(basename "$script" .sh)
    case $name in
        common) ;;
        # Programs and interpreters from elsewhere, timed many times: not here.
        pypi | languages) ;;
        *) phase "$name" sh "$script" ;;
    esac
done

finish
