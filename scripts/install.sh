#!/bin/sh
# Installs snapfn: binaries, headers, libraries, man pages, completions, units of systemd. See usage below.
# PREFIX/libexec/snapfn/manifest lists the installed files, so that --uninstall, and a later version with other files,
# remove exactly those. Every file is put in place by a rename, so a running program keeps the old one.
set -eu
umask 022

usage() {
    cat <<'TEXT'
Usage: scripts/install.sh [--prefix DIR] [--uninstall]

  --prefix DIR   directory to install into: default /usr/local, or ~/.local if you are not root
  --uninstall    remove the files that were installed there
  -h, --help     this text

Environment:
  DESTDIR           prepended to every path, for packaging
  CARGO_TARGET_DIR  directory of the build, default target/; missing release binaries are built
TEXT
}

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

wrong_usage() {
    echo "install.sh: $*" >&2
    usage >&2
    exit 2
}

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
prefix=
uninstall=no
while [ $# -gt 0 ]; do
    case $1 in
        --prefix) [ $# -ge 2 ] || wrong_usage "--prefix needs a directory"; prefix=$2; shift ;;
        --prefix=*) prefix=${1#--prefix=} ;;
        --uninstall) uninstall=yes ;;
        -h | --help) usage; exit 0 ;;
        *) wrong_usage "unknown argument: $1" ;;
    esac
    shift
done

if [ -z "$prefix" ]; then
    if [ "$(id -u)" -eq 0 ]; then
        prefix=/usr/local
    else
        prefix=${HOME:?install.sh: set HOME or give --prefix}/.local
    fi
fi
case $prefix in
    /*) ;;
    *) prefix=$(pwd)/$prefix ;;
esac
dest=${DESTDIR:-}$prefix
manifest=$dest/libexec/snapfn/manifest

# The files of a manifest, one relative path a line, without paths that would lead out of the prefix.
listed() {
    [ -f "$1" ] || return 0
    grep -v -e '^/' -e '^$' -e '\(^\|/\)\.\.\(/\|$\)' "$1" || true
}

# Removes the installed directories that are empty now.
prune() {
    for dir in libexec/snapfn include/snapfn lib/pkgconfig lib/systemd/system lib/systemd/user; do
        rmdir "$dest/$dir" 2>/dev/null || true
    done
}

if [ "$uninstall" = yes ]; then
    [ -f "$manifest" ] || fail "$dest: nothing of snapfn is installed there; give the --prefix that was used"
    listed "$manifest" | while IFS= read -r file; do
        rm -f -- "$dest/$file" || fail "cannot remove $dest/$file"
    done
    rm -f -- "$manifest"
    prune
    echo "removed snapfn from $dest"
    exit 0
fi

release=${CARGO_TARGET_DIR:-$root/target}/release
# shipped FOLDER: the programs that go there; scripts/install/programs has all of them.
shipped() {
    awk -v folder="$1" '!/^#/ && (folder == "" || $3 == folder) { print $1 }' "$root/scripts/install/programs"
}
for binary in $(shipped bin) $(shipped libexec/snapfn) libsnapfn_c.a libsnapfn_c.so; do
    [ -e "$release/$binary" ] && continue
    command -v cargo >/dev/null 2>&1 || fail "$release/$binary is missing and there is no cargo to build it; install Rust"
    # shellcheck disable=SC2046 # words
    (cd "$root" && cargo build --release --locked -p snapfn-capi $(awk '!/^#/ && $3 != "-" { print "-p", $2 }' \
        scripts/install/programs | sort -u)) >&2 || fail "the build failed"
    break
done

# Everything is made in a stage first, so that a failure comes before a change of the prefix.
stage=$(mktemp -d)
temp=
trap 'rm -rf -- "$stage" "$stage.programs" ${temp:+"$temp"}' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

man=share/man/man1
bash=share/bash-completion/completions
zsh=share/zsh/site-functions
fish=share/fish/vendor_completions.d
pkgconfig=lib/pkgconfig
mkdir -p "$stage/bin" "$stage/$pkgconfig" "$stage/lib/systemd/system" "$stage/lib/systemd/user" "$stage/libexec/snapfn" "$stage/include/snapfn" \
    "$stage/$man" "$stage/$bash" "$stage/$zsh" "$stage/$fish"

for folder in bin libexec/snapfn; do
    for binary in $(shipped "$folder"); do
        install -m 755 "$release/$binary" "$stage/$folder/$binary"
    done
done
ln -s snapcc "$stage/bin/snapc++"
install -m 644 "$root/cc-wrapper/include/snap.h" "$root/crates/snapfn/capi/include/snapfn.h" "$stage/include/snapfn/"
install -m 644 "$release/libsnapfn_c.a" "$stage/lib/libsnapfn.a"
install -m 755 "$release/libsnapfn_c.so" "$stage/lib/libsnapfn.so.0"
ln -s libsnapfn.so.0 "$stage/lib/libsnapfn.so"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)
# fill SOURCE TARGET: a file of scripts/install with the values of this installation.
fill() {
    sed -e "s|@PREFIX@|$prefix|g" -e "s|@VERSION@|$version|g" -e "s|@OPTIONS@|$options|g" \
        "$root/scripts/install/$1" >"$stage/$2"
    chmod 644 "$stage/$2"
}
options=$("$stage/bin/snaprun" --help | sed -n 's/^  *\(-[a-zA-Z], \)*\(--[a-z-]*\).*/\2/p' | tr '\n' ' ')
options=${options% }
fill snap.pc "$pkgconfig/snap.pc"
fill snapfn.pc "$pkgconfig/snapfn.pc"
fill snaprun.bash "$bash/snaprun"
fill snaprun.zsh "$zsh/_snaprun"
fill snaprun.fish "$fish/snaprun.fish"
for manager in system user; do
    for unit in snapfn-pool@.service snapserve.service snapserve.socket; do
        # Lines that begin with @system@ are for that manager's unit only.
        fill "$unit" "lib/systemd/$manager/$unit"
        sed -i -e "s/^@$manager@//" -e '/^@[a-z]*@/d' "$stage/lib/systemd/$manager/$unit"
    done
