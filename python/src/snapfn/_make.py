"""Makes the snapshot of a program whose imports have been recorded: `_make.py RECORD`.

It first tries the imports without a snapshot, until only modules are left whose state at the import is right in an
instance. Then it runs the snapshotter, and writes the index.
"""

import fcntl
import fnmatch
import marshal
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import _index  # noqa: E402

# Values that the snapshotter leaves out of snapshots must not decide what is in one.
SECRETS = "*TOKEN* *KEY *KEYS *SECRET* *PASSW* *CREDENTIAL* AWS_*".split()
LOADERS = ("SourceFileLoader", "SourcelessFileLoader", "ExtensionFileLoader", "BuiltinImporter", "FrozenImporter")
ROUNDS = 12


class Maker:
    def __init__(self, record, environ):
        self.record, self.root, self.bin = record, record["root"], record["bin"]
        self.interpreter, options, self.kind, self.target, preload = record["key"].split("\x1f")
        self.options = options.split("\x1e") if options else []
        self.preload = [name for name in preload.split(",") if name]
        self.recorded = {name: origin for name, origin, _ in record["modules"]}
        self.order = {name: index for index, (name, _, _) in enumerate(record["modules"])}
        self.left = {}
        self.environ = environ
        self.installed = self._installed()

    def _installed(self):
        """The folders of the standard library and of installed packages: of sys.path as it was at the start, those that
        are no project's own."""
        return [
            path.rstrip("/") + "/"
            for path in self.record["path"]
            if os.path.basename(path.rstrip("/")) in ("site-packages", "dist-packages", "lib-dynload")
            or os.path.exists(path + "/encodings/__init__.py")
        ]

    def _is_installed(self, origin):
        return origin in ("built-in", "frozen") or origin.startswith(tuple(self.installed))

    def _candidates(self):
        early = set(self.record["early"])
        for name, origin, loader in self.record["modules"]:
            is_named = any(name == wanted or name.startswith(wanted + ".") for wanted in self.preload)
            if name in early or name.startswith("_snapfn") or name in ("__main__", "__mp_main__"):
                continue
            if loader in LOADERS and (is_named or self._is_installed(origin)):
                yield name
        for name in self.preload:
            if name not in self.recorded:
                yield name

    def _run(self, mode, task, spec):
        with open(spec, "wb") as file:
            marshal.dump(task, file)
        return [self.interpreter, *self.options, HERE + "/_start.py", mode, spec]

    def probe(self, names, spec):
        task = {"names": names, "left": sorted(self.left), "folders": self._folders(), "options": self.options}
        command = self._run("probe", task, spec)
        with open(spec + ".output", "w+b") as output:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=600, env=self.environ
            )
            output.seek(0)
            tail = output.read().decode("utf-8", "replace").strip().splitlines()[-1:]
        if done.returncode != 0:
            raise _index.Unusable("importing its modules ends with status %d: %s" % (done.returncode, "".join(tail)))
        with open(spec + ".probe", "rb") as file:
            return marshal.load(file)

    def _folders(self):
        return [os.path.dirname(os.path.realpath(self.target))] if self.preload and self.kind == "script" else []

    def choose(self, spec):
        """Probes until no further module has to be left out; returns the names of modules, and the findings of the last
        probe."""
        names = list(self._candidates())
        for _ in range(ROUNDS):
            found = self.probe(names, spec)
            left = dict(found["left"])
            left.update(self._unlike(found))
            left.update(self._of_changed_variables(found))
            for name, (module, value) in found["reads"].items():
                if value is not None and any(fnmatch.fnmatchcase(name, pattern) for pattern in SECRETS):
                    left.setdefault(module, "reads %s" % name)
            for name, module in found["sets"].items():
                if any(fnmatch.fnmatchcase(name, pattern) for pattern in SECRETS):
                    left.setdefault(module, "sets %s" % name)
            new = {name: why for name, why in left.items() if name not in self.left}
            self.left.update(new)
            kept = [name for name in names if name not in found["failed"] and name not in self.left]
            if not new and kept == names:
                return names, found
            names = kept
        raise _index.Unusable("its modules do not import the same way twice")

    def _unlike(self, found):
        for name, origin in found["origins"].items():
            if name in self.recorded and self.recorded[name] != origin and name not in ("__main__", "snapfn"):
                if not name.startswith(("_snapfn", "snapfn.")):
                    yield name, "is %s in an ordinary start" % self.recorded[name]

    def _of_changed_variables(self, found):
        """Modules that read a variable which the program sets before it imports them."""
        left = {}
        for name, index in self.record["changed"].items():
            later = [module for module in found["origins"] if self.order.get(module, 0) >= index]
            why = "reads %s, which the program sets before" % name
            if name in found["reads"] and found["reads"][name][0] in later:
                left[found["reads"][name][0]] = why
            for path in found["mapped"]:
                if self._has_name(path, name):
                    package = self._package(path)
                    left.update((m, why) for m in later if package in (None, m.partition(".")[0]))
        return left

    def _package(self, path):
        for folder in self.installed:
            if path.startswith(folder):
                return path[len(folder) :].partition("/")[0].partition(".")[0]
        return None

    @staticmethod
    def _has_name(path, name):
        if os.path.basename(path).startswith(("python", "libpython", "libc.", "libc-", "ld-linux")):
            return False
        try:
            with open(path, "rb") as file:
                return b"\0" + os.fsencode(name) + b"\0" in file.read()
        except OSError:
            return False

    def create(self, names, tag, spec):
        task = {"names": names, "folders": self._folders(), "options": self.options}
        program = self._run("snapshot", task, spec)
        command = [self.bin + "/snapshotter", "create", "--tag", tag, "--at", "ready", "--timeout", "600", "--end"]
        # A relative store is one of the directory that the run was started in.
        environ = dict(self.environ, SNAPFN_STORE=os.path.dirname(self.root))
        done = subprocess.run(
            [*command, "--", *program], stdin=subprocess.DEVNULL, capture_output=True, timeout=900, env=environ
        )
        if done.returncode != 0:
            text = done.stderr.decode("utf-8", "replace").strip()
            raise _index.Unusable(text or "snapshotter ends with status %d" % done.returncode)
        with open(spec + ".snapshot", "rb") as file:
            return marshal.load(file)

    def inputs(self, found):
        paths = set(found["opened"]) | set(found["path"]) | set(found["mapped"])
        paths.update(origin for origin in found["origins"].values() if origin.startswith("/"))
        for folder in found["path"]:
            if os.path.isdir(folder):
                paths.update(folder + "/" + name for name in os.listdir(folder) if name.endswith(".pth"))
        place = os.path.dirname(self.interpreter)
        paths.update((self.interpreter, place + "/pyvenv.cfg", os.path.dirname(place) + "/pyvenv.cfg"))
        if "_ssl" in found["origins"]:
            import ssl

            paths.add(os.path.dirname(ssl.get_default_verify_paths().openssl_cafile) + "/openssl.cnf")
        paths.update(HERE + "/" + name for name in os.listdir(HERE) if name.endswith(".py"))
        is_input = lambda path: path.startswith("/") and not path.startswith(("/proc/", "/sys/", "/dev/", "/memfd:"))
        temporary = self.root + "/records/"
        return {
            path: _index.look(path)
            for path in paths
            if is_input(path) and "/__pycache__/" not in path and not path.startswith(temporary)
        }

    def make(self, spec):
        names, probed = self.choose(spec)
        families = tuple(_index.FAMILIES)
        reads = {name: value for name, (_, value) in probed["reads"].items() if not name.startswith(families)}
        parts = [self.record["key"] if self.preload else "\x1f".join((self.interpreter, *self.options))]
        parts += ["\x1e".join(names), _index.families(self.environ), repr(sorted(reads.items()))]
        tag = "python-" + _index.fnv(os.fsencode("\x1f".join(parts)))
        if not _index.is_fresh(self.root, tag):
            before = self.inputs(probed)
            found = self.create(names, tag, spec)
            for name in set(found["origins"]) & set(self.left):
                raise _index.Unusable("%s is imported although it %s" % (name, self.left[name]))
            inputs = self.inputs(dict(probed, mapped=sorted(set(probed["mapped"]) | set(found["mapped"]))))
            changed = [path for path, seen in before.items() if inputs.get(path, seen) != seen]
            if changed:
                raise _index.Unusable("%s has changed meanwhile" % changed[0])
            top = {name.partition(".")[0] for name in found["origins"]} - set(found["early"])
            _index.Snapshot(tag, self.bin + "/snaprun", self.environ, reads, top, inputs).write(self.root)
        return tag, names


