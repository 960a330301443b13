#!/bin/sh
# Starts snapshots of this machine on another kernel and other CPUs, in software emulation: see usage below.
set -eu
. "$(dirname "$0")/lib.sh"

usage() {
    cat <<'TEXT'
Usage: scripts/other-kernels.sh [--kernel VMLINUZ] [CPU…]

Makes snapshots on this machine (dynamic, static and Python; pinned to x86-64-v2, to v3, and native). Starts them in
QEMU's software emulation with Debian's kernel, on each CPU. A snapshot that fits must give the result of an ordinary
run. Any other must be refused by the name of the missing feature, or fall back. Also compares the time of clock calls
in an instance with that in an ordinary process there.

  --kernel F  a kernel image; default: Debian's newest linux-image-*-cloud-amd64, downloaded, not installed
  CPU         a CPU of qemu-system-x86_64 -cpu; default Nehalem and Haswell
  -h, --help  this text
TEXT
}

kernel=
while [ $# -gt 0 ]; do
    case $1 in
        --kernel) [ $# -ge 2 ] || die "--kernel needs a file"; kernel=$2; shift ;;
        -h | --help) usage; exit 0 ;;
        -*) usage >&2; exit 2 ;;
        *) break ;;
    esac
    shift
done
[ $# -gt 0 ] || set -- Nehalem Haswell

need_packages qemu-system-x86 busybox-static cpio gcc libc6-dev python3
need_rust
cargo build --release --locked -p snapfn-loader -p snapshotter -p snapcc
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ -z "$kernel" ]; then
    package=$(apt-cache search --names-only '^linux-image-[0-9.-]*-cloud-amd64$' | sort -V | sed -n '$s/ .*//p')
    [ -n "$package" ] || die "no linux-image-*-cloud-amd64 to be had; name a kernel with --kernel"
    chmod 755 "$work"
    (cd "$work" && apt-get download -q "$package" >/dev/null && dpkg -x ./*.deb kernel) || die "cannot download $package"
    kernel=$(echo "$work"/kernel/boot/vmlinuz-*)
fi

root=$work/root
mkdir -p "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/lib64" "$root/etc"
cp /bin/busybox "$bin/snaprun" "$root/bin/"
mkdir "$root/store"
export SNAPFN_STORE=$root/store
for variable in $(env | sed -n 's/^\(SNAPFN_[A-Z_]*\)=.*/\1/p'); do
    [ "$variable" = SNAPFN_STORE ] || unset "$variable"
done
export PATH="$bin:$PATH"

# The program uses string functions, and prints its arguments and the time of a clock call.
cat >"$work/probe.c" <<'C'
#include <snap.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static double cost(void) {
    struct timespec from, to, now;
    double best = 1e9;
    for (int round = 0; round < 20; round++) {
        clock_gettime(CLOCK_MONOTONIC, &from);
        for (int i = 0; i < 2000; i++) clock_gettime(CLOCK_MONOTONIC, &now);
        clock_gettime(CLOCK_MONOTONIC, &to);
        double ns = ((to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec)) / 2000;
        if (ns < best) best = ns;
    }
    return best;
}

int main(int argc, char **argv) {
    static char a[70000], b[70000];
    memset(a, 'x', sizeof a - 1);
    if (snap_ready()) argc = (int)snap_argc(), argv = snap_argv();
    memcpy(b, a, sizeof b);
    b[69000] = 0;
    printf("result %zu %d %zu", strlen(b), memcmp(a, b, 69000), strcspn(a, "y"));
    for (int i = 1; i < argc; i++) printf(" %s", argv[i]);
    printf("\nclock %.0f ns\n", cost());
    return 3;
}
C
cc=$bin/snapcc
"$cc" -O2 "$work/probe.c" -o "$work/dynamic"
"$cc" -O2 -static "$work/probe.c" -o "$work/static"
cp "$work/static" "$root/bin/ordinary"
make_snapshot() {
    tag=$1
    shift
    snapshotter create --share --tag "$tag" "$@" >/dev/null || die "$tag: no snapshot"
}
levels='native x86-64-v2'
! snapshotter create -o "$work/probe.snap" --cpu x86-64-v3 -- "$work/dynamic" >/dev/null 2>&1 || levels="$levels x86-64-v3"
for level in $levels; do
    make_snapshot "dynamic-$level" --cpu "$level" -- "$work/dynamic"
    make_snapshot "static-$level" --cpu "$level" -- "$work/static"
    make_snapshot "python-$level" --cpu "$level" --at syscall:read:0 -- \
        /usr/bin/python3 -c 'import sys, json, hashlib, re, zlib; exec(sys.stdin.read())'
