"""Records the imports of an ordinary run, in order, and starts the making of a snapshot when the run has ended.

This module imports only modules that an interpreter has imported at its start.
"""

import atexit
import marshal
import os
import sys

_job = {}
_changed = {}
_ended = []
_frozen = ("_frozen_importlib", "_frozen_importlib_external")


def start(bin_folder, root, key, make, preload):
    _job.update(bin=bin_folder, root=root, key=key, make=make, preload=preload)
    _job.update(early=list(sys.modules), path=list(sys.path), environ=_environment(), pid=os.getpid())
    atexit.register(_end)  # the first one is called last
    sys.addaudithook(_watch)
    end = os._exit

    def _exit(status):
        _end()
        end(status)

    os._exit = _exit


def _environment():
    """The environment of this start: os.environ also has what the interpreter has put in (PEP 538)."""
    with open("/proc/self/environ", "rb") as file:
        entries = [entry.partition(b"=") for entry in file.read().split(b"\0") if b"=" in entry]
    return {name: value for name, _, value in reversed(entries) if name}


def _watch(event, arguments):
    if event == "os.putenv" or event == "os.unsetenv":
        name = os.fsdecode(arguments[0])
        if name not in _changed and not _is_import(sys._getframe(1)):
            _changed[name] = len(sys.modules)
    elif event == "os.exec":
        _end()


def _is_import(frame):
    """Whether an installed module does it while it is imported: a snapshot's import does it, too."""
    while frame is not None and frame.f_code.co_filename.endswith(("/os.py", "os>", "_collections_abc>", "abc.py")):
        frame = frame.f_back
    if frame is None or not _is_installed(frame.f_code.co_filename):
        return False
    while frame is not None:
        if frame.f_globals.get("__name__") in _frozen or frame.f_globals.get("__name__") == "importlib._bootstrap":
            return True
        frame = frame.f_back
    return False


def _is_installed(path):
    return "/site-packages/" in path or "/dist-packages/" in path or path.startswith(sys.base_prefix + "/lib")


def _modules():
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        loader = getattr(spec, "loader", None)
        kind = loader if isinstance(loader, type) else type(loader)
        # A custom finder may load a module in another way than an import without it would.
        is_plain = kind.__module__ in _frozen or kind.__module__ == "importlib._bootstrap_external"
        if is_plain and getattr(spec, "name", None) == name:
            yield name, str(getattr(spec, "origin", None)), kind.__name__


def _end():
    """Writes the record, and starts the program that makes the snapshot."""
    if _ended or os.getpid() != _job["pid"]:
        return  # a child of the program
    _ended.append(True)
    try:
        _write()
    except Exception as error:  # the program's own end goes on
        if _job["make"] == "report":
            os.write(2, b"snapfn: cannot record the imports: %s\n" % str(error).encode())


def _write():
    record = dict(_job, modules=list(_modules()), changed=_changed)
    folder = _job["root"] + "/records"
    os.makedirs(folder, 0o700, exist_ok=True)
    path = "%s/%d" % (folder, os.getpid())
    with open(path, "wb") as file:
        marshal.dump(record, file)
    here = __file__.rpartition("/")[0]
    arguments = [sys.executable, "-I", here + "/_make.py", path]
    waits = _job["make"] in ("before", "report")
    # A pipe that a background process held open would keep its reader waiting.
    actions = [(os.POSIX_SPAWN_CLOSE, fd) for fd in _descriptors() if fd > 2]
    for fd in () if waits else (0, 1, 2):
        actions.append((os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0))
    child = os.posix_spawn(sys.executable, arguments, _job["environ"], file_actions=actions, setsid=not waits)
    if waits:
        os.waitpid(child, 0)


def _descriptors():
    fds = [int(name) for name in os.listdir("/proc/self/fd")]
    found = []
    for fd in fds:
        try:
            if os.get_inheritable(fd):
                found.append(fd)
        except OSError:
            pass  # the listing's own
    return found