def collect(root, bin_folder):
    """Removes snapshots that no program uses any more."""
    environ = dict(os.environ, SNAPFN_STORE=os.path.dirname(root))
    tags = _index.unused(root)
    for tag in tags:
        os.unlink(root + "/snapshots/" + tag)
        subprocess.run([bin_folder + "/snaprepo", "rm", tag], capture_output=True, env=environ)
    if tags:
        subprocess.run([bin_folder + "/snaprepo", "gc"], capture_output=True, env=environ)


def environment():
    """The one that this was started with; os.environ also has what the interpreter has put in (PEP 538)."""
    with open("/proc/self/environ", "rb") as file:
        entries = [entry.partition(b"=") for entry in file.read().split(b"\0") if b"=" in entry]
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in reversed(entries) if name}


def main(path):
    with open(path, "rb") as file:
        record = marshal.load(file)
    root, how = record["root"], record["make"]
    app, environ = _index.App(root, record["key"]), environment()
    lock = open(root + "/records/lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (fcntl.LOCK_NB if how == "background" else 0))
    except OSError:
        os.unlink(path)
        return 0  # another one is being made; a later run has this one made
    # Where `--make before` looks for it.
    spec = "%s/records/%s" % (root, os.path.basename(app.path))
    os.rename(path, spec)
    if how == "background":
        os.nice(10)
    os.chdir("/")
    began = time.monotonic()
    maker = Maker(record, environ)
    try:
        tag, names = maker.make(spec + ".task")
        app.add(tag, environ)
        collect(root, record["bin"])
    except (_index.Unusable, OSError, subprocess.SubprocessError) as why:
        app.refuse(str(why), environ)
        if how == "report":
            print("snapfn: no snapshot: %s" % why, file=sys.stderr)
        return 1
    finally:
        for name in os.listdir(root + "/records"):
            if name.startswith(os.path.basename(spec) + ".task"):
                os.unlink(root + "/records/" + name)
    if how == "report":
        took = time.monotonic() - began
        print("snapfn: snapshot %s with %d modules, made in %.1f s" % (tag, len(names), took), file=sys.stderr)
        for name, why in sorted(maker.left.items()):
            print("snapfn: %s is imported at each start: it %s" % (name, why), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
