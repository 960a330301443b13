#!/usr/bin/env python3
"""Checks the dependencies against deny.toml: licences, banned crates, sources, versions in parallel, checksums.

Needs nothing but cargo and Cargo.lock, so it runs where no advisory database can be had; where cargo-deny is installed,
it is run as well. The loader (what runs before a program) has a closed list of its own.
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Crates that may become part of snaprun and snapboot; proc macros and their own dependencies leave nothing in it.
LOADER = {"snapfn-loader", "snapfn-format", "thiserror", "zerocopy"}
# So many crates may be there in more than one version.
MOST_DUPLICATES = 25


def alternatives(expression):
    """An SPDX expression as a list of sets: one of the sets, all of its members. Old ones have / for OR."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def parse_or(at):
        left, at = parse_and(at)
        while at < len(tokens) and tokens[at] == "OR":
            right, at = parse_and(at + 1)
            left = left + right
        return left, at

    def parse_and(at):
        left, at = parse_one(at)
        while at < len(tokens) and tokens[at] == "AND":
            right, at = parse_one(at + 1)
            left = [a | b for a in left for b in right]
        return left, at

    def parse_one(at):
        if tokens[at] == "(":
            inner, at = parse_or(at + 1)
            return inner, at + 1
        name = tokens[at]
        at += 1
        if at < len(tokens) and tokens[at] == "WITH":
            name, at = f"{name} WITH {tokens[at + 1]}", at + 2
        return [{name}], at

    return parse_or(0)[0]


def metadata(manifest):
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--filter-platform=x86_64-unknown-linux-gnu"]
    done = subprocess.run([*command, "--manifest-path", manifest], capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        sys.exit(f"dependencies.py: cargo metadata: {done.stderr.strip()}")
    return json.loads(done.stdout)


def normal_dependencies(data, name):
    """Everything that is linked into the crate, proc macros and build scripts left out."""
    nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
    packages = {package["id"]: package for package in data["packages"]}
    todo = [package["id"] for package in data["packages"] if package["name"] == name]
    found = set()
    while todo:
        one = todo.pop()
        kinds = {kind for target in packages[one]["targets"] for kind in target["kind"]}
        if one in found or "proc-macro" in kinds:
            continue
        found.add(one)
        for dependency in nodes[one]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                todo.append(dependency["pkg"])
    return {packages[one]["name"] for one in found}


def check(data, policy, problems):
    allowed = set(policy["licenses"]["allow"])
    banned = {entry["name"] for entry in policy["bans"]["deny"]}
    versions = {}
    for package in data["packages"]:
        name = f"{package['name']} {package['version']}"
        source = package["source"]
        if source is None:
            continue
        versions.setdefault(package["name"], []).append(package["version"])
        if not source.startswith("registry+"):
            problems.append(f"{name}: comes from {source}, not from the registry")
        if package["name"] in banned:
            problems.append(f"{name}: is banned by deny.toml")
        licence = package["license"]
        if licence is None:
            problems.append(f"{name}: names no licence")
        elif not any(choice <= allowed for choice in alternatives(licence)):
            problems.append(f"{name}: licence {licence} is not allowed by deny.toml")
    return {name: found for name, found in versions.items() if len(found) > 1}


def main():
    policy = tomllib.loads((ROOT / "deny.toml").read_text())
    problems = []
    data = metadata("Cargo.toml")
    duplicates = check(data, policy, problems)
    if len(duplicates) > MOST_DUPLICATES:
        problems.append(f"{len(duplicates)} crates in more than one version: {', '.join(sorted(duplicates))}")
    more = normal_dependencies(data, "snapfn-loader") - LOADER
    if more:
        problems.append(f"the loader must have no further dependencies: {', '.join(sorted(more))}")
    for lock in ["Cargo.lock", "fuzz/Cargo.lock"]:
        for package in tomllib.loads((ROOT / lock).read_text())["package"]:
            if "source" in package and "checksum" not in package:
                problems.append(f"{lock}: {package['name']} {package['version']} has no checksum")
    for problem in problems:
        print(f"dependencies.py: {problem}", file=sys.stderr)
    if problems:
        return 1
    print(f"{len(data['packages'])} packages, {len(duplicates)} in more than one version: as deny.toml wants them")
    if shutil.which("cargo-deny"):
        return subprocess.run(["cargo", "deny", "--offline", "check", "licenses", "bans", "sources"], cwd=ROOT).returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