done
for binary in $(awk '!/^#/ && $3 != "-" && $4 == "page" { print $1 }' "$root/scripts/install/programs"); do
    install -m 644 "$root/docs/reference/man/$binary.1" "$stage/$man/"
done
echo '.so man1/snapcc.1' >"$stage/$man/snapc++.1"
awk '!/^#/ && $4 ~ /generate/ { print $1, $4 }' "$root/scripts/install/programs" >"$stage.programs"
while read -r binary generate; do
    for kind in man bash zsh fish; do
        eval "dir=\$$kind"
        "$stage/bin/$binary" "$generate" "$kind" "$stage/$dir" </dev/null || fail "$binary cannot write its $kind files"
    done
    mv "$stage/$bash/$binary.bash" "$stage/$bash/$binary"
done <"$stage.programs"
files=$(cd "$stage" && find . ! -type d | sed 's|^\./||' | LC_ALL=C sort)

mkdir -p "$dest/libexec/snapfn" 2>/dev/null && [ -w "$dest/libexec/snapfn" ] ||
    fail "cannot write to $dest; run as root or give another --prefix"

# Puts stage file $1 into the prefix. The temporary name is in the same directory, so that mv is a rename.
put() {
    mkdir -p "$dest/$(dirname "$1")"
    temp=$dest/$1.new.$$
    cp -P --preserve=mode "$stage/$1" "$temp"
    mv -fT "$temp" "$dest/$1"
    temp=
}

# The manifest comes first, with the files of an earlier version: an interrupted installation can be removed, too.
old=$(listed "$manifest")
printf '%s\n%s\n' "$files" "$old" | LC_ALL=C sort -u | grep . >"$stage/libexec/snapfn/manifest"
put libexec/snapfn/manifest
# No installed name has a blank or a wildcard.
set -f
for file in $files; do
    put "$file" || fail "cannot install $dest/$file"
done
for file in $old; do
    echo "$files" | grep -qxF -e "$file" || rm -f -- "$dest/$file"
done
echo "$files" >"$stage/libexec/snapfn/manifest"
put libexec/snapfn/manifest

echo "installed snapfn in $dest"
case :${PATH:-}: in
    *":$prefix/bin:"*) ;;
    *) [ -n "${DESTDIR:-}" ] || echo "add it to your PATH: export PATH=\"$prefix/bin:\$PATH\"" ;;
esac
