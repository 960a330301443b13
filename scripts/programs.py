#!/usr/bin/env python3
"""Runs programs of Debian, PyPI and npm from snapshots, and writes docs/reference/programs.md.

    scripts/programs.py                   every program of scripts/programs.toml that is installed
    scripts/programs.py NAME…             these only; the page keeps the rows of the others
    scripts/programs.py --quick NAME…     fewer runs for the times
    scripts/programs.py --install NAME…   installs what is missing first (Debian's packages as root)
    scripts/programs.py --check           fails if the page is not what this table and its own figures make

Each program is run three times in the ordinary way and three times from one snapshot, each time with other arguments
or another standard input. Output, errors and exit status must be the same. SNAPFN_BIN names the directory of the
binaries, SNAPFN_PROGRAMS the one for packages of PyPI and npm. The script fails if an instance is different and the
table does not say why.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import re
import selectors
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
TABLE = ROOT / "scripts/programs.toml"
PAGE = ROOT / "docs/reference/programs.md"
BIN = pathlib.Path(os.environ.get("SNAPFN_BIN", ROOT / "target/release")).resolve()
CACHE = pathlib.Path(os.environ.get("SNAPFN_PROGRAMS", ROOT / "target/programs")).resolve()
INSTANCES = 3
# Ports of a server: {port}, {port2} and {port3}.
PORTS = 3
# Longest run of a program, in seconds.
PATIENCE = 60
FIELDS = {
    "name",
    "from",
    "version",
    "run",
    "args",
    "at",
    "input",
    "options",
    "start",
    "env",
    "mask",
    "entry",
    "files",
    "serve",
    "ask",
    "note",
    "prepare",
}


def fail(message):
    sys.exit(f"programs.py: {message}")


# --- the table ----------------------------------------------------------------------------------------------------


class Program:
    """One entry of the table; the head of scripts/programs.toml describes its fields."""

    def __init__(self, entry):
        unknown = entry.keys() - FIELDS
        if unknown:
            fail(f"{entry.get('name')}: the table has no field {', '.join(sorted(unknown))}")
        self.name = entry["name"]
        self.source, self.package = entry["from"].split(":", 1)
        self.entry = entry.get("entry")
        self.run = entry.get("run", "")
        self.args = entry.get("args", [""])
        self.at = entry.get("at", "ready" if self.entry else "main")
        self.input = entry.get("input", [])
        self.options = entry.get("options", [])
        self.start = entry.get("start", [])
        self.env = entry.get("env", {})
        self.mask = entry.get("mask")
        self.files = entry.get("files", {})
        self.prepare = entry.get("prepare")
        self.serve = entry.get("serve")
        self.ask = entry.get("ask", [])
        self.note = entry.get("note", "")
        for given in (self.args, self.input, self.ask):
            if len(given) not in (0, 1, INSTANCES):
                fail(f"{self.name}: {len(given)} values are given where 1 or {INSTANCES} are needed")

    def home(self):
        """Where the packages of PyPI and npm are."""
        return CACHE / self.source / self.package.split(" ")[0]

    def program(self):
        """The path of the program, and the words before its arguments in an ordinary run."""
        if self.source == "pypi":
            return [str(self.home() / "bin" / (self.run or "python"))]
        return [self.run]

    def is_installed(self):
        if self.source == "debian":
            packages = self.package.split(" ")
            query = ["dpkg-query", "-W", "-f", "${db:Status-Status}\n", *packages]
            found = subprocess.run(query, capture_output=True, text=True).stdout
            return found.split() == ["installed"] * len(packages) and os.access(self.run, os.X_OK)
        return (self.home() / "complete").exists() and os.access(self.program()[0], os.X_OK)

    def install(self):
        packages = self.package.split(" ")
        if self.source == "debian":
            command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
            return subprocess.run(command, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, capture_output=True)
        home = self.home()
        home.mkdir(parents=True, exist_ok=True)
        if self.source == "pypi":
            done = subprocess.run(["/usr/bin/python3", "-m", "venv", home], capture_output=True)
            pip = [home / "bin/pip", "install", "-q", "--disable-pip-version-check", *packages]
            done = subprocess.run(pip, capture_output=True) if done.returncode == 0 else done
        else:
            # Nothing of a package runs when it is installed.
            npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", home]
            done = subprocess.run([*npm, *packages], capture_output=True)
        if done.returncode == 0:
            (home / "complete").touch()
        return done

    def version(self):
        first = self.package.split(" ")[0]
        if self.source == "debian":
            command = ["dpkg-query", "-W", "-f", "${Version}", first]
        elif self.source == "pypi":
            ask = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
            command = [self.home() / "bin/python", "-c", ask, first]
        else:
            ask = "console.log(require(process.argv[1]).version)"
            command = ["node", "-e", ask, self.home() / "node_modules" / first / "package.json"]
        shown = subprocess.run(command, capture_output=True, text=True).stdout.strip()
        # An epoch and Debian's own revision say nothing to a reader.
        return re.sub(r"^\d+:|[-+](?:\w+\.)?[^-]*$" if self.source == "debian" else r"$^", "", shown)


def read_table():
    with TABLE.open("rb") as file:
        programs = [Program(entry) for entry in tomllib.load(file)["program"]]
    names = [program.name for program in programs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        fail(f"the table has {', '.join(twice)} twice")
    return programs


# --- running ------------------------------------------------------------------------------------------------------


def spawn(command, env, directory, streams):
    """Starts `command` with the three descriptors `streams`: its PID, and when it was started."""
    actions = [(os.POSIX_SPAWN_DUP2, descriptor, number) for number, descriptor in enumerate(streams)]
    here = os.getcwd()
    os.chdir(directory)
    start = time.perf_counter()
    # Python ignores these two signals, and a program would inherit that.
    pid = os.posix_spawn(
        command[0], command, env, file_actions=actions, setsid=True, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ]
    )
    os.chdir(here)
    return pid, start


class Run:
    """One run: its output, errors and status, and the seconds to its first output and to its exit."""

    def __init__(self, command, env, directory, stdin=b"", patience=PATIENCE):
        (out, out_write), (err, err_write) = os.pipe(), os.pipe()
        with tempfile.TemporaryFile() as given:
            given.write(stdin)
            given.seek(0)
            pid, start = spawn(command, env, directory, [given.fileno(), out_write, err_write])
        os.close(out_write)
        os.close(err_write)
        self.first, self.timed_out = None, False
        texts = {out: b"", err: b""}
        with selectors.DefaultSelector() as selector:
            for stream in texts:
                selector.register(stream, selectors.EVENT_READ)
            while selector.get_map():
                left = start + patience - time.perf_counter()
                ready = selector.select(max(left, 0))
                if not ready:
                    self.timed_out = True
                    os.killpg(pid, signal.SIGKILL)
                    break
                for key, _ in ready:
                    piece = os.read(key.fd, 1 << 16)
                    if piece and self.first is None:
                        self.first = time.perf_counter() - start
                    texts[key.fd] += piece
                    if not piece:
                        selector.unregister(key.fd)
        _, status = os.waitpid(pid, 0)
        self.exit = time.perf_counter() - start
        self.first = self.first or self.exit
        os.close(out)
        os.close(err)
        self.status = "no end" if self.timed_out else os.waitstatus_to_exitcode(status)
        self.output, self.errors = texts[out], texts[err]

    def result(self, mask):
        texts = [self.output, self.errors]
        return [self.status, *(re.sub(mask.encode(), b"#", text) if mask else text for text in texts)]


class Server:
    """One run of a server: the answers of clients, and the seconds to the first answer and to its end by SIGTERM."""

    def __init__(self, command, env, directory, port, questions, patience=PATIENCE):
        log = directory / "server.log"
        with log.open("wb") as file, open(os.devnull, "rb") as nothing:
            pid, start = spawn(command, env, directory, [nothing.fileno(), file.fileno(), file.fileno()])
        self.first, self.answers, self.status = None, [], None
        while self.first is None and time.perf_counter() < start + patience and self.status is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                pass
            answer = self.answer(questions[0], port, env, directory)
            if answer[0] == 0:
                self.first = time.perf_counter() - start
                self.answers.append(answer)
            ended, status = os.waitpid(pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if ended else None
        self.answers += [self.answer(question, port, env, directory) for question in questions[1:] if self.first]
        asked = time.perf_counter()
        if self.status is None:
            os.kill(pid, signal.SIGTERM)
        while self.status is None:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self.status = os.waitstatus_to_exitcode(status)
            elif time.perf_counter() > asked + PATIENCE / 3:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                self.status = "no end"
            else:
                time.sleep(0.0005)
        # The time to the end leaves out the clients' other questions.
        self.exit = (self.first or 0) + time.perf_counter() - asked
        # Workers of a server that did not end them.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        self.log = log.read_text(errors="replace")

    @staticmethod
    def answer(question, port, env, directory):
        command = ["/bin/sh", "-c", question.replace("{port}", str(port))]
        try:
            done = subprocess.run(command, env=env, cwd=directory, capture_output=True, timeout=20)
        except subprocess.TimeoutExpired:
            return [None, b"", b"no answer"]
        return [done.returncode, done.stdout, done.stderr]

    def result(self, mask):
        clean = [
            [status, *(re.sub(mask.encode(), b"#", text) if mask else text for text in texts)]
            for status, *texts in self.answers
        ]
        return [self.status, clean, self.log if self.first is None else ""]


# --- one program --------------------------------------------------------------------------------------------------

COLOURS = ["blue", "red", "red"]
ROWS = [(n, n * 7 % 101, COLOURS[n % 3]) for n in range(300)]
SQUARES = [(n, n * n) for n in range(200)]
INPUTS = {
    "words.txt": "".join(f"alpha {n} line\nbeta {n} line\nGamma {n} line\nthe delta {n} line\n" for n in range(200)),
    "table.csv": "name,number,colour\n" + "".join(f"item{n},{number},{colour}\n" for n, number, colour in ROWS),
    "data.json": json.dumps({"name": "snap", "list": [{"id": n, "square": square} for n, square in SQUARES]}) + "\n",
    "data.yaml": "name: snap\nlist:\n" + "".join(f"  - id: {n}\n    square: {square}\n" for n, square in SQUARES),
    "page.html": "<!DOCTYPE html><html><head><title>Page</title></head><body>"
    + "".join(f"<p class='c{n}'>Paragraph <b>{n}</b></p>" for n in range(50))
    + "</body></html>\n",
    "page.xml": "<?xml version='1.0'?>\n<root>"
    + "".join(f"<item id='{n}'>text {n}</item>" for n in range(100))
    + "</root>\n",
    "page.md": "# Heading\n\n"
    + "".join(f"- item *{n}* with `code`\n" for n in range(50))
    + "\n| a | b |\n|---|---|\n| 1 | 2 |\n",
    "code.py": "import os\nimport sys, json\n\n\n"
    "def f(a,b = 1):\n    x = {  'a':a }\n    return x\n\nprint( f( 2 ) )\n",
    "code.c": "#include <stdio.h>\nstatic int f(int a){ int b[2]; return a+1; }\n"
    'int main(void){ printf("%d\\n",f(2)); return 0; }\n',
    "code.js": "const a = {b: 1, 'c': [1,2,3]};\nfunction f (x) { return x.map(y => y*2) }\nconsole.log(f(a.c))\n",
    "style.css": ".a { color: #ff0000; margin: 0px 0px }\n" + "".join(f".c{n} {{ width: {n}px }}\n" for n in range(50)),
    "code.sh": "#!/bin/sh\nfor f in $(ls *.txt); do echo $f; done\n",
    "image.ppm": "P3\n16 16\n255\n"
    + "".join(f"{x * 16} {y * 16} {x * y % 256}\n" for y in range(16) for x in range(16)),
    "image.svg": "<svg xmlns='http://www.w3.org/2000/svg' width='32' height='32'><!-- note -->"
    "<rect x='2' y='2' width='20' height='20' fill='#ff0000'/><circle cx='16' cy='16' r='8' fill='blue'/></svg>\n",
    "graph.dot": 'digraph g { a -> b; b -> c; a -> c; c -> d [label="x"]; }\n',
}


class Trial:
    """A scratch directory with a store, a home directory and input files, and what it finds out about one program."""

    def __init__(self, program, runs):
        self.program, self.runs = program, runs
        # The longest name that a program derives from it is a Unix socket's.
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="snapfn-programs-"))
        # Servers change to users who have to read their files.
        self.scratch.chmod(0o755)
        self.work = self.scratch / "work"
        for folder in (self.work, self.scratch / "home", self.scratch / "bin"):
            folder.mkdir()
        for name, text in (INPUTS | program.files).items():
            (self.work / name).write_text(text)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.scratch / "home"),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "SNAPFN_STORE": str(self.scratch / "store"),
            "NODE_PATH": str(program.home() / "node_modules"),
            **program.env,
        }
        self.port = free_port()

    def close(self):
        shutil.rmtree(self.scratch, ignore_errors=True)

    def words(self, text, port=None):
        port = port or self.port
        fill = {"port": port, "port2": port + 1, "port3": port + 2, "work": self.work}
        hole = re.compile(r"\{(port|port2|port3|work)\}")
        return [hole.sub(lambda found: str(fill[found[1]]), word) for word in shlex.split(text)]

    def snapshotted(self):
        """The words of the program that is snapshotted, without its arguments."""
        program = self.program
        if not program.entry:
            return program.program()
        module, function = program.entry.split(":")
        starter = self.scratch / "bin" / program.run
        starter.write_text(
            f"import sys\nsys.path.insert(0, {str(ROOT / 'python/src')!r})\nfrom {module} import {function} as main\n"
            "import snapfn\n\nsnapfn.run(main)\n"
        )
        return [str(program.home() / "bin/python"), str(starter)]

    def create(self):
        """Makes the snapshot; returns the errors of `create` if it is refused, else None."""
        program = self.program
        command = [str(BIN / "snapshotter"), "create", "--end", "--tag", "program", "--at", program.at]
        # At main nothing is read yet. An interpreter with a script would keep the script for all instances.
        arguments = [] if program.at == "main" else self.words(program.args[0])
        first = Run(
            [*command, *program.options, "--", *self.snapshotted(), *arguments],
            self.env,
            self.work,
            self.given(0),
            patience=2 * PATIENCE,
        )
        text = first.errors.decode(errors="replace")
        own = "snapshotter: "
        self.notes = [line.removeprefix(own) for line in text.splitlines() if line.startswith(own)]
        return None if first.status == 0 else text

    def given(self, turn):
        return pick(self.program.input, turn).encode()

    def ordinary(self, turn):
        if self.program.serve:
            self.again("start")
            return self.server([*self.program.program(), *self.words(self.program.args[0])], self.port)
        command = [*self.program.program(), *self.words(pick(self.program.args, turn))]
        return Run(command, self.env, self.work, self.given(turn))

    def instance(self, turn):
        allow = [option for option in self.program.options if option == "--allow-wx"]
        command = [str(BIN / "snaprun"), *allow, *self.program.start]
        if self.program.serve:
            self.again("point")
            # At main, an instance reads its arguments, and configuration files with the snapshot's ports.
            if self.program.at == "main":
                return self.server([*command, "program", *self.words(self.program.args[0])], self.port)
            port = free_port()
            for number in range(PORTS):
                if f"{{port{number + 1 if number else ''}}}" in f"{self.program.args[0]} {self.program.prepare}":
                    command += ["--bind", f"{self.port + number}=127.0.0.1:{port + number}"]
            return self.server([*command, "program"], port)
        # At a later point the program has read its arguments.
        arguments = self.words(pick(self.program.args, turn)) if self.program.at in ("main", "ready") else []
        return Run([*command, "program", *arguments], self.env, self.work, self.given(turn))

    def keep(self, name):
        """Keeps the working directory as it is now under `name`."""
        subprocess.run(["cp", "-a", self.work, self.scratch / name], check=True)

    def again(self, name):
        """A server finds its files as they were when they were kept: of the start, or of the snapshot point."""
        shutil.rmtree(self.work)
        subprocess.run(["cp", "-a", self.scratch / name, self.work], check=True)

    def server(self, command, port):
        return Server(command, self.env, self.work, port, self.program.ask)

    def compare(self):
        """The first difference between an ordinary run and an instance, or None."""
        if not self.program.serve:
            # What a program makes in its home directory is made.
            self.ordinary(0)
        for turn in range(INSTANCES):
            expected = self.ordinary(turn).result(self.program.mask)
            found = self.instance(turn).result(self.program.mask)
            if expected != found:
                return turn, expected, found
        return None

    def measure(self):
        """Milliseconds: medians to first output and to exit, ordinary and from the snapshot, by turns."""
        ordinary, instances = [], []
        for _ in range(self.runs):
            ordinary.append(self.ordinary(0))
            instances.append(self.instance(0))
        return [
            statistics.median(getattr(run, key) for run in runs) * 1000
            for key in ("first", "exit")
            for runs in (ordinary, instances)
        ]


def pick(values, turn):
    return "" if not values else values[turn if len(values) > 1 else 0]


def free_port():
    """A port that nobody listens on, nor on the two after it."""
    while True:
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
            with contextlib.suppress(OSError):
                for port in (first + 1, first + 2):
                    stack.enter_context(socket.create_server(("127.0.0.1", port)))
                return first


def refusal(text):
    """What `create` refuses, from its errors: the first obstacle and what to do."""
    own = "snapshotter: "
    lines = iter(text.splitlines())
    # What the program itself has written stands before.
    first = next((line for line in lines if line.startswith(own) and "cannot carry" in line), None)
    obstacle = next(lines, "") if first else ""
    said = [line for line in text.splitlines() if line.startswith((own, "Error: "))]
    return clean(obstacle if obstacle.startswith("  ") else next(iter(said), "no message"))


def clean(text):
    """A message as one cell of a table, without what is different in every run."""
    text = text.removeprefix("snapshotter: ")
    text = re.sub(r"/tmp/snapfn-programs-\w+/", "", text)
    text = re.sub(r"\bprocess \d+", "process", re.sub(r"0x[0-9a-f]+", "0x…", text))
    return text.replace("|", "\\|").replace("<", "&lt;").strip()


def try_program(program, runs):
    """The cells of the program's row that are found out by running it, and what to print when it is different."""
    trial = Trial(program, runs)
    try:
        if program.prepare:
            command = ["/bin/sh", "-ec", program.prepare.replace("{port}", str(trial.port))]
            subprocess.run(command, cwd=trial.work, env=trial.env, check=True, capture_output=True, timeout=PATIENCE)
        if program.serve:
            trial.keep("start")
        refused = trial.create()
        if program.serve:
            trial.keep("point")
        if refused is not None:
            return ["refused", "", "", refusal(refused)], refused
        difference = trial.compare()
        if difference:
            turn, expected, found = difference
            shown = f"instance {turn + 1}\n--- ordinary\n{expected}\n--- instance\n{found}\nnotes: {trial.notes}"
            note = f"noted: {clean(trial.notes[0])}" if trial.notes and not program.note else ""
            return ["different", "", "", note], shown
        first, first_instance, end, end_instance = trial.measure()
        return ["same", times(first, first_instance), times(end, end_instance), ""], None
    except (OSError, subprocess.SubprocessError) as error:
        return ["not tried", "", "", clean(str(error))], str(error)
    finally:
        trial.close()


