"""Runs a program as the interpreter itself does: `python3 script.py …` or `python3 -m module …`."""

import os
import sys

# What `__main__` holds when a script starts.
ordinary = {}


def _take_place(arguments, options):
    """Makes sys.argv and sys.orig_argv those of the program, and `__main__` a module that has not run yet."""
    sys.argv[:] = arguments
    if hasattr(sys, "orig_argv"):  # Python 3.10
        sys.orig_argv[:] = sys.orig_argv[:1] + options + arguments
    main = sys.modules["__main__"].__dict__
    main.clear()
    main.update(ordinary, __doc__=None)
    if "__annotations__" in main:
        main["__annotations__"] = {}
    return main


def _script(main, path):
    """The code of a script, once `__main__` and sys.path are as it finds them."""
    import _frozen_importlib_external as external

    with open(path, "rb") as file:
        source = file.read()
    if not getattr(sys.flags, "safe_path", False) and not sys.flags.isolated:
        sys.path.insert(0, os.path.dirname(os.path.realpath(path)))
    # Python 3.9 made it absolute, without taking away `.` and `..`.
    name = path if path.startswith("/") or sys.version_info < (3, 9) else "%s/%s" % (os.getcwd(), path)
    main["__file__"] = name
    main["__loader__"] = external.SourceFileLoader("__main__", name)
    return compile(source, name, "exec", 0, True)


def _module(main, arguments):
    import runpy

    main.pop("__file__", None)
    main.pop("__cached__", None)
    del sys.argv[1]
    if not getattr(sys.flags, "safe_path", False) and not sys.flags.isolated:
        sys.path.insert(0, os.getcwd())
    runpy._run_module_as_main(arguments[1], True)


def run(arguments, options=(), finish=None):
    """Runs the program and ends the process as the interpreter would. `finish(code, signal)` ends it faster; where it
    returns, the ordinary end is the right one."""
    main = _take_place(arguments, list(options))
    code = signal = failure = None
    try:
        if arguments[0] == "-m":
            _module(main, arguments)
        else:
            exec(_script(main, arguments[0]), main)
    except BaseException as error:
        failure = error
    if arguments[0] != "-m":
        _flush()
    if isinstance(failure, SystemExit):
        code = failure.code
    elif failure is not None:
        signal = 2 if isinstance(failure, KeyboardInterrupt) else None
        # Not while the exception is handled: it would be the context of those in sys.excepthook.
        code = _report(failure)
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    if finish is not None:
        finish(code, signal)
    if signal is not None:
        # The interpreter ends itself by the signal if this leaves the script; it has been reported.
        sys.excepthook = lambda *_: None
        raise KeyboardInterrupt
    sys.exit(code)


def _flush():
    """As the interpreter does when a script has ended, before it reports an exception."""
    for stream in (sys.stderr, sys.stdout):
        try:
            stream.flush()
        except Exception:
            pass


def _outside(trace):
    """A traceback without what is in this file."""
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return trace


def _report(error):
    """Prints an uncaught exception, as the interpreter does; returns the status."""
    error.__traceback__ = trace = _outside(error.__traceback__)
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace
    if sys.version_info >= (3, 12):
        sys.last_exc = error
    second = None
    try:
        sys.excepthook(type(error), error, trace)
    except BaseException as failure:
        second = failure
    if isinstance(second, SystemExit):
        return second.code
    if second is not None:
        print("Error in sys.excepthook:", file=sys.stderr)
        second.__traceback__ = _outside(second.__traceback__)
        sys.__excepthook__(type(second), second, second.__traceback__)
        print("\nOriginal exception was:", file=sys.stderr)
        sys.__excepthook__(type(error), error, trace)
    return 1
