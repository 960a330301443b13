"""Imports the modules of a program's recorded run, before the snapshot point.

A probe does it first, without a snapshot, and records what each module reads while it is imported. The same values must
hold at each start, or else the program itself imports the module.
"""

import marshal
import os
import sys


# Modules whose view of the process _renew makes new.
RENEWED = ("multiprocessing.process", "threading", "asyncio", "logging")


class Left(BaseException):
    """Raised by the import of a module that is left to the program. Code that catches ImportError or Exception, to do
    without the module, does not catch this."""


class _Blocker:
    def __init__(self, names):
        self.names, self.met = names, []

    def find_spec(self, name, path=None, target=None):
        if name in self.names:
            self.met.append(name)
            raise Left(name)
        return None


class _Arguments(list):
    """sys.argv while modules are imported: records that a module reads it."""


class _Watch:
    """Records what modules read while they are imported."""

    def __init__(self, output):
        self.stack, self.output, self.size = [], output, 0
        self.reads, self.sets, self.opened, self.left = {}, {}, set(), {}
        self.is_on = False

    def blame(self, why):
        if self.is_on and self.stack and self.stack[-1] not in RENEWED:
            self.left.setdefault(self.stack[-1], why)

    def check_output(self):
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        size = os.fstat(self.output).st_size
        if size != self.size:
            self.size = size
            self.blame("prints")

    def install(self):
        self._imports()
        self._environment()
        for name, why in (
            ("isatty", "asks for a terminal"),
            ("get_terminal_size", "asks for a terminal"),
            ("getcwd", "asks for the working directory"),
            ("getcwdb", "asks for the working directory"),
            ("getpid", "asks for the process ID"),
        ):
            setattr(os, name, self._asked(getattr(os, name), why))
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            stream.isatty = self._asked(stream.isatty, "asks for a terminal")
        for name in ("__getitem__", "__iter__", "__len__", "__contains__", "__eq__", "__add__", "copy", "index"):
            setattr(_Arguments, name, self._asked_method(getattr(list, name), "looks at sys.argv"))
        sys.argv = _Arguments([""])
        sys.addaudithook(self._audit)
        self.is_on = True

    def _asked(self, function, why):
        def asked(*args, **kwargs):
            self.blame(why)
            return function(*args, **kwargs)

        return asked

    def _asked_method(self, function, why):
        def asked(this, *args):
            self.blame(why)
            return function(this, *args)

        return asked

    def _imports(self):
        import _frozen_importlib_external as external

        for kind, name in (
            (external._LoaderBasics, "exec_module"),
            (external.ExtensionFileLoader, "create_module"),
            (external.ExtensionFileLoader, "exec_module"),
        ):
            setattr(kind, name, self._loading(getattr(kind, name)))

    def _loading(self, function):
        def load(loader, argument):
            name = getattr(argument, "__name__", None) or argument.name
            self.check_output()
            self.stack.append(name)
            try:
                return function(loader, argument)
            finally:
                self.check_output()
                self.stack.pop()

        return load

    def _environment(self):
        kind, watch = type(os.environ), self
        get, iterate = kind.__getitem__, kind.__iter__

        def __getitem__(this, key):
            if watch.is_on and watch.stack and isinstance(key, (str, bytes)):
                watch.reads.setdefault(os.fsdecode(key), watch.stack[-1])
            return get(this, key)

        def __iter__(this):
            watch.blame("looks at the whole environment")
            return iterate(this)

        kind.__getitem__, kind.__iter__ = __getitem__, __iter__

    def _audit(self, event, arguments):
        if not self.is_on:
            return
        if event == "open":
            path, mode, flags = arguments
            if isinstance(path, (str, bytes)):
                self.opened.add(os.path.abspath(os.fsdecode(path)))
                if isinstance(flags, int) and flags & os.O_ACCMODE != os.O_RDONLY:
                    self.blame("writes to a file")
        elif event in ("os.putenv", "os.unsetenv") and self.stack:
            self.sets.setdefault(os.fsdecode(arguments[0]), self.stack[-1])
        elif event in ("os.listdir", "os.scandir"):
            if isinstance(arguments[0], str):
                self.opened.add(os.path.abspath(arguments[0]))
        elif event in ("subprocess.Popen", "os.fork", "os.posix_spawn", "os.system"):
            self.blame("starts a program")
        elif event == "socket.connect":
            self.blame("makes a connection")


def _import_all(names, blocker=None):
    """Imports modules in order; returns those that fail, with the reason."""
    failed = {}
    for name in names:
        if name in sys.modules:
            continue
        met = len(blocker.met) if blocker else 0
        try:
            __import__(name)
        except Left as left:
            failed[name] = "needs %s" % left
            continue
        except (Exception, SystemExit) as error:
            failed[name] = "cannot be imported alone: %s" % (type(error).__name__)
            continue
        if blocker and len(blocker.met) > met:
            failed[name] = "needs %s" % blocker.met[-1]
    return failed


def _origins():
    found = {}
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        found[name] = str(getattr(spec, "origin", None) or getattr(module, "__file__", None))
    return found


def _mapped():
    paths = set()
    with open("/proc/self/maps") as maps:
        for line in maps:
            path = line.split(None, 5)[5:]
            if path and path[0].startswith("/"):
                paths.add(path[0].rstrip("\n"))
    return sorted(paths)


def _found(early):
    return {"origins": _origins(), "mapped": _mapped(), "path": list(sys.path), "early": sorted(early)}


def probe(early, spec):
    """Imports, and writes the findings to SPEC.probe."""
    with open(spec, "rb") as file:
        task = marshal.load(file)
    blocker = _Blocker(task["left"])
    sys.meta_path.insert(0, blocker)
    sys.path[:0] = task["folders"]
    environ = dict(os.environ)
    watch = _Watch(1)
    watch.install()
    failed = _import_all(task["names"], blocker)
    watch.is_on = False
    reads = {name: [module, environ.get(name)] for name, module in watch.reads.items()}
    boto3 = sys.modules.get("boto3")
    if getattr(boto3, "DEFAULT_SESSION", None) is not None:
        watch.left["boto3"] = "has a default session, whose credentials would be kept"
    found = dict(_found(early), failed=failed, reads=reads, sets=watch.sets, opened=sorted(watch.opened), left=watch.left)
    with open(spec + ".probe", "wb") as file:
        marshal.dump(found, file)
    os._exit(0)


def snapshot(program, early, spec, *arguments):
    """Imports, marks the snapshot point, and runs the program of an instance's arguments. In an ordinary run, as after
    `snaprun --fallback`, it runs the program that the arguments name."""
    import snapfn

    with open(spec, "rb") as file:
        task = marshal.load(file)
    if not snapfn._is_listened_to():
        program.run(list(arguments[len(task["options"]) :]), task["options"])
    sys.path[:0] = task["folders"]
    environ = dict(os.environ)
    failed = _import_all(task["names"])
    # What modules have set while they were imported, from the variables that are compared at each start.
    now = dict(os.environ)
    changed = {name: now.get(name) for name in {*now, *environ} if now.get(name) != environ.get(name)}
    del sys.path[: len(task["folders"])]
    with open(spec + ".snapshot", "wb") as file:
        marshal.dump(dict(_found(early), failed=failed), file)
    if failed:
        os._exit(3)
    given = []
    # Modules may have registered hooks meanwhile.
    if not (snapfn._is_listened_to() and snapfn._take_snapshot(given.extend)):
        os._exit(0)
    for name, value in changed.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    count = 1 + len(task["options"])
    program.run(given[count:], given[1:count], snapfn._finish.finish)
