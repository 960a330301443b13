#!/bin/sh
# Runs the fuzz targets: see usage below.
#
# libFuzzer needs only coverage counters from the compiler, which stable rustc's code generator inserts when asked to,
# so no nightly toolchain is needed. (`cargo +nightly fuzz run TARGET` works, too, and adds AddressSanitizer.)
set -eu
cd "$(dirname "$0")/.."

usage() {
    cat <<'TEXT'
Usage: scripts/fuzz.sh [SECONDS [TARGET…]]
       scripts/fuzz.sh --minimize [TARGET…]

Runs each fuzz target (default: all) for SECONDS (default: 60), one on each processor, from the inputs in
fuzz/corpus/TARGET and those that earlier runs have found (target/fuzz/corpus). An input that crashes a target is kept
in target/fuzz/artifacts.

  --minimize  replace fuzz/corpus/TARGET by few and small inputs that reach most of the code that all inputs reach
  -h, --help  this text
TEXT
}

minimize=no seconds=60
case ${1:-} in
    -h | --help) usage; exit 0 ;;
    --minimize) minimize=yes; shift ;;
    -*) usage >&2; exit 2 ;;
    ?*) seconds=$1; shift ;;
esac
[ $# -ne 0 ] || set -- $(cd fuzz/fuzz_targets && ls | sed -n 's/\.rs$//p')

for tool in cargo g++ gcc; do
    command -v "$tool" >/dev/null || { echo "fuzz.sh: $tool is missing (apt-get install build-essential, rustup.rs)" >&2; exit 1; }
done

# First inputs: files of the project or new ones, each valid for its target.
seed() {
    case $1 in
    init_parse) cp crates/format/tests/golden/*.init "$2" ;;
    snap_plan) cp crates/format/tests/golden/*.meta "$2" ;;
    proc_files)
        # The first byte selects the file.
        for file in smaps status stat; do
            case $file in smaps) kind=0 ;; status) kind=1 ;; stat) kind=2 ;; esac
            { printf "\\00$kind"; head -c 8000 "/proc/self/$file"; } >"$2/$file"
        done
        ;;
    split_elf)
        echo 'int data = 1; int main(void) { return data; }' >"$2/seed.c"
        gcc -s -o "$2/pie" "$2/seed.c"
        gcc -g -o "$2/symbols" "$2/seed.c"
        gcc -s -nostdlib -static -Wl,-emain,--build-id=none -o "$2/static" "$2/seed.c"
        rm "$2/seed.c"
        ;;
    esac
}

work=$PWD/target/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
# With --target, the flags do not reach build scripts.
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing" \
    cargo build --manifest-path fuzz/Cargo.toml --locked --release --target "$host" --target-dir "$work"

# libFuzzer's record of all inputs decides which of them the repository keeps.
minimize() {
    # Its inputs look like credentials, which scanners of repositories report.
    [ "$1" != scan_patterns ] || return 0
    control=$work/$1.control
    rm -rf "$control" "$work/merged"
    mkdir -p "$work/merged" "fuzz/corpus/$1"
    "$work/$host/release/$1" -merge=1 -max_len=65536 -merge_control_file="$control" \
        "$work/merged" "$work/corpus/$1" "fuzz/corpus/$1" >"$work/$1.log" 2>&1
    scripts/fuzz-corpus.py "$control" "fuzz/corpus/$1"
}

# fuzz TARGET: prints one line, or the end of the target's log.
fuzz() {
    corpus=$work/corpus/$1 artifacts=$work/artifacts/$1 log=$work/$1.log
    mkdir -p "$artifacts"
    known=
    [ ! -d "fuzz/corpus/$1" ] || known=fuzz/corpus/$1
    if "$work/$host/release/$1" -max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=4096 \
        -print_final_stats=1 -artifact_prefix="$artifacts/" "$corpus" $known >"$log" 2>&1; then
        echo "$1: $(grep '^Done' "$log")"
    else
        echo "$1: failed"
        tail -n 40 "$log"
        return 1
    fi
}

# As many targets as there are processors run at a time. Each is one thread.
targets=$* failed=0
set --
for target in $targets; do
    mkdir -p "$work/corpus/$target"
    seed "$target" "$work/corpus/$target"
    if [ "$minimize" = yes ]; then
        minimize "$target"
        continue
    fi
    if [ $# = "$(nproc)" ]; then
        wait "$1" || failed=1
        shift
    fi
    fuzz "$target" &
    set -- "$@" $!
done
[ "$minimize" = no ] || exit 0
for child; do
    wait "$child" || failed=1
done
[ "$failed" = 0 ] || { echo "fuzz.sh: a target failed" >&2; exit 1; }
