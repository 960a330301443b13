#!/bin/sh
# The programs of examples/languages: equal answers of an ordinary run and of instances, and the time to the exit of
# both. nodejs and a JDK are tried if they are installed. Usage: languages.sh [LANGUAGE...]
. "$(dirname "$0")/common.sh"

need perl ruby php-cli golang-go gcc libc6-dev pkg-config util-linux
fresh_store
scratch=$SNAPFN_STORE.languages
mkdir -p "$scratch"
trap 'rm -rf "$SNAPFN_STORE" "$scratch"' EXIT
cp "$root"/examples/languages/* "$scratch/"
chmod 755 "$scratch"
cd "$scratch"
answer='{"found":["word7","word99999"],"sum":9999800050}'
request="word7 other word99999"

now() { date +%s%N; }
# median COMMAND...: of three runs, in milliseconds with one digit.
median() {
    for _ in 1 2 3; do
        begin=$(now)
        echo "$request" | "$@" >/dev/null
        echo $((($(now) - begin) / 100000))
    done | sort -n | awk 'NR == 2 { printf "%.1f", $1 / 10 }'
}
wanted=" $* "
# language NAME POINT PROGRAM ARGUMENT...: $wx is for compilers at run time.
language() {
    name=$1 point=$2
    shift 2
    case $wanted in "  " | *" $name "*) ;; *) return 0 ;; esac
    # shellcheck disable=SC2086 # no word or one
    same "$name: ordinary" "$answer" "$(echo "$request" | "$@")"
    step "$name: create" snapshotter create $wx --tag "$name" --at "$point" -- "$@"
    for _ in 1 2; do
        same "$name: instance" "$answer" "$(echo "$request" | as_plain snaprun $wx "$name")"
    done
    same "$name: other input" '{"found":["word1"],"sum":1}' "$(echo "word1 none" | as_plain snaprun $wx "$name")"
    echo "      $name: $(median "$@") ms in the ordinary way, $(median snaprun $wx "$name") ms from the snapshot"
}

wx=
language perl ready /usr/bin/perl words.pl
language ruby ready /usr/bin/ruby words.rb
language php syscall:read:0 /usr/bin/php words.php
mkdir -p "$scratch/pkgconfig"
sed -e "s|@PREFIX@/include/snapfn|$root/cc-wrapper/include|; s|\${prefix}/include/snapfn|$root/cc-wrapper/include|" \
    -e "s|@PREFIX@|/usr|; s|@VERSION@|0|" "$root/scripts/install/snap.pc" >"$scratch/pkgconfig/snap.pc"
step "go: build" env PKG_CONFIG_PATH="$scratch/pkgconfig" GOCACHE="$scratch/go" GO111MODULE=off CGO_ENABLED=1 \
    go build -o words words.go
language go ready "$scratch/words"
wx=--allow-wx
if command -v node >/dev/null; then
    language node syscall:read:0 "$(readlink -f "$(command -v node)")" words.js
else
    echo "skip  node: not installed"
fi
if command -v javac >/dev/null; then
    step "java: compile" javac Words.java
    language java syscall:read:0 "$(readlink -f "$(command -v java)")" -XX:-UsePerfData -XX:TieredStopAtLevel=1 \
        -XX:+UseSerialGC -cp "$scratch" Words
else
    echo "skip  java: not installed"
fi
finish