done
# The fallback starts this program, which has the same path there.
mkdir -p "$root$work"
cp "$work/static" "$root$work/static"

cat >"$root/init" <<'SH'
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
export SNAPFN_STORE=/store PATH=/bin
echo "@@ kernel $(/bin/busybox uname -r)"
/bin/busybox grep -m 1 '^flags' /proc/cpuinfo | /bin/busybox sed 's/^/@@ /'
echo "@@ start ordinary"; ordinary a b; echo "@@ status $?"
for name in /store/refs/*; do
    name=${name##*/}
    echo "@@ start $name"
    case $name in
        python-*) echo 'print("result", hashlib.sha256(b"x" * 1000).hexdigest()[:8], json.dumps([1]))' | snaprun "$name" ;;
        *) snaprun "$name" a b ;;
    esac
    echo "@@ status $?"
done
echo "@@ start fallback"; snaprun --fallback static-native a b; echo "@@ status $?"
echo "@@ end"
/bin/busybox poweroff -f
SH
chmod 755 "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet) | gzip -1 >"$work/initrd.gz"

result='result 69000 0 69999 a b'
python_result="result $(python3 -c 'import hashlib; print(hashlib.sha256(b"x" * 1000).hexdigest()[:8])') [1]"
failed=
# judge CPU LOG: each start must have ended in one of the two ways, and the pinned one well if the CPU has its level.
judge() {
    grep -q '^@@ end' "$2" || { echo "  did not come to its end"; tail -n 20 "$2"; return 1; }
    sed -n "s/.*@@ kernel \\(.*\\)/  kernel \\1/p" "$2"
    flags=$(sed -n 's/^@@ flags.*: //p' "$2")
    bad=0
    for name in $(sed -n 's/^@@ start //p' "$2"); do
        section=$(sed -n "/^@@ start $name\$/,/^@@ status/p" "$2")
        status=$(echo "$section" | sed -n 's/^@@ status //p')
        case $name in
            *-x86-64-v2 | ordinary | fallback) fits=yes ;;
            *-x86-64-v3) case " $flags " in *" avx2 "*) fits=yes ;; *) fits=no ;; esac ;;
            *) fits=either ;;
        esac
        wanted=$result wanted_status=3
        case $name in python-*) wanted=$python_result wanted_status=0 ;; esac
        if echo "$section" | grep -qF "$wanted" && [ "$status" = "$wanted_status" ]; then
            outcome=started
        elif [ "$status" = 125 ] && echo "$section" | grep -q 'this CPU lacks\|another layout'; then
            outcome=refused
        else
            outcome=failed
        fi
        clock=$(echo "$section" | sed -n 's/^clock \(.*\)/  clock call \1/p')
        echo "  $name: $outcome$clock"
        case $fits-$outcome in
            yes-started | no-refused | either-started | either-refused) ;;
            *) echo "$section" | sed 's/^/    /'; bad=1 ;;
        esac
    done
    return $bad
}

for cpu; do
    echo "$cpu"
    timeout 900 qemu-system-x86_64 -cpu "$cpu" -m 1024 -nographic -no-reboot -kernel "$kernel" -initrd "$work/initrd.gz" \
        -append 'console=ttyS0 quiet panic=-1' </dev/null 2>"$work/qemu.log" | tr -d '\r' >"$work/$cpu.log" ||
        { tail -n 5 "$work/qemu.log" >&2; die "qemu-system-x86_64 failed"; }
    judge "$cpu" "$work/$cpu.log" || failed="$failed $cpu"
done
[ -z "$failed" ] || die "failed:$failed"
