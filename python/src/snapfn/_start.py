"""The script that `snapfn run` runs in place of a program: `_start.py MODE …`.

    record BIN ROOT KEY MAKE PRELOAD -- PROGRAM…   runs the program in the ordinary way, and notes what it imports
    probe SPEC                                     imports what SPEC names, and notes what the imports look at
    snapshot SPEC                                  imports what SPEC names; the snapshot point is behind it, and an
                                                   instance then runs the program that its own arguments name

PROGRAM is a script or `-m MODULE`, with its arguments. Until a program runs, nothing is imported that an ordinary start
would not have imported, except in the snapshot.
"""

import sys

_ORDINARY = {name: value for name, value in globals().items() if name != "sys"}


def _load(name, file):
    """A module by its file: its folder must not be in sys.path, where a program would find its neighbours."""
    import _frozen_importlib
    import _frozen_importlib_external as external

    folder = __file__.rpartition("/")[0]
    places = [folder] if file == "__init__" else None
    spec = external.spec_from_file_location(name, "%s/%s.py" % (folder, file), submodule_search_locations=places)
    module = _frozen_importlib.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _start(mode, *arguments):
    early = set(sys.modules)
    if not getattr(sys.flags, "safe_path", False) and not sys.flags.isolated:
        del sys.path[0]
    program = _load("_snapfn_main", "_main")
    program.ordinary = _ORDINARY
    if mode == "record":
        end = arguments.index("--")
        record = _load("_snapfn_record", "_record")
        del sys.modules["_snapfn_record"], sys.modules["_snapfn_main"]
        record.start(*arguments[:end])
        program.run(list(arguments[end + 1 :]))
    elif mode == "probe":
        _load("snapfn", "__init__")
        _load("_snapfn_preload", "_preload").probe(early, *arguments)
    else:
        del sys.modules["_snapfn_main"]
        _load("snapfn", "__init__")
        preload = _load("_snapfn_preload", "_preload")
        del sys.modules["_snapfn_preload"]
        preload.snapshot(program, early, *arguments)


_start(*sys.argv[1:])
