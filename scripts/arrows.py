#!/usr/bin/env python3
"""Checks that the arrows between folders, and between the modules in them, run one way; prints them with --show.

    format → store, split, host → snapfn, registry, image, scan → distribution → programs → tests

A package may use packages of earlier groups only (its tests may also use the test kit), and a module only modules of
earlier layers. It needs nothing but cargo, and reads imports as text.
"""

import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# From the packages that all others use to those that none uses. Every package of the workspace is in one group.
GROUPS = [
    ["snapfn-format", "snapfn-guest"],
    ["snapfn-store", "snapfn-split", "snapfn-host"],
    ["snapfn", "snapfn-registry", "snapfn-image", "snapfn-scan"],
    ["snapfn-distribution", "snapfn-capi"],
    ["snapfn-loader", "snapshotter", "snapcc", "snaprepo", "snapfn-launcher", "snapfn-serve"],
    ["snapfn-testkit", "snapfn-kernel-tests", "snapfn-tests", "snapfn-bench"],
]
# Packages that the tests of any package may also use.
TEST_HELPERS = {"snapfn-testkit", "snapfn-tests"}
# Modules of a folder in layers, the lowest first; those of one layer do not use each other. Every module is in one
# layer.
LAYERS = {
    "loader/src": [["runtime"], ["boot", "restore"], ["start"]],
    "snapshotter/src": [
        ["arch"],
        ["pin", "print", "proc", "vdso"],
        ["options"],
        ["tracee"],
        ["prng"],
        ["dump"],
        ["commands"],
        ["cli"],
        ["main"],
    ],
    "snapshotter/src/commands": [["pair"], ["examine"], ["make"], ["check", "generate", "install"]],
    "crates/snapfn/src": [
        ["error", "sys"],
        ["request", "stdio", "snapshot", "socket"],
        ["spawn"],
        ["pool"],
        ["child"],
        ["command"],
        ["serve"],
    ],
}


def packages(problems):
    command = ["cargo", "metadata", "--format-version=1", "--no-deps", "--locked"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        sys.exit(f"arrows.py: cargo metadata: {done.stderr.strip()}")
    rank = {name: index for index, group in enumerate(GROUPS) for name in group}
    arrows = []
    for package in json.loads(done.stdout)["packages"]:
        name = package["name"]
        if name not in rank:
            problems.append(f"{name}: is in no group of scripts/arrows.py")
            continue
        folder = pathlib.Path(package["manifest_path"]).parent.relative_to(ROOT)
        used = {True: set(), False: set()}
        for dependency in package["dependencies"]:
            if dependency.get("path") and dependency["name"] != name:
                used[dependency["kind"] == "dev"].add(dependency["name"])
        arrows.append((rank[name], str(folder), name, sorted(used[False])))
        for test, names in used.items():
            for other in names:
                if rank.get(other, len(GROUPS)) >= rank[name] and not (test and other in TEST_HELPERS):
                    problems.append(f"{name} uses {other}, which is not below it")
    return sorted(arrows)


def code(path):
    """A source file without comments."""
    return re.sub(r"//[^\n]*", "", path.read_text())


def imported(text, prefix):
    """Names of the modules behind `prefix::`, also in braces."""
    for match in re.finditer(rf"(?<![\w:]){re.escape(prefix)}::(\w+|\{{)", text):
        if match[1] != "{":
            yield match[1]
            continue
        depth, at, start = 1, match.end(), match.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        inner = text[start : at - 1]
        while "{" in inner:
            inner = re.sub(r"\{[^{}]*\}", "", inner)
        yield from (re.match(r"\w*", part.strip())[0] for part in inner.split(","))


def modules(folder, layers, problems):
    source = ROOT / folder
    rank = {name: index for index, layer in enumerate(layers) for name in layer}
    below = folder.partition("/src")[2].strip("/").split("/")
    prefix = "::".join(["crate", *filter(None, below)])
    arrows = {}
    for path in sorted(source.rglob("*.rs")):
        parts = path.relative_to(source).parts
        name = parts[0].removesuffix(".rs")
        if name in {"lib", "mod", "bin"}:
            continue
        if name not in rank:
            problems.append(f"{folder}/{name}: is in no layer of scripts/arrows.py")
            continue
        text = code(path)
        found = set(imported(text, prefix))
        if len(parts) == 1 and prefix != "crate":
            found |= set(imported(text, "super"))
        for other in found & rank.keys() - {name}:
            arrows.setdefault(name, set()).add(other)
            if rank[other] >= rank[name]:
                problems.append(f"{path.relative_to(ROOT)} uses {other}, which is not below {name}")
    return {name: sorted(arrows.get(name, [])) for name in sorted(rank, key=rank.get, reverse=True)}


def architecture(problems):
    """Registers by their names on one architecture, and instructions, belong to the folders `arch`."""
    for path in sorted(ROOT.glob("*/**/src/**/*.rs")):
        if "arch" in path.parts or "target" in path.parts:
            continue
        if re.search(r"\buser_regs(_struct)?\b", code(path)):
            problems.append(f"{path.relative_to(ROOT)} names registers of one architecture: use arch::reg")
        # The note that a guest has holds data and no instruction.
        if re.search(r"\basm!", code(path)) and path.relative_to(ROOT).parts[0] != "guest":
            problems.append(f"{path.relative_to(ROOT)} has instructions of one architecture: they belong to a folder arch")


def main():
    problems = []
    found = packages(problems)
    architecture(problems)
    drawn = {folder: modules(folder, layers, problems) for folder, layers in LAYERS.items()}
    if "--show" in sys.argv[1:]:
        for _, folder, name, used in reversed(found):
            print(f"{folder} ({name}) → {', '.join(used) or 'nothing'}")
        for folder, arrows in drawn.items():
            print(f"\n{folder}:")
            for name, used in arrows.items():
                print(f"  {name} → {', '.join(used) or 'nothing'}")
    for problem in problems:
        print(f"arrows.py: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
