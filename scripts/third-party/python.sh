#!/bin/sh
# Debian's own /usr/bin/python3, which snapcc has not compiled, with a set of large modules imported: an instance
# answers like an ordinary start, and sees its own arguments and environment.
. "$(dirname "$0")/common.sh"

need python3
python=/usr/bin/python3
fresh_store
scratch=$SNAPFN_STORE.python
mkdir -p "$scratch"
trap 'rm -rf "$SNAPFN_STORE" "$scratch"' EXIT
cp -r "$root/python/src/snapfn" "$scratch/"

cat >"$scratch/work.py" <<'PY'
"""What both snapshots are asked to do; prints the same whenever and wherever it runs."""
import asyncio, hashlib, http.server, json, os, re, sqlite3, ssl, sys, threading, time, unittest, urllib.request


class Checks(unittest.TestCase):
    def test_json(self):
        self.assertEqual(json.loads(json.dumps({"k": [1, 2.5, None, "é"]}))["k"][3], "é")

    def test_re(self):
        self.assertEqual(re.sub(r"(\w+)@(\w+)", r"\2 at \1", "a@b c@d"), "b at a d at c")

    def test_asyncio(self):
        async def both():
            return await asyncio.gather(asyncio.sleep(0.01, 1), asyncio.sleep(0, 2))

        self.assertEqual(asyncio.run(both()), [1, 2])

    def test_sqlite(self):
        db = sqlite3.connect(":memory:")
        db.execute("CREATE TABLE t(x)")
        db.executemany("INSERT INTO t VALUES (?)", ((i,) for i in range(1000)))
        self.assertEqual(db.execute("SELECT sum(x) FROM t").fetchone(), (499500,))

    def test_ssl(self):
        context = ssl.create_default_context()
        self.assertTrue(context.check_hostname)
        self.assertEqual(hashlib.sha256(b"x").hexdigest()[:8], "2d711642")
        self.assertNotEqual(ssl.RAND_bytes(16), ssl.RAND_bytes(16))

    def test_http(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"served " + self.path.encode())

            def log_message(self, *args):
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            text = opener.open(f"http://127.0.0.1:{server.server_port}/path").read()
            server.shutdown()
        self.assertEqual(text, b"served /path")

    def test_files_and_children(self):
        import subprocess, tempfile

        with tempfile.NamedTemporaryFile("w+") as f:
            f.write("text")
            f.flush()
            self.assertEqual(subprocess.run(["cat", f.name], capture_output=True, text=True).stdout, "text")

    def test_time_and_pid(self):
        before = time.monotonic()
        self.assertLessEqual(before, time.monotonic())
        self.assertEqual(os.getpid(), int(os.readlink("/proc/self")))

    def test_recursion_and_memory(self):
        def depth(n):
            return n and 1 + depth(n - 1)

        self.assertEqual(depth(800), 800)
        self.assertEqual(len({i: str(i) for i in range(200000)}), 200000)
        with self.assertRaises(RecursionError):
            depth(10**6)


def answer(arguments, environment, request):
    result = unittest.TextTestRunner(stream=open(os.devnull, "w")).run(unittest.defaultTestLoader.loadTestsFromTestCase(Checks))
    for _, trace in result.failures + result.errors:
        print(trace)
    print(result.testsRun, "checks,", len(result.failures) + len(result.errors), "bad")
    print("arguments", arguments, "WHO", environment.get("WHO"), "GONE", environment.get("GONE"))
    print("request", sorted(json.loads(request)))
    sys.exit(len(arguments))
PY

modules="json, re, asyncio, http.server, sqlite3, ssl, unittest"

# --- at ready, through snap_info ---------------------------------------------------------------------------------
cat >"$scratch/ready.py" <<PY
import $modules, os, sys
import snapfn, work
state = {i: str(i) for i in range(50000)}
snapfn.ready()
assert state[49999] == "49999"
work.answer(sys.argv[1:], os.environ, sys.stdin.read())
PY
# --- at the first read of standard input ---------------------------------------------------------------------------
cat >"$scratch/exec.py" <<'PY'
import os
# /proc shows the instance's values; `-c` and the program text are not among its arguments.
arguments = [os.fsdecode(a) for a in open("/proc/self/cmdline", "rb").read().split(b"\0")[1:-1]]
if arguments[:2] == ["-B", "-c"]:
    del arguments[:3]
environment = dict(e.partition("=")[::2] for e in map(os.fsdecode, open("/proc/self/environ", "rb").read().split(b"\0")))
work.answer(arguments, environment, "[2, 1]")
PY
program="import sys; sys.path.insert(0, '$scratch'); import $modules, work; exec(sys.stdin.read())"
chmod -R go+rX "$scratch"

status() { "$@" 2>&1 && echo "status 0" || echo "status $?"; }
with() { as_plain env -C / -u GONE "$@"; }

GONE=snapshot step "python: snapshot at ready" \
    snapshotter create --tag ready --at ready --cwd / -- "$python" -B "$scratch/ready.py" old arguments
GONE=snapshot step "python: snapshot at the read of its input" \
    snapshotter create --tag exec --at syscall:read:0 --cwd / -- "$python" -B -c "$program" old
for who in first second; do
    for arguments in "" "a" "b c d"; do
        # shellcheck disable=SC2086
        {
            expected=$(echo '{"x": 1, "y": 2}' | status with WHO=$who "$python" -B "$scratch/ready.py" $arguments)
            actual=$(echo '{"x": 1, "y": 2}' | status with WHO=$who snaprun ready $arguments)
            same "python: at ready, $who ($arguments)" "$expected" "$actual"
            same "python: the checks themselves" "9 checks, 0 bad" "$(echo "$actual" | head -1)"
            expected=$(status with WHO=$who "$python" -B -c "$program" $arguments <"$scratch/exec.py")
            actual=$(status with WHO=$who snaprun exec $arguments <"$scratch/exec.py")
            same "python: at read, $who ($arguments)" "$expected" "$actual"
        }
    done
done
a=$(echo 'import random; print(random.random())' | as_plain snaprun exec)
same "python: an instance prints one number" 1 "$(echo "$a" | grep -c '^0\.')"
finish
