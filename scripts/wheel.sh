#!/bin/sh
# The Python package as a wheel: see usage below.
set -eu
caller=$(pwd)
. "$(dirname "$0")/lib.sh"

usage() {
    cat <<'TEXT'
Usage: scripts/wheel.sh [--bin BIN] DIR

Writes the wheel of the Python package snapfn to DIR. It carries the programs, so that `pip install` needs no compiler.

  --bin BIN   take snapfn, snaprun, snapboot, snapshotter and snaprepo from this directory; default: build static ones
              with scripts/static.sh. Programs that are not static make a wheel for hosts with this C library only.
  -h, --help  this text

Environment: CARGO_TARGET_DIR.
TEXT
}

programs='' dir=''
while [ $# -gt 0 ]; do
    case $1 in
        --bin) [ $# -ge 2 ] || die "--bin needs a directory"; programs=$2; shift ;;
        --bin=*) programs=${1#--bin=} ;;
        -h | --help) usage; exit 0 ;;
        -*) usage >&2; exit 2 ;;
        *) [ -z "$dir" ] || { usage >&2; exit 2; }; dir=$1 ;;
    esac
    shift
done
[ -n "$dir" ] || { usage >&2; exit 2; }

# lib.sh has changed to the root of the project.
from_caller() { case $1 in '' | /*) echo "$1" ;; *) echo "$caller/$1" ;; esac; }
programs=$(from_caller "$programs")
dir=$(from_caller "$dir")

need_packages binutils python3
if [ -z "$programs" ]; then
    scripts/static.sh >&2
    programs=$target/static
fi
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
static=yes
carried=$(shipped | awk '$5 == "yes" { print $1 }')
for program in $carried; do
    [ -x "$programs/$program" ] || die "$programs/$program is missing"
    strip -o "$stage/$program" "$programs/$program"
    ! readelf -lW "$stage/$program" | grep -q INTERP || static=no
done
mkdir -p "$dir"
# shellcheck disable=SC2086 # words
python3 - "$root" "$stage" "$dir" "$static" $carried <<'PY'
"""Packs a wheel (PEP 427). The time of all members is fixed, so that the same input gives the same file."""
import base64
import hashlib
import pathlib
import re
import sys
import zipfile

root, stage, target = map(pathlib.Path, sys.argv[1:4])
project = (root / "python/pyproject.toml").read_text()
value = lambda name: re.search(r'^%s = "(.*)"$' % name, project, re.M)[1]
version = value("version")
tag = "py3-none-manylinux2014_x86_64" if sys.argv[4] == "yes" else "py3-none-linux_x86_64"
info, data = f"snapfn-{version}.dist-info", f"snapfn-{version}.data"
metadata = (
    f"Metadata-Version: 2.1\nName: snapfn\nVersion: {version}\nSummary: {value('description')}\n"
    f"License: MIT OR Apache-2.0\nRequires-Python: {value('requires-python')}\n"
    f"Description-Content-Type: text/markdown\n\n{(root / 'python/README.md').read_text()}"
)
members = {f"snapfn/{path.name}": (path.read_bytes(), 0o644) for path in sorted((root / "python/src/snapfn").glob("*.py"))}
for name in (name for name in sys.argv[5:] if name != "snapfn"):
    members[f"snapfn/bin/{name}"] = ((stage / name).read_bytes(), 0o755)
members[f"{data}/scripts/snapfn"] = ((stage / "snapfn").read_bytes(), 0o755)
for name in ("LICENSE-MIT", "LICENSE-APACHE"):
    members[f"{info}/{name}"] = ((root / name).read_bytes(), 0o644)
members[f"{info}/METADATA"] = (metadata.encode(), 0o644)
wheel = f"Wheel-Version: 1.0\nGenerator: scripts/wheel.sh\nRoot-Is-Purelib: false\nTag: {tag}\n"
members[f"{info}/WHEEL"] = (wheel.encode(), 0o644)
record = ""
for name, (content, _) in members.items():
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    record += f"{name},sha256={digest},{len(content)}\n"
members[f"{info}/RECORD"] = ((record + f"{info}/RECORD,,\n").encode(), 0o644)
path = target / f"snapfn-{version}-{tag}.whl"
with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
    for name, (content, mode) in members.items():
        member = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
        member.external_attr = (0o100000 | mode) << 16
        member.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(member, content)
print(path)
PY