def times(ordinary, instance):
    ratio = ordinary / instance
    return f"{short(ordinary)} → {short(instance)} ms, {ratio:.{0 if ratio >= 9.95 else 1}f}×"


def short(milliseconds):
    return f"{milliseconds:.{0 if milliseconds >= 99.5 else 1}f}"


# --- the page -----------------------------------------------------------------------------------------------------

HEAD = """\
# Will it work for my program?

This page has {count} programs of Debian, PyPI and npm, as they are. Each was run three times in the ordinary way and
three times from one snapshot, with other arguments or another input each time:
{same} are the same, {refused} are refused{rest}.

- *Same*: output, errors and exit status are the same; of a server, the answers and its end after SIGTERM.
- *Refused*: `snapshotter create` names what stands in the way, and makes no snapshot.

`scripts/programs.py` runs them and writes this page; `scripts/programs.toml` has their command lines. If your program
is not here, [support.md](support.md) says what an instance has, and `snapshotter check -- PROGRAM` names obstacles.

{measured}

- *Point*: what follows `--at`, and further options. At `main` the snapshot saves a program's linking and constructors
  only, so most programs gain little there. At `syscall:read:0` the program is initialised, and has not read its
  standard input. Five lines start a Python program at `ready`: they import it and call `snapfn.run`
  ([python.md](../howto/python.md)); the ordinary run is its own command.
- *First output* and *exit*: median of the ordinary run → median of the instance, both from the creation of the process,
  and how many times faster the instance is. Of a server: its first answer to a client, with the time of the client, and
  its end after a SIGTERM that it gets then.

| program | version | point | instances | first output | exit | notes |
|---|---|---|---|---|---|---|
"""
SOURCES = {"debian": "Debian", "pypi": "PyPI", "npm": "npm"}


