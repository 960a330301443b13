"""The protocol of the snapshot point: `prctl` calls that only the snapshotter handles (FORMAT.md)."""

import ctypes
import os

_PRCTL = 0x534E4150
_READY, _INFO, _SECRET = 0, 1, 2
HOOKS_OWN, HOOKS_LANGUAGE = 1, 2


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
    """A hook that an extension module has registered by snap_on_restore() of snap.h."""

    _fields_ = [
        ("next", ctypes.c_void_p),
        ("function", ctypes.PYFUNCTYPE(None, ctypes.c_void_p)),  # may use Python's API
        ("argument", ctypes.c_void_p),
        ("info", ctypes.c_void_p),
    ]


_info = _Info(size=ctypes.sizeof(_Info))  # stays where it is: the loader writes to its address
_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
_secrets = []


def is_listened_to(hooks):
    """Registers the structure that an instance finds filled. False in an ordinary run."""
    _info.hooks = hooks
    return _libc.prctl(_PRCTL, _INFO, ctypes.addressof(_info), 0, 0) >= 0


def take_snapshot():
    """True in an instance, False in the program that the snapshot is made of."""
    return _libc.prctl(_PRCTL, _READY, 0, 0, 0) == 1


def is_restored():
    return _info.restored != 0


def generation():
    """A number that no other instance has; 0 in an ordinary run."""
    return _info.generation


def secret(buffer):
    """Keeps the content of a bytearray (or another writable buffer) out of the snapshot, wherever the program has
    copies of it. False in an ordinary run, and for an empty buffer."""
    content = (ctypes.c_char * len(buffer)).from_buffer(buffer)
    _secrets.append(content)  # while this exists, a bytearray cannot move
    return _libc.prctl(_PRCTL, _SECRET, ctypes.addressof(content), len(buffer), 0) >= 0


def _strings(vector, count=None):
    strings = []
    while vector and (count is None or len(strings) < count) and vector[len(strings)] is not None:
        strings.append(os.fsdecode(vector[len(strings)]))
    return strings


def arguments():
    return _strings(_info.argv, _info.argc)


def environment():
    """The entries of the instance's environment, as they are: also without a value, and with one name twice."""
    return _strings(_info.envp)


def call_hooks_of_modules():
    """Calls the hooks that extension modules have registered by snap_on_restore() of snap.h."""
    at = _info.first
    while at:
        hook = _Hook.from_address(at)
        hook.function(hook.argument)
        at = hook.next
