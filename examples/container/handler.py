"""A function: reads a JSON request from standard input, writes a JSON response."""

import json
import os
import re
import sys

import snapfn

PATTERN = re.compile(r"word(\d+)")
TABLE = {f"word{i}": i * i for i in range(200_000)}


def answer(request):
    # Imported at the first request, not before the snapshot point: its files come from the image.
    import sqlite3

    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE found(word TEXT, square INTEGER)")
    words = [word for word in request["words"] if PATTERN.fullmatch(word)]
    database.executemany("INSERT INTO found VALUES (?, ?)", ((word, TABLE.get(word)) for word in words))
    return dict(database.execute("SELECT word, square FROM found ORDER BY word"))


if __name__ == "__main__":
    snapfn.ready()
    response = {"found": answer(json.load(sys.stdin)), "arguments": sys.argv[1:], "user": os.getuid()}
    print(json.dumps(response))