def read_page():
    """The measured cells of every row of the page, and its sentence about the machine."""
    if not PAGE.exists():
        return {}, ""
    text = PAGE.read_text()
    rows = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 7 and cells[0] not in ("program", "---"):
            name, version, _, *found = cells
            rows[re.sub(r" \([^()]*\)$", "", name)] = version, found
    measured = re.search(r"^Measured .*?$", text, re.M)
    return rows, measured[0] if measured else ""


def make_page(programs, rows, measured):
    lines, kinds = [], []
    for program in programs:
        version, (kind, first, end, note) = rows.get(program.name, ("", ["not tried", "", "", ""]))
        kinds.append(kind)
        point = " ".join([f"`{program.at}`", *(f"`{option}`" for option in [*program.options, *program.start])])
        # The table's note stands behind what the run has found out.
        note = "; ".join(part for part in (note.removesuffix(program.note).removesuffix("; "), program.note) if part)
        cells = [f"{program.name} ({SOURCES[program.source]})", version, point, kind, first, end, note]
        lines.append("| " + " | ".join(cells) + " |")
    others = {"different": "are different for the reason in their row", "not tried": "were not tried"}
    rest = "".join(f", {kinds.count(kind)} {words}" for kind, words in others.items() if kind in kinds)
    counts = {"count": len(programs), "same": kinds.count("same"), "refused": kinds.count("refused"), "rest": rest}
    head = HEAD.format(measured=measured, **counts)
    return head + "\n".join(lines) + "\n"


