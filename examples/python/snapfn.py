"""The snapshot point for Python, by the raw protocol: no extension module is needed.

    import snapfn
    ...                      # imports, tables, configuration
    snapfn.ready()           # True in an instance; sys.argv and os.environ are its own from here on, and so is
                             # what random, numpy.random, ssl, sqlite3, tempfile, uuid and multiprocessing draw

    snapfn.on_restore(fn)    # before: also call fn() in every instance (reconnect, make a Generator again)
    snapfn.secret(buffer)    # before: keep a bytearray out of the snapshot; it is zeros in every instance

Started in the ordinary way, ready() is False and nothing else happens. What it cannot make new: the hashes of str and
bytes, numpy Generators and Random objects of your own, and every value that was computed before.
"""

import ctypes
import gc
import os
import random
import sys

_PRCTL = 0x534E4150
_READY, _INFO, _SECRET = 0, 1, 2
_HOOKS_OWN, _HOOKS_LANGUAGE = 1, 2


class _Info(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_uint32),
        ("restored", ctypes.c_uint32),
        ("argc", ctypes.c_int64),
        ("argv", ctypes.POINTER(ctypes.c_char_p)),
        ("envp", ctypes.POINTER(ctypes.c_char_p)),
        ("generation", ctypes.c_uint64),
        ("hooks", ctypes.c_uint64),
        ("first", ctypes.c_void_p),  # a _Hook
    ]


class _Hook(ctypes.Structure):
    """What an extension module has registered by snap_on_restore() of snap.h."""

    _fields_ = [
        ("next", ctypes.c_void_p),
        ("function", ctypes.PYFUNCTYPE(None, ctypes.c_void_p)),  # may use Python's API
        ("argument", ctypes.c_void_p),
        ("info", ctypes.c_void_p),
    ]


_info = _Info(size=ctypes.sizeof(_Info))  # stays where it is: the loader writes to its address
_hooks = []
_secrets = []
_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4


def generation():
    """A number that no other instance has; 0 in an ordinary run."""
    return _info.generation


def _strings(vector, count=None):
    strings = []
    while vector and (count is None or len(strings) < count) and vector[len(strings)] is not None:
        strings.append(os.fsdecode(vector[len(strings)]))
    return strings


def on_restore(function, *args):
    """Has `function(*args)` called in every instance, in the order of registration, before ready() returns, and after
    what extension modules have registered in C."""
    _hooks.append((function, args))
    return function


def secret(buffer):
    """Keeps the content of a bytearray (or another writable buffer) out of the snapshot, wherever the program has
    copies of it. False in an ordinary run, and for an empty buffer."""
    content = (ctypes.c_char * len(buffer)).from_buffer(buffer)
    _secrets.append(content)  # while this exists, a bytearray cannot move
    return _libc.prctl(_PRCTL, _SECRET, ctypes.addressof(content), len(buffer), 0) >= 0


def reseed():
    """Gives everything that draws random numbers a new state. ready() calls it; so may a child process after fork."""
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
        modules["multiprocessing.process"].current_process().authkey = os.urandom(32)


def _take_arguments():
    # How many of Python's own arguments come before sys.argv: `python3 -X dev script.py a` has three.
    original = getattr(sys, "orig_argv", sys.argv)  # Python 3.10
    before = max(len(original) - len(sys.argv), 0)
    arguments = _strings(_info.argv, _info.argc)
    # The instance's arguments are the script's own: `snaprun NAME a b` becomes sys.argv == [script, 'a', 'b'].
    if original is not sys.argv:
        original[:] = original[: before + 1] + arguments[1:]
    sys.argv[:] = sys.argv[:1] + arguments[1:]


def _take_environment():
    instance = {}
    for entry in _strings(_info.envp):
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


def _call_modules():
    at = _info.first
    while at:
        hook = _Hook.from_address(at)
        hook.function(hook.argument)
        at = hook.next


def ready():
    """Marks the snapshot point. True in a restored instance."""
    gc.collect()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    running = sys.modules["asyncio"]._get_running_loop() if "asyncio" in sys.modules else None
    _info.hooks = _HOOKS_LANGUAGE | (_HOOKS_OWN if _hooks else 0)
    _libc.prctl(_PRCTL, _INFO, ctypes.addressof(_info), 0, 0)
    if _libc.prctl(_PRCTL, _READY, 0, 0, 0) != 1:
        return False
    _take_arguments()
    _take_environment()
    reseed()
    if "asyncio" in sys.modules:
        # asyncio takes a running loop for another process's when the PID has changed: name it again.
        sys.modules["asyncio"]._set_running_loop(running)
    _call_modules()
    for function, args in _hooks:
        function(*args)
    return True
