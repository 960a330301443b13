"""The snapshot point for Python, by the raw protocol: no extension module is needed.

    import snapfn
    ...                      # imports, tables, configuration
    snapfn.ready()           # True in an instance; sys.argv, os.environ and the standard streams are its own from here
                             # on, and so is what random, numpy.random, ssl, sqlite3, tempfile, uuid and multiprocessing
                             # draw
    snapfn.run(main)         # instead: the point, then main(), then a fast end with its result as the status

    snapfn.on_restore(fn)    # before: also call fn() in every instance (reconnect, make a Generator again)
    snapfn.secret(buffer)    # before: keep a bytearray out of the snapshot; it is zeros in every instance

In an ordinary run ready() returns False and does nothing else. It cannot renew the hashes of str and bytes, numpy
Generators and Random objects of your own, and values computed before the point.
"""

import atexit
import sys

from . import _finish, _protocol, _renew
from ._protocol import generation, secret
from ._renew import reseed

__all__ = [
    "exit",
    "generation",
    "on_restore",
    "ready",
    "register_after_restore",
    "register_before_snapshot",
    "reseed",
    "run",
    "secret",
]

_before_snapshot = []
_after_restore = []


def register_before_snapshot(function, *args, **kwargs):
    """Registers a call of `function(*args, **kwargs)` for the time before the point, when a snapshot is made; the last
    registered one runs first."""
    _before_snapshot.append((function, args, kwargs))
    return function


def register_after_restore(function, *args, **kwargs):
    """Registers a call of `function(*args, **kwargs)` for every instance. The calls run in the order of registration,
    before ready() returns, and after the hooks that extension modules have registered in C."""
    _after_restore.append((function, args, kwargs))
    return function


on_restore = register_after_restore


def _is_listened_to():
    return _protocol.is_listened_to(_protocol.HOOKS_LANGUAGE | (_protocol.HOOKS_OWN if _after_restore else 0))


def _take_snapshot(take_arguments):
    """The point itself. True in an instance, after _renew has renewed its state and the hooks have run."""
    while _before_snapshot:
        function, args, kwargs = _before_snapshot.pop()
        function(*args, **kwargs)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    before = _renew.Before()
    _finish.hide()
    if not _protocol.take_snapshot():
        _finish.show()
        return False
    atexit.register(_finish.show)
    take_arguments(_protocol.arguments())
    _renew.renew(before)
    _protocol.call_hooks_of_modules()
    for function, args, kwargs in _after_restore:
        function(*args, **kwargs)
    return True


def ready():
    """Marks the snapshot point. True in a restored instance."""
    return _take_snapshot(_renew.take_arguments) if _is_listened_to() else _protocol.is_restored()


def exit(code=None):
    """Ends the program like sys.exit(code), but without destroying all objects: it waits for threads, calls the
    functions of atexit, flushes and closes files, destroys objects made after the point, and ends. Destructors of
    objects from before the point do not run, except those of files. In an ordinary run it is sys.exit(code)."""
    if _protocol.is_restored():
        _finish.finish(code)
    sys.exit(code)


def run(main, *args, **kwargs):
    """Marks the point, calls `main(*args, **kwargs)`, and ends the program with its result, like `sys.exit(main())`."""
    ready()
    try:
        code = main(*args, **kwargs)
    except SystemExit as error:
        code = error.code
    except KeyboardInterrupt:
        raise  # the ordinary end is by the signal
    except BaseException as error:
        # Without the line of this function.
        sys.excepthook(type(error), error, error.__traceback__ and error.__traceback__.tb_next)
        code = 1
    exit(code)
