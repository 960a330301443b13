#!/usr/bin/env python3
"""Checks the dependencies against deny.toml: licences, banned crates, sources, versions in parallel, checksums.

Needs nothing but cargo and Cargo.lock, so it runs where no advisory database can be had; where cargo-deny is installed,
it is run as well. The loader (what runs before a program) has a closed list of its own.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Crates that may become part of snaprun and snapboot. Proc macros and their own dependencies leave no code in them.
LOADER = {"snapfn-loader", "snapfn-format", "thiserror", "zerocopy"}
# The most crates that may be there in more than one version.
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


def numbers(version):
    """A version as something to compare; what is before a release counts as the release before it."""
    release, _, early = version.partition("+")[0].partition("-")
    return [int(part) for part in release.split(".")], not early


def matches(version, requirement):
    """Whether a version is one of `<1.2.3`, `>=1.0.0, <1.2.3`; an empty requirement is for all."""
    compare = {"<": lambda a, b: a < b, "<=": lambda a, b: a <= b, "=": lambda a, b: a == b,
               ">": lambda a, b: a > b, ">=": lambda a, b: a >= b}
    for part in filter(None, map(str.strip, requirement.split(","))):
        sign, bound = re.fullmatch(r"(<=|>=|<|>|=)\s*([0-9]+\.[0-9]+\.[0-9]+)", part).groups()
        if not compare[sign](numbers(version), numbers(bound)):
            return False
    return True


def check(data, policy, problems):
    allowed = set(policy["licenses"]["allow"])
    exceptions = {entry["name"]: set(entry["allow"]) for entry in policy["licenses"]["exceptions"]}
    versions = {}
    registries = {package["source"] for package in data["packages"] if package["source"]}
    if len(registries) > 1:
        problems.append(f"packages come from several registries: {', '.join(sorted(registries))}")
    for package in data["packages"]:
        name = f"{package['name']} {package['version']}"
        source = package["source"]
        if source is None:
            continue
        versions.setdefault(package["name"], []).append(package["version"])
        if not source.startswith("registry+"):
            problems.append(f"{name}: comes from {source}, not from the registry")
        for entry in policy["bans"]["deny"]:
            if entry["name"] == package["name"] and matches(package["version"], entry.get("version", "")):
                problems.append(f"{name}: is banned by deny.toml: {entry['reason']}")
        licence = package["license"]
        if licence is None:
            problems.append(f"{name}: names no licence")
        elif not any(choice <= allowed | exceptions.get(package["name"], set()) for choice in alternatives(licence)):
            problems.append(f"{name}: licence {licence} is not allowed by deny.toml")
    return {name: found for name, found in versions.items() if len(found) > 1}


def main():
    policy = tomllib.loads((ROOT / "deny.toml").read_text())
    problems = []
    data = metadata("Cargo.toml")
    duplicates = check(data, policy, problems)
    check(metadata("fuzz/Cargo.toml"), policy, problems)
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
        checks = ["licenses", "bans", "sources"]
        # The database of advisories, if a user has fetched it.
        cargo_home = pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo"))
        if any(cargo_home.glob("advisory-db*/*")):
            checks.append("advisories")
        return subprocess.run(["cargo", "deny", "--offline", "check", *checks], cwd=ROOT).returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