def machine():
    release = ".".join(platform.release().split(".")[:2])
    system = platform.freedesktop_os_release().get("PRETTY_NAME", "an unknown distribution")
    return f"Measured on Linux {release}, {system}, {os.cpu_count()} processors, while other work was running."


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="three runs for the times instead of eleven")
    parser.add_argument("--install", action="store_true", help="install what is missing")
    parser.add_argument("--check", action="store_true", help="run nothing, and check the page")
    parser.add_argument("--dry-run", action="store_true", help="do not write the page")
    parser.add_argument("-v", "--verbose", action="store_true", help="print what create says and what is different")
    options = parser.parse_args()

    programs = read_table()
    rows, measured = read_page()
    if options.check:
        if PAGE.read_text() != make_page(programs, rows, measured):
            fail(f"{PAGE.relative_to(ROOT)} is not made from {TABLE.relative_to(ROOT)}: run scripts/programs.py NAME…")
        print(f"the page has the {len(programs)} programs of the table")
        return
    unknown = set(options.names) - {program.name for program in programs}
    if unknown:
        fail(f"the table has no {', '.join(sorted(unknown))}")
    if not os.access(BIN / "snapshotter", os.X_OK):
        fail(f"there is no {BIN}/snapshotter: build it, or set SNAPFN_BIN")

    faults = 0
    for program in programs:
        if options.names and program.name not in options.names:
            continue
        if options.install and not program.is_installed():
            done = program.install()
            if done.returncode:
                print(f"{program.name}: cannot be installed: {done.stderr.decode(errors='replace').strip()[-300:]}")
        if not program.is_installed():
            missing = f"{SOURCES[program.source]}'s {program.package} is not installed (--install)"
            print(f"skip       {program.name}: {missing}", flush=True)
            continue
        cells, shown = try_program(program, 3 if options.quick else 11)
        print(f"{cells[0]:10} {program.name}: {'; '.join(cell for cell in cells[1:] if cell)}", flush=True)
        if shown and (options.verbose or cells[0] == "different"):
            print(shown if options.verbose else shown[:2000], flush=True)
        faults += cells[0] == "different" and not program.note
        # Another run of this script may have written rows meanwhile.
        rows, _ = read_page()
        rows[program.name] = program.version(), cells
        if not options.dry_run:
            PAGE.write_text(make_page(programs, rows, machine()))
    if faults:
        fail(f"{faults} programs are different from a snapshot, and the table does not say why")


if __name__ == "__main__":
    main()
