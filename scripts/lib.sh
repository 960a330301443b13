# quickstart.sh, test.sh and bench.sh source this file.
# shellcheck shell=sh disable=SC2034 # the variables are for the scripts that source it

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root" || exit
target=${CARGO_TARGET_DIR:-$root/target}
case $target in
    /*) ;;
    *) target=$root/$target ;;
esac
bin=$target/release
self=$(basename "$0")

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
    bold=$(printf '\033[1m') dim=$(printf '\033[2m') red=$(printf '\033[31m') green=$(printf '\033[32m')
    plain=$(printf '\033[0m')
else
    bold='' dim='' red='' green='' plain=''
fi

die() {
    echo "$self: $*" >&2
    exit 1
}

# need_packages PACKAGE...: Debian packages that must be installed. Root installs the missing ones; for others it prints
# them.
need_packages() {
    command -v dpkg-query >/dev/null || {
        echo "$self: not a Debian system: the tools of these packages must be there: $*" >&2
        return 0
    }
    missing=
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    [ "$(id -u)" = 0 ] || die "packages are missing; as root: apt-get install$missing"
    mkdir -p "$target"
    log=$target/apt.log
    echo "installing$missing"
    # The lists of a new machine are empty or old, so the second try uses new ones.
    # shellcheck disable=SC2086
    apt_install $missing >"$log" 2>&1 || {
        apt-get update -q >>"$log" 2>&1 && apt_install $missing >>"$log" 2>&1
    } || {
        tail -n 15 "$log" >&2
        die "cannot install$missing (all of it: $log)"
    }
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" </dev/null
}

# need_rust COMPONENT...: a Rust compiler that is new enough, and components of it (`cargo fmt`, `cargo clippy`). Rust
# comes from rustup if that is installed, else, for root, from Debian.
need_rust() {
    command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    if ! is_rust_new_enough && command -v rustup >/dev/null; then
        echo "installing Rust (stable) with rustup"
        mkdir -p "$target"
        rustup toolchain install stable --profile minimal >"$target/rustup.log" 2>&1 || {
            tail -n 5 "$target/rustup.log" >&2
            die "rustup cannot install a toolchain"
        }
        export RUSTUP_TOOLCHAIN=stable
    fi
    is_rust_new_enough || command -v rustup >/dev/null || install_debian_rust rustc-web cargo-web ca-certificates || true
    is_rust_new_enough || die "Rust $wanted or later is needed (found: $(rustc --version 2>/dev/null || echo none).
On Debian 12 with its updates, root gets it by: apt-get install rustc-web cargo-web
Elsewhere get it from https://rustup.rs, as the user who runs this script:
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal
then run this script again."
    for component in "$@"; do
        cargo "$component" --version >/dev/null 2>&1 && continue
        case $component in
            fmt) name=rustfmt package=rustfmt-web ;;
            *) name=$component package=rust-web-$component ;;
        esac
        if command -v rustup >/dev/null; then
            rustup component add "$name" >/dev/null 2>&1 ||
                die "cargo $component is missing: rustup component add $name"
        else
            install_debian_rust "$package" ||
                die "cargo $component is missing; as root: apt-get install $package"
        fi
    done
}

# install_debian_rust PACKAGE...: Debian's own compiler. Its updates bring a current one as rustc-web, since browsers
# need it, while the package rustc stays as old as the release. Installs nothing if apt offers no version that is new
# enough, and removes nothing: rustc-web and an older rustc exclude each other.
install_debian_rust() {
    [ "$(id -u)" = 0 ] && command -v apt-cache >/dev/null || return 1
    mkdir -p "$target"
    log=$target/apt-rust.log
    is_debian_rust_new_enough || {
        apt-get update -q >"$log" 2>&1
        is_debian_rust_new_enough
    } || return 1
    echo "installing $*"
    apt_install --no-remove "$@" >>"$log" 2>&1 || {
        tail -n 5 "$log" >&2
        return 1
    }
}

is_debian_rust_new_enough() {
    is_new_enough "$(apt-cache policy rustc-web 2>/dev/null | sed -n 's/^ *Candidate: \([0-9.]*\).*/\1/p')"
}

is_rust_new_enough() {
    command -v cargo >/dev/null &&
        is_new_enough "$(rustc --version 2>/dev/null | sed -n 's/^rustc \([0-9.]*\).*/\1/p')"
}

# is_new_enough VERSION: whether it is the version in $wanted or a later one; an empty VERSION is not.
is_new_enough() {
    [ -n "$1" ] && [ "$(printf '%s\n%s\n' "$wanted" "$1" | sort -V | head -n 1)" = "$wanted" ]
}

# The table of programs, without its comments: name, package, folder, manual, wheel, static.
shipped() {
    grep -v '^#' "$root/scripts/install/programs"
}

# Builds the programs in release mode. The C++ driver is a link to the C driver, which checks its own name.
build_release() {
    # shellcheck disable=SC2046 # words
    cargo build --release --locked $(shipped | awk '{ print "-p", $2 }' | sort -u) -p snapfn-capi || return
    ln -sfn snapcc "$bin/snapc++"
}
