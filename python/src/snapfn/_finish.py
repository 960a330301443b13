"""The end of a process, without taking all modules apart.

An ordinary end waits for threads, calls the functions of atexit, flushes, and then destroys every object. For a program
with large libraries the destruction takes longer than its work. Only the effects of destructors are visible outside:
they flush and close files. exit() does the first part in the ordinary order, then destroys objects that the program has
made after the snapshot point, closes every other file, and ends.
"""

import _io
import _signal
import atexit
import gc
import os
import sys
import types
import weakref

# State at the point: files, as weak references, and the names of modules.
_early_files = []
_early_modules = set()


def hide():
    """Hides all present objects from the collector, which would otherwise visit, and so write to, all of the
    snapshot."""
    gc.collect()
    _early_files[:] = [weakref.ref(file) for file in _files(gc.get_objects())]
    _early_modules.update(sys.modules)
    gc.freeze()


def show():
    """The opposite. An ordinary end destroys only what the collector sees."""
    gc.unfreeze()


def finish(code, by=None):
    """Ends the process with the status of `sys.exit(code)`, or by a signal. Returns where only an ordinary end is
    right."""
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
    """The files among `objects`, by type: proxies lie about their class."""
    return [thing for thing in objects if _io._IOBase in type(thing).__mro__]


def _close(files):
    """Closes text before the layer below it, and streams in Python before those in C."""
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
