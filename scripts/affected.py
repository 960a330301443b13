#!/usr/bin/env python3
"""What a change touches, for `scripts/test.sh --fast`.

usage: affected.py [REVISION]

Compares the working tree with REVISION (default: HEAD) and prints two lines: the packages that have changed or depend
on what has, and which tests to run, as a filter of nextest.
"""

import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Tests of `snapfn-tests` that start a package's programs throughout.
STARTED_BY = {
    "snapfn-loader": ["binary(oracle)", "binary(state)"],
    "snapshotter": ["binary(oracle)", "binary(state)"],
    "snapcc": ["binary(oracle)"],
    "snaprepo": ["binary(registry)"],
    "snapfn": ["binary(use) & test(/^library::/)"],
}
TESTS = "snapfn-tests"


def output(*command):
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def changed(revision):
    """Paths below the root that differ from `revision`, or that it does not have."""
    known = output("git", "diff", "--name-only", revision).splitlines()
    return known + output("git", "ls-files", "--others", "--exclude-standard").splitlines()


def packages():
    """Folder and direct dependencies inside the workspace of each package."""
    metadata = json.loads(output("cargo", "metadata", "--no-deps", "--offline", "--locked", "--format-version", "1"))
    return {
        package["name"]: (
            pathlib.Path(package["manifest_path"]).parent.relative_to(ROOT),
            {dependency["name"] for dependency in package["dependencies"] if dependency.get("path")},
        )
        for package in metadata["packages"]
    }


def package_of(path, all_packages):
    """The package whose folder is the closest one above `path`."""
    holders = [name for name, (folder, _) in all_packages.items() if folder in pathlib.PurePath(path).parents]
    return max(holders, key=lambda name: len(all_packages[name][0].parts), default=None)


def closure(names, all_packages):
    """These packages, and those that depend on one of them."""
    found = set(names)
    while True:
        more = {name for name, (_, needs) in all_packages.items() if needs & found} - found
        if not more:
            return found
        found |= more


def filter_of(paths, packages):
    """The tests of these packages, and those of `snapfn-tests` that start their programs or concern these files."""
    terms = {term for package in packages for term in STARTED_BY.get(package, [])}
    for path in paths:
        parts = pathlib.PurePath(path).parts
        stem = pathlib.PurePath(path).stem
        if path.endswith(".md"):
            terms |= {"test(/^security_md::/)", "test(/^support_table::/)"}
        elif parts[0] != "tests" or len(parts) < 3:
            continue
        elif parts[1] == "src":
            terms |= {"binary(oracle)", "kind(lib)"}
        elif parts[1] == "corpus":
            terms.add(f"binary(oracle) & test(/^{re.escape(stem)}::/)" if parts[2] != "aux" else "binary(oracle)")
        elif path.endswith("/main.rs") or parts[1] == "state" and not path.endswith(".rs"):
            terms.add(f"binary({parts[1]})")
        else:
            module = pathlib.PurePath(parts[2]).stem
            terms.add(f"binary({parts[1]}) & test(/^{module}::/)")
    chosen = [f"package({package})" for package in sorted(packages - {TESTS})]
    chosen += [f"package({TESTS}) & ({term})" for term in sorted(terms)]
    return " | ".join(f"({term})" for term in chosen)


def main():
    paths = changed(sys.argv[1] if len(sys.argv) > 1 else "HEAD")
    all_packages = packages()
    if any(path in ("Cargo.toml", "Cargo.lock") for path in paths):
        found = set(all_packages)
    else:
        found = closure({package_of(path, all_packages) for path in paths} - {None}, all_packages)
    print(*sorted(found))
    print(filter_of(paths, found))


if __name__ == "__main__":
    main()
