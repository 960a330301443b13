"""What the Python programs do when everything is imported: run standard input, or fork for each byte of it."""
import os
import sys

REQUEST = "print(sum(range(10)))"


def serve_or_run(namespace):
    if sys.argv[1:] != ["serve"]:
        exec(sys.stdin.read(), namespace)
        return
    while os.read(0, 1):
        child = os.fork()
        if child == 0:
            exec(REQUEST, namespace)
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(child, 0)
