#!/usr/bin/env python3
"""Chooses the inputs of a fuzz target that are kept in the repository: fuzz-corpus.py CONTROL-FILE DIRECTORY

CONTROL-FILE is what libFuzzer's -merge=1 writes with -merge_control_file: its inputs, and the places that each reaches.
The program selects one input after the other: the one that reaches most new places for each byte of its size. It stops
when no input reaches a new place, or when there are enough.
"""

import os
import shutil
import sys

MOST_FILES = 30
MOST_BYTES = 64 << 10


def read(path):
    with open(path) as file:
        lines = file.read().splitlines()
    count = int(lines[0])
    names = lines[2 : 2 + count]
    reached = {}
    for line in lines[2 + count :]:
        words = line.split()
        if words[0] == "FT":
            reached[names[int(words[1])]] = set(words[2:])
    return reached


def choose(reached):
    sizes = {name: os.path.getsize(name) for name in reached}
    left, seen, total = dict(reached), set(), 0
    while left and total < MOST_BYTES:
        # A byte more or less does not justify another file.
        best = max(left, key=lambda name: (len(left[name] - seen) / (sizes[name] + 4096), name))
        if not left[best] - seen:
            return
        seen |= left.pop(best)
        if total + sizes[best] <= MOST_BYTES:
            total += sizes[best]
            yield best


def main():
    control, directory = sys.argv[1:]
    chosen = [name for name, _ in zip(choose(read(control)), range(MOST_FILES))]
    contents = {}
    for name in chosen:
        with open(name, "rb") as file:
            contents[os.path.basename(name)[:16]] = file.read()
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    for name, content in contents.items():
        with open(os.path.join(directory, name), "wb") as file:
            file.write(content)
    print(f"{directory}: {len(contents)} inputs, {sum(map(len, contents.values()))} bytes")


main()
