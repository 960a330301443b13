"""A function: reads a JSON request from standard input, writes a JSON response."""

import asyncio
import json
import os
import re
import sqlite3
import sys

import snapfn

database = sqlite3.connect(":memory:")
database.execute("CREATE TABLE word(text TEXT PRIMARY KEY, length INTEGER)")
database.executemany("INSERT INTO word VALUES (?, ?)", ((f"word{i}", len(f"word{i}")) for i in range(20000)))
pattern = re.compile(r"word(\d+)")


async def answer(request):
    found = [text for text in request["words"] if pattern.fullmatch(text)]
    await asyncio.sleep(0)
    lengths = [database.execute("SELECT length FROM word WHERE text = ?", (text,)).fetchone() for text in found]
    return {"found": found, "lengths": [row and row[0] for row in lengths], "args": sys.argv[1:], "who": os.environ.get("WHO")}


if __name__ == "__main__":
    snapfn.ready()
    print(json.dumps(asyncio.run(answer(json.load(sys.stdin)))))
