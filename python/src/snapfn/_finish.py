"""The end of a process, without taking all modules apart.

An ordinary end waits for threads, calls what atexit knows, flushes, and then destroys every object, which for a program
with large libraries takes longer than its work. Of that destruction others see only what destructors do: files that are
closed, with what they still hold. exit() does the former in the ordinary order, then destroys what the program has made
after the snapshot point, closes every file that is left, and ends.
"""

import _io
import _signal
import atexit
import gc
import os
import sys
import types
import weakref

# What was there at the point: files, as weak references, and the names of modules.
_early_files = []
_early_modules = set()


def hide():
    """Hides what is there from the collector, which would otherwise visit, and so write to, all that is in the snapshot."""
    gc.collect()
    _early_files[:] = [weakref.ref(file) for file in _files(gc.get_objects())]
    _early_modules.update(sys.modules)
    gc.freeze()


def show():
    """The opposite. An ordinary end destroys only what the collector sees."""
    gc.unfreeze()


def finish(code, by=None):
    """Ends the process with the status of `sys.exit(code)`, or by a signal. Returns if only the ordinary end is right."""
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    if "threading" in sys.modules:
        sys.modules["threading"]._shutdown()
    atexit.unregister(show)
    atexit._run_exitfuncs()
    if _flush():
        _destroy_modules()
        gc.collect()
        early = [file for file in (reference() for reference in _early_files) if file is not None]
        _close(_files(gc.get_objects()) + early)
        if _flush():
            if by is not None:
                _signal.signal(by, _signal.SIG_DFL)
                os.kill(os.getpid(), by)
            os._exit((code or 0) & 0xFF)
    show()  # the ordinary end reports what cannot be written


def _flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not getattr(stream, "closed", False):
                stream.flush()
        except Exception:
            return False
    return True


def _destroy_modules():
    """Empties the program's own module, in the order in which its names were made, and drops those that were imported
    after the point, which the collector then destroys."""
    later = [name for name in sys.modules if name not in _early_modules]
    main = sys.modules.get("__main__")
    if isinstance(main, types.ModuleType):
        for name in main.__dict__:
            if name != "__builtins__":
                main.__dict__[name] = None
    for name in later:
        sys.modules.pop(name, None)


def _files(objects):
    """The type is looked at, since proxies lie about their class."""
    return [thing for thing in objects if _io._IOBase in type(thing).__mro__]


def _close(files):
    """Text before what it is written to, and what is written in Python before what is in C."""
    standard = set()
    for stream in (sys.__stdin__, sys.__stdout__, sys.__stderr__):
        while stream is not None:
            standard.add(id(stream))
            stream = getattr(stream, "buffer", None) or getattr(stream, "raw", None)

    def layer(file):
        kind = type(file)
        if issubclass(kind, _io.TextIOWrapper):
            return 0
        return 1 if kind.__module__ not in ("_io", "io") else 2

    for file in sorted((file for file in files if id(file) not in standard), key=layer):
        try:
            file.close()
        except Exception:
            pass  # an ordinary end ignores it, too
