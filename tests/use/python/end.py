"""Ends in the way that the first argument names; all else that it leaves behind must be the same in both runs."""

import atexit
import gzip
import os
import signal
import sys
import threading
import time
import zipfile

import snapfn

early = open("early", "w")  # from before the point, and never closed
early.write("before ")


class Loud:
    def __init__(self, name):
        self.name = name

    def __del__(self):
        print("destroyed", self.name, flush=True)


def main():
    global text, packed, archive, loud, _private
    how = sys.argv[1]
    early.write("after")
    text = open("text", "w")
    text.write("text that nobody flushes")
    packed = gzip.open("packed.gz", "wt")
    packed.write("packed " * 1000)
    archive = zipfile.ZipFile("archive.zip", "w")
    archive.writestr("member", "content")
    loud, _private = Loud("global"), Loud("private")
    atexit.register(print, "atexit, first")
    atexit.register(print, "atexit, second")
    local = open("local", "w")
    local.write("local")
    sys.stdout.write("no end of line")
    threading.Thread(target=lambda: (time.sleep(0.05), print("thread has ended"))).start()
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    if how == "number":
        return 7
    if how == "big":
        return 259
    if how == "text":
        return "a message"
    if how == "exit":
        sys.exit(9)
    if how == "raise":
        raise ValueError("on purpose")
    if how == "interrupt":
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    if how == "nested":
        import calendar  # a module from after the point

        calendar.kept = Loud("in another module")
    return None


snapfn.run(main)
