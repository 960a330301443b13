#!/bin/sh
# Debian packages: see usage below.
set -eu
caller=$(pwd)
. "$(dirname "$0")/lib.sh"

usage() {
    cat <<'TEXT'
Usage: scripts/deb.sh DIR

Writes Debian packages for this architecture to DIR:

  snapfn          the programs, snap.h, manual pages, completions, units of systemd
  libsnapfn0      the C library that starts instances
  libsnapfn-dev   its header and static library
  python3-snapfn  the Python package, and the command snapfn

Their dependencies follow from what the programs link. Equal inputs give equal packages (SOURCE_DATE_EPOCH, default: the
date of the last commit).

  -h, --help  this text

Environment: CARGO_TARGET_DIR; missing release binaries are built.
TEXT
}
case ${1:-} in
    -h | --help) usage; exit 0 ;;
    '' | -*) usage >&2; exit 2 ;;
esac
[ $# = 1 ] || { usage >&2; exit 2; }
# lib.sh has changed to the root of the project.
case $1 in /*) dir=$1 ;; *) dir=$caller/$1 ;; esac

need_packages dpkg binutils
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 1577836800)}
export SOURCE_DATE_EPOCH
umask 022
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
DESTDIR=$stage/all scripts/install.sh --prefix /usr >&2
[ -x "$bin/snapfn" ] || build_release >&2
rm "$stage/all/usr/libexec/snapfn/manifest"

# move PACKAGE PATH...: files and directories below /usr that the package has.
move() {
    package=$1
    shift
    for path in "$@"; do
        mkdir -p "$stage/$package/usr/$(dirname "$path")"
        mv "$stage/all/usr/$path" "$stage/$package/usr/$path"
    done
}
move libsnapfn0 lib/libsnapfn.so.0
move libsnapfn-dev lib/libsnapfn.so lib/libsnapfn.a lib/pkgconfig/snapfn.pc include/snapfn/snapfn.h
mv "$stage/all" "$stage/snapfn"
packages=$stage/python3-snapfn/usr/lib/python3/dist-packages
mkdir -p "$packages/snapfn" "$packages/snapfn-$version.dist-info" "$stage/python3-snapfn/usr/bin" \
    "$stage/python3-snapfn/usr/share/man/man1"
install -m 644 python/src/snapfn/*.py "$packages/snapfn/"
printf 'Metadata-Version: 2.1\nName: snapfn\nVersion: %s\n' "$version" >"$packages/snapfn-$version.dist-info/METADATA"
install -m 755 "$bin/snapfn" "$stage/python3-snapfn/usr/bin/snapfn"
install -m 644 docs/reference/man/snapfn.1 "$stage/python3-snapfn/usr/share/man/man1/"

# libraries PACKAGE: the dependencies of what it has, by the newest symbols of glibc that are asked for.
libraries() {
    find "$stage/$1" -type f \( -path '*/bin/*' -o -path '*/libexec/*' -o -name '*.so' -o -name '*.so.*' \) | while IFS= read -r file; do
        readelf -VW "$file" 2>/dev/null | grep -o 'GLIBC_[0-9.]*' || true
        ! readelf -dW "$file" 2>/dev/null | grep -q 'NEEDED.*libgcc_s' || echo libgcc
    done | sort -uV | awk '/^GLIBC/ { newest = substr($0, 7) } /^libgcc/ { gcc = 1 }
        END { if (newest) printf "libc6 (>= %s)", newest; if (gcc) printf "%slibgcc-s1", newest ? ", " : "" }'
}
# pack PACKAGE SECTION DEPENDS SHORT LONG
pack() {
    depends=$(printf '%s\n%s\n' "$3" "$(libraries "$1")" | grep . | paste -sd, | sed 's/,\([^ ]\)/, \1/g')
    mkdir -p "$stage/$1/usr/share/doc/$1" "$stage/$1/DEBIAN"
    find "$stage/$1" -type f \( -path '*/bin/*' -o -path '*/libexec/*' -o -name '*.so' -o -name '*.so.*' \) -exec strip --strip-unneeded {} +
    find "$stage/$1" -name '*.a' -exec strip --strip-debug {} +
    find "$stage/$1/usr/share/man" -type f -exec gzip -9n {} + 2>/dev/null || true
    cat - LICENSE-MIT >"$stage/$1/usr/share/doc/$1/copyright" <<'TEXT'
License: MIT or Apache-2.0, at your choice. The Apache License is in /usr/share/common-licenses/Apache-2.0.

TEXT
    (cd "$stage/$1" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum >DEBIAN/md5sums)
    cat >"$stage/$1/DEBIAN/control" <<CONTROL
Package: $1
Version: $version
Architecture: amd64
Maintainer: the authors of snapfn <snapfn@localhost>
Section: $2
Priority: optional
Installed-Size: $(du -sk "$stage/$1/usr" | cut -f1)
Depends: $depends
Description: $4
 $5
CONTROL
    [ "$1" != snapfn ] || sed -i '/^Depends/a Recommends: gcc | c-compiler, libc6-dev' "$stage/$1/DEBIAN/control"
    # The interpreter has written these files, so dpkg does not know them.
    if [ "$1" = python3-snapfn ]; then
        printf '#!/bin/sh\nrm -rf /usr/lib/python3/dist-packages/snapfn/__pycache__\n' >"$stage/$1/DEBIAN/prerm"
        chmod 755 "$stage/$1/DEBIAN/prerm"
    fi
    mkdir -p "$dir"
    dpkg-deb --root-owner-group --build "$stage/$1" "$dir/$1_${version}_amd64.deb" >&2
    echo "$dir/$1_${version}_amd64.deb"
}
pack snapfn devel "" "native programs that start from a snapshot of themselves" \
    "A program is initialised once; later starts map its memory and jump."
pack libsnapfn0 libs "" "starts instances of snapshots (C library)" "The library starts, waits for and prepares instances."
pack libsnapfn-dev libdevel "libsnapfn0 (= $version)" "starts instances of snapshots (development files)" \
    "Header, static library and pkg-config file of libsnapfn0."
pack python3-snapfn python "snapfn (= $version), python3 (>= 3.8)" "Python programs that start from a snapshot" \
    "The command snapfn, and the module that marks the snapshot point."
