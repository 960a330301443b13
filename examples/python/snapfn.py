"""The snapshot point for Python, by the raw protocol: no extension module is needed.

    import snapfn
    ...                      # imports, tables, configuration
    snapfn.ready()           # True in an instance; sys.argv, os.environ and random are its own from here on
"""

import ctypes
import gc
import os
import random
import sys

_PRCTL = 0x534E4150
_READY, _INFO = 0, 1


class _Info(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_uint32),
        ("restored", ctypes.c_uint32),
        ("argc", ctypes.c_int64),
        ("argv", ctypes.POINTER(ctypes.c_char_p)),
        ("envp", ctypes.POINTER(ctypes.c_char_p)),
        ("generation", ctypes.c_uint64),
        ("reserved", ctypes.c_uint64),
    ]


_info = _Info(size=ctypes.sizeof(_Info))  # stays where it is: the loader writes to its address
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


def ready():
    """Marks the snapshot point. True in a restored instance."""
    gc.collect()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    running = sys.modules["asyncio"]._get_running_loop() if "asyncio" in sys.modules else None
    # How many of Python's own arguments come before sys.argv: `python3 -X dev script.py a` has three.
    before = max(len(sys.orig_argv) - len(sys.argv), 0)
    _libc.prctl(_PRCTL, _INFO, ctypes.addressof(_info), 0, 0)
    if _libc.prctl(_PRCTL, _READY, 0, 0, 0) != 1:
        return False
    arguments = _strings(_info.argv, _info.argc)
    # The instance's arguments are the script's own: `snaprun NAME a b` becomes sys.argv == [script, 'a', 'b'].
    sys.orig_argv[:] = sys.orig_argv[: before + 1] + arguments[1:]
    sys.argv[:] = sys.argv[:1] + arguments[1:]
    instance = dict(entry.partition("=")[::2] for entry in _strings(_info.envp))
    for key in list(os.environ):
        if key not in instance:
            del os.environ[key]
    for key, value in instance.items():
        if os.environ.get(key) != value:
            os.environ[key] = value
    random.seed()
    if "asyncio" in sys.modules:
        # asyncio takes a running loop for another process's when the PID has changed: name it again.
        import asyncio

        asyncio._set_running_loop(running)
    return True
