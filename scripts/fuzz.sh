#!/bin/sh
# Runs the fuzz targets: scripts/fuzz.sh [SECONDS [TARGET…]]; default: every target for 60 seconds.
#
# libFuzzer needs only coverage counters from the compiler, which stable rustc's code generator inserts when asked to,
# so no nightly toolchain is needed. (`cargo +nightly fuzz run TARGET` works, too, and adds AddressSanitizer.)
# Corpora grow in target/fuzz/corpus; an input that crashes a target is kept in target/fuzz/artifacts.
set -eu
cd "$(dirname "$0")/.."

seconds=${1:-60}
[ $# -eq 0 ] || shift
[ $# -ne 0 ] || set -- $(cd fuzz/fuzz_targets && ls | sed -n 's/\.rs$//p')

for tool in cargo g++ gcc; do
    command -v "$tool" >/dev/null || { echo "fuzz.sh: $tool is missing (apt-get install build-essential, rustup.rs)" >&2; exit 1; }
done

# First inputs: valid files of the kind that a target reads.
seed() {
    case $1 in
    init_parse) cp loader/format/tests/golden/*.init "$2" ;;
    snap_plan) cp loader/format/tests/golden/*.meta "$2" ;;
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

failed=
for target; do
    corpus=$work/corpus/$target artifacts=$work/artifacts/$target
    mkdir -p "$corpus" "$artifacts"
    seed "$target" "$corpus"
    echo "== $target: $seconds s"
    log=$work/$target.log
    if "$work/$host/release/$target" -max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=4096 \
        -artifact_prefix="$artifacts/" "$corpus" >"$log" 2>&1; then
        grep '^Done' "$log"
    else
        tail -n 40 "$log"
        failed="$failed $target"
    fi
done
[ -z "$failed" ] || { echo "fuzz.sh: failed:$failed" >&2; exit 1; }
