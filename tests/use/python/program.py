"""What a program can see of its start, and how it can end."""

import asyncio
import atexit
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback


def square(x):
    return x * x


async def both():
    process = await asyncio.create_subprocess_exec("echo", "hi", stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return output, await asyncio.gather(asyncio.sleep(0, 1), asyncio.to_thread(square, 3))


def main():
    what = sys.argv[1] if len(sys.argv) > 1 else "args"
    if what == "args":
        main = sys.modules["__main__"]
        print(sys.argv, sys.path, sys.flags, sys.executable, sys.prefix, os.getcwd())
        print(getattr(sys, "orig_argv", [])[1:])
        print(main.__file__, main.__spec__ and main.__spec__.name, main.__loader__.path, main.__doc__)
        print(__name__, list(main.__dict__))
        print(sorted(item for item in os.environ.items() if item[0] not in ("P", "_")))
        for stream in (sys.stdin, sys.stdout):
            print(stream and (stream.encoding, stream.errors, stream.line_buffering))
        print(sys.excepthook is sys.__excepthook__, len(threading.enumerate()))
    elif what == "stdin":
        print(sys.stdin.read().upper())
    elif what == "input":
        print(repr(input("name? ")))
    elif what == "raise":
        def inner():
            try:
                {}["x"]
            except KeyError as error:
                raise ValueError("second") from error
        print("before")
        inner()
    elif what == "exit":
        sys.exit({"none": None, "text": "a text", "300": 300, "3": 3}[sys.argv[2]])
    elif what == "interrupt":
        print("before", flush=True)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    elif what == "term":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    elif what == "closed":
        for i in range(100000):
            print(i)
    elif what == "full":
        print("x")
    elif what == "tz":
        print(time.strftime("%z %H", time.localtime(0)))
    elif what == "processes":
        for method in ("fork", "spawn", "forkserver"):
            with multiprocessing.get_context(method).Pool(2) as pool:
                print(method, pool.map(square, range(5)))
        print(subprocess.run([sys.executable, "-c", "import sys; print(sys.argv, 1)"], capture_output=True, text=True))
        print(asyncio.run(both()))
    elif what == "threads":
        def later():
            time.sleep(0.05)
            print("thread ends")
        threading.Thread(target=later).start()
        atexit.register(print, "atexit")
        print("main ends")
    elif what == "hook":
        def hook(kind, value, trace):
            print("hook", kind, len(traceback.extract_tb(trace)))
            if len(sys.argv) > 2:
                raise RuntimeError("in hook")
        sys.excepthook = hook
        raise ValueError("x")
    elif what == "where":
        print(os.path.basename(os.readlink("/proc/self/exe")))
    elif what == "pickle":
        print(pickle.dumps(square, 0))


if __name__ == "__main__":
    main()
