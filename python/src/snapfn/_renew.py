"""Renews in an instance the state that Python sets at its start or keeps about its process."""

import codecs
import ctypes
import io
import locale
import os
import random
import sys
import time

from . import _protocol


class Before:
    """State of the program at its point that an instance needs."""

    def __init__(self):
        self.running_loop = sys.modules["asyncio"]._get_running_loop() if "asyncio" in sys.modules else None
        self.io_encoding = os.environ.get("PYTHONIOENCODING", "")
        self.coerced = _coerced_locale()


def _coerced_locale():
    """What the interpreter itself has put into the environment, where it found the C locale (PEP 538)."""
    value = os.environ.get("LC_CTYPE")
    with open("/proc/self/environ", "rb") as file:
        is_given = any(entry.startswith(b"LC_CTYPE=") for entry in file.read().split(b"\0"))
    return None if is_given else value


def renew(before):
    _take_environment()
    is_c = os.environ.get("LC_ALL") or os.environ.get("LC_CTYPE") or os.environ.get("LANG") or "C"
    if before.coerced and is_c in ("C", "POSIX"):
        os.environ["LC_CTYPE"] = before.coerced
    time.tzset()
    for name in ("stdin", "stdout", "stderr"):
        _renew_stream(name, before)
    _renew_identity(before.running_loop)
    reseed()


def reseed():
    """Gives all random generators a new state. ready() calls it; a child process may call it after fork."""
    random.seed()
    modules = sys.modules
    if "numpy.random" in modules:
        modules["numpy.random"].seed()
    if "ssl" in modules:
        modules["ssl"].RAND_add(os.urandom(48), 48.0)
    if "_sqlite3" in modules:
        try:
            ctypes.CDLL(getattr(modules["_sqlite3"], "__file__", None)).sqlite3_randomness(0, None)
        except (AttributeError, OSError):
            pass  # SQLite is part of the module and exports nothing: random() goes on as it was
    if "tempfile" in modules:
        modules["tempfile"]._name_sequence = None
    if "uuid" in modules:
        modules["uuid"]._last_timestamp = None
    if "multiprocessing.process" in modules:
        process = modules["multiprocessing.process"]
        process.current_process().authkey = os.urandom(32)


def take_arguments(arguments):
    """Sets sys.argv of a script that is started as `snaprun NAME a b`."""
    # How many of Python's own arguments come before sys.argv: `python3 -X dev script.py a` has three.
    original = getattr(sys, "orig_argv", sys.argv)  # Python 3.10
    before = max(len(original) - len(sys.argv), 0)
    # The instance's arguments are the script's own: `snaprun NAME a b` becomes sys.argv == [script, 'a', 'b'].
    if original is not sys.argv:
        original[:] = original[: before + 1] + arguments[1:]
    sys.argv[:] = sys.argv[:1] + arguments[1:]


def _take_environment():
    instance = {}
    for entry in _protocol.environment():
        key, sign, value = entry.partition("=")
        if sign:  # as at an ordinary start: of entries with one name the first, and none without a value
            instance.setdefault(key, value)
    # An ordinary start takes `=value` as well, but putenv and unsetenv refuse the empty name.
    unnamed = instance.pop("", None)
    os.environ._data.pop(b"", None)
    for key in list(os.environ):
        if key not in instance:
            del os.environ[key]
    for key, value in instance.items():
        if os.environ.get(key) != value:
            os.environ[key] = value
    if unnamed is not None:
        os.environ._data[b""] = os.fsencode(unnamed)


def _renew_stream(name, before):
    """Standard streams record whether they can seek, their position, and whether they are a terminal. The objects stay
    the same, since modules keep them; this initialises them again as at Python's start."""
    stream = getattr(sys, "__%s__" % name)
    try:
        buffer = stream.buffer
        raw = getattr(buffer, "raw", buffer)  # the same one under PYTHONUNBUFFERED
        fd = raw.fileno()
    except (AttributeError, ValueError):
        return  # the program has closed or replaced it
    try:
        terminal = os.isatty(fd)
        os.fstat(fd)
    except OSError:
        # An ordinary start has no stream where the descriptor is closed.
        setattr(sys, "__%s__" % name, None)
        if getattr(sys, name) is stream:
            setattr(sys, name, None)
        return
    encoding, errors = _wanted_encoding(stream, name, before)
    mode = stream.mode
    # The lowest layer never forgets whether it can seek, so it is another object.
    new = io.FileIO(fd, raw.mode, closefd=False)
    new.name = "<%s>" % name
    if buffer is raw:
        buffer = new
    else:
        buffer.__init__(new, new._blksize if new._blksize > 1 else io.DEFAULT_BUFFER_SIZE)
    # With PYTHONUNBUFFERED every write goes through, also that of standard input.
    line_buffering = not stream.write_through and (name == "stderr" or terminal)
    stream.__init__(buffer, encoding, errors, "\n", line_buffering, stream.write_through)
    stream.mode = mode


def _wanted_encoding(stream, name, before):
    """Encoding and error handler: those that the stream has, unless the instance's PYTHONIOENCODING is another one."""
    wanted = os.environ.get("PYTHONIOENCODING", "")
    if sys.flags.ignore_environment or wanted == before.io_encoding:
        return stream.encoding, stream.errors
    encoding, _, errors = wanted.partition(":")
    if not encoding:
        encoding = "utf-8" if sys.flags.utf8_mode else locale.getpreferredencoding(False)
    encoding = codecs.lookup(encoding).name
    if name == "stderr":
        return encoding, "backslashreplace"  # always
    return encoding, errors or "strict"


def _renew_identity(running_loop):
    if "threading" in sys.modules:
        thread = sys.modules["threading"].current_thread()
        if hasattr(thread, "_set_native_id"):  # Python 3.8
            thread._set_native_id()
    if "multiprocessing.process" in sys.modules:
        # The directory of relative paths in a child's arguments.
        try:
            sys.modules["multiprocessing.process"].ORIGINAL_DIR = os.path.abspath(os.getcwd())
        except OSError:
            sys.modules["multiprocessing.process"].ORIGINAL_DIR = None
    if "logging" in sys.modules:
        # The base of `relativeCreated`; since Python 3.13 in nanoseconds.
        logging = sys.modules["logging"]
        logging._startTime = time.time_ns() if isinstance(logging._startTime, int) else time.time()
    if "asyncio" in sys.modules:
        # asyncio assumes that a running loop is another process's when the PID has changed: name it again.
        sys.modules["asyncio"]._set_running_loop(running_loop)
