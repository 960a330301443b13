#!/bin/sh
# Debian's own language runtimes, none of them built with snapcc: initialised up to the point where each reads its
# program from standard input, then run as a plain user with no capabilities. The answer must be that of an ordinary
# start.
. "$(dirname "$0")/common.sh"

need perl ruby php-cli tcl gawk python3 golang-go
fresh_store
scratch=$SNAPFN_STORE.runtimes
mkdir -p "$scratch"
chmod 755 "$scratch"
trap 'rm -rf "$SNAPFN_STORE" "$scratch"' EXIT
cd "$scratch"

# runtime NAME INPUT PROGRAM ARGS…: gives the same input to an ordinary start and to three instances. $allow is an
# option for both.
allow=
runtime() {
    name=$1 input=$2
    shift 2
    expected=$(printf '%s\n' "$input" | "$@" 2>&1) || true
    step "$name: snapshot" snapshotter create $allow --tag "$name" --at syscall:read:0 -- "$@"
    for turn in 1 2 3; do
        same "$name: instance $turn" "$expected" "$(printf '%s\n' "$input" | as_plain snaprun $allow "$name" 2>&1)"
    done
}

runtime perl 'print "perl ", join(",", map { $_ * 2 } sum(1 .. 4), floor(2.5)), "\n"; exit 3' \
    /usr/bin/perl -MList::Util=sum -MPOSIX -e 'local $/; eval <STDIN>; die $@ if $@'
runtime ruby 'puts "ruby #{JSON.generate({"a" => Set.new([1, 1, 2]).size})}"; puts Thread.new { 6 * 7 }.value' \
    /usr/bin/ruby -rjson -rset -e 'eval STDIN.read'
runtime php 'echo "php ", json_encode(["a" => [1, 2]]), " ", preg_replace("/b+/", "x", "abbc"), "\n";' \
    /usr/bin/php -r 'eval(stream_get_contents(STDIN));'
runtime tclsh 'puts "tcl [expr {6 * 7}] [string toupper abc] [clock format 0 -gmt 1]"' /usr/bin/tclsh
runtime gawk 'a b c' /usr/bin/gawk 'BEGIN { for (i = 0; i < 1000; i++) x[i] = i * i } { print "gawk", NF, x[42] }'
runtime threads 'print(list(pool.map(lambda x: x * x, range(5))), threading.active_count())' \
    /usr/bin/python3 -c 'import sys, threading
from concurrent.futures import ThreadPoolExecutor
pool = ThreadPoolExecutor(4)
barrier = threading.Barrier(4)
list(pool.map(lambda x: barrier.wait(), range(4)))
exec(sys.stdin.read())'

# A running asyncio loop with a thread pool and a pending timer; Python's side of the protocol names the loop again,
# since asyncio would treat it as another process's.
cp -r "$root/python/src/snapfn" .
cat >loop.py <<'PY'
import asyncio, sys, snapfn
from concurrent.futures import ThreadPoolExecutor


async def square(x):
    await asyncio.sleep(0.01)
    return x * x


async def main():
    loop, pool = asyncio.get_running_loop(), ThreadPoolExecutor(3)
    await loop.run_in_executor(pool, sum, range(10))
    timer = asyncio.create_task(asyncio.sleep(0.2, "slept"))
    await asyncio.sleep(0)
    snapfn.ready()
    squares = await asyncio.gather(*(square(i) for i in range(5)))
    print(squares, await timer, await loop.run_in_executor(pool, sum, range(100)), sys.argv[1:])


asyncio.run(main())
PY
step "asyncio: snapshot" snapshotter create --tag asyncio --at ready -- /usr/bin/python3 loop.py x
same "asyncio: instance" "$(/usr/bin/python3 loop.py y)" "$(as_plain snaprun asyncio y)"

# A Go binary, linked statically: its own threads and stacks, goroutines asleep and in channels.
mkdir go
cat >go/main.go <<'GO'
package main

import (
	"bufio"
	"fmt"
	"os"
	"sync"
	"time"
)

func main() {
	table := make(map[int]int)
	var lock sync.Mutex
	var group sync.WaitGroup
	for i := 0; i < 8; i++ {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			for j := 0; j < 1000; j++ {
				lock.Lock()
				table[i*1000+j] = j * j
				lock.Unlock()
			}
		}(i)
	}
	group.Wait()
	ticks := make(chan int)
	go func() {
		for i := 0; ; i++ {
			time.Sleep(time.Millisecond)
			ticks <- i
		}
	}()
	<-ticks
	scanner := bufio.NewScanner(os.Stdin)
	for scanner.Scan() {
		before := <-ticks
		after := <-ticks
		fmt.Println("go", scanner.Text(), len(table), table[7042], after-before)
	}
}
GO
echo 'module example' >go/go.mod
step "go: build" env HOME="$scratch" GOPATH="$scratch/gopath" GOCACHE="$scratch/gocache" GOPROXY=off GOFLAGS=-mod=mod \
    sh -c 'cd go && go build -o prog .'
runtime go 'some input' "$scratch/go/prog"

# If they are installed: engines with many threads and code generated at run time, in memory that is writable meanwhile.
allow=--allow-wx
if command -v node >/dev/null; then
    echo 'const s = require("fs").readFileSync(0, "utf8"); console.log("node", JSON.stringify(s))' >node.js
    runtime node 'some input' "$(command -v node)" node.js
else
    echo "skip  node: not installed"
fi
if command -v javac >/dev/null; then
    echo 'public class Echo { public static void main(String[] a) throws Exception {
        System.out.println("java " + new String(System.in.readAllBytes()).trim()); } }' >Echo.java
    step "java: compile" javac Echo.java
    # Its performance counters lie in a file that stays shared with other processes, named after user and PID.
    runtime java 'some input' "$(readlink -f "$(command -v java)")" -XX:-UsePerfData -cp "$scratch" Echo
else
    echo "skip  java: not installed"
fi

finish
