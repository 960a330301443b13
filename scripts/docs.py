#!/usr/bin/env python3
"""Checks the documentation: links between pages, the paths and tests that pages name, and the length of lines of prose
in pages and in the comments of sources.

Each rule first has to find a fault in a page that is made up for it, so a rule that no longer finds anything fails.
"""

import ast
import itertools
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Longest line of a page or comment, in characters. Tables and lines with a URL may be longer, since they cannot be
# broken.
WIDTH = 120
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^)\s]+)\)")
HEADING = re.compile(r"#{1,6}\s+(.*)")
CODE = re.compile(r"(`+)(.+?)\1")
PAGE = re.compile(r"\bdocs/[\w./-]+\.(?:md|svg|1)\b")
# Sources whose comments have at most that length, too.
PROGRAMS = (".rs", ".c", ".h", ".sh", ".py")
# The list of changes may name files that no longer exist.
HISTORY = "CHANGELOG.md"
# The page whose table has a test for each step of the chain, in its last column.
CLAIMS = "docs/reference/claims.md"
# The page whose table has a row for each module of the tests.
TESTS = "tests/README.md"


def lines(text):
    """Numbered lines of a page, each with True if it belongs to a block of code."""
    fence = None
    for number, line in enumerate(text.splitlines(), 1):
        mark = re.match(r"\s*(```+|~~~+)", line)
        if mark and (fence is None or line.strip() == fence):
            fence = mark[1] if fence is None else None
            yield number, line, True
        else:
            yield number, line, fence is not None


def anchors(text):
    """The anchors that a renderer gives to the headings of a page: lower case, hyphens, a number for a repeated one."""
    seen = {}
    for _, line, code in lines(text):
        heading = None if code else HEADING.fullmatch(line)
        if heading:
            words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).replace("`", "").lower()
            slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
            count = seen[slug] = seen.get(slug, -1) + 1
            yield slug if count == 0 else f"{slug}-{count}"


def braces(path):
    """The paths that `a/{b,c}.rs` stands for; a part `…` stands for files that are not named."""
    parts = [part.split(",") for part in re.split(r"[{}]", path)]
    return ["".join(choice) for choice in itertools.product(*parts) if "…" not in choice]


def broken_links(pages, present):
    for page, text in pages.items():
        # A link may go over two lines. Code has no links.
        prose = "\n".join("" if code else line for _, line, code in lines(text))
        prose = CODE.sub(lambda span: "" if "](" in span[0] else span[0], prose)
        for link in LINK.finditer(prose):
            target, number = link[1], prose.count("\n", 0, link.end()) + 1
            if "://" in target or target.startswith("mailto:"):
                continue
            path, _, anchor = target.partition("#")
            name = normal(pathlib.PurePosixPath(page).parent / path) if path else page
            if name not in present:
                yield f"{page}:{number}: the link {target} leads nowhere: there is no {name}"
            elif anchor and anchor not in anchors(pages.get(name, "")):
                yield f"{page}:{number}: the link {target} leads nowhere: {name} has no such heading"


def missing_paths(pages, present):
    """Paths in code marks that begin with a folder of the repository. A `*` or a capital word stands for any name."""
    folders = {path.split("/")[0] for path in present if "/" in path}
    for page, text in pages.items():
        if page == HISTORY:
            continue
        for number, line, code in lines(text):
            for _, words in [] if code else CODE.findall(line):
                path = words.split()[0].rstrip("/") if words.split() else ""
                if not re.fullmatch(r"[\w.{},…/-]+", path) or "/" not in path or path.split("/")[0] not in folders:
                    continue
                for name in braces(path):
                    if name not in present:
                        yield f"{page}:{number}: `{words}` names {name}, which is not there"


def missing_pages(sources, present):
    """Sources and scripts name pages by their path from the top of the repository."""
    for source, text in sources.items():
        for number, line in enumerate(text.splitlines(), 1):
            for name in PAGE.findall(line):
                if name not in present:
                    yield f"{source}:{number}: there is no {name}"


def is_test(name, sources, present):
    """Whether `name` is a program of the oracle's, or `FILE::FUNCTION` names a test that is not ignored."""
    file, _, function = name.partition("::")
    if not function:
        return file.startswith("tests/corpus/") and file in present
    attributes = r"((?:#\[[^\n]*\]\s*)+)"
    found = re.search(attributes + rf"fn {re.escape(function)}\(", sources.get(file, ""))
    return bool(found) and "#[test]" in found[1] and "#[ignore" not in found[1]


def unproved_claims(pages, sources, present):
    rows = [(number, line) for number, line, code in lines(pages.get(CLAIMS, "")) if not code and line.startswith("|")]
    if len(rows) < 3:
        yield f"{CLAIMS}: there is no table"
    for number, line in rows[2:]:
        tests = CODE.findall(line.strip("| ").rpartition(" | ")[2])
        if not tests:
            yield f"{CLAIMS}:{number}: the row names no test"
        for _, name in tests:
            if not is_test(name, sources, present):
                yield f"{CLAIMS}:{number}: there is no test {name}"


def unnamed_modules(pages, sources):
    """Modules of the tests that the table of their page does not name."""
    page = pages.get(TESTS, "")
    for source, text in sources.items():
        if re.fullmatch(r"tests/\w+/main\.rs", source):
            for module in re.findall(r"^mod (\w+);", text, re.M):
                if f"`{module}`" not in page:
                    yield f"{TESTS}: there is no row for {module} of {source}"


def long_lines(pages):
    for page, text in pages.items():
        for number, line, _ in lines(text):
            if len(line) > WIDTH and not line.lstrip().startswith("|") and "://" not in line:
                yield f"{page}:{number}: the line has {len(line)} characters; the most is {WIDTH}"


def comments(name, text):
    """Numbered lines of a source that are comments, and in Python also those of docstrings."""
    marks = {".rs": r"//", ".c": r"//(?!!)", ".h": r"//", ".sh": r"#", ".py": r"#"}
    mark = re.compile(r"\s*" + marks[pathlib.PurePosixPath(name).suffix])
    strings, block = set(), False
    if name.endswith(".py"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
                strings.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    for number, line in enumerate(text.splitlines(), 1):
        if name.endswith((".c", ".h")) and line.lstrip().startswith("/*"):
            block = True
        if block or number in strings or mark.match(line):
            yield number, line
        if "*/" in line:
            block = False


def long_comments(sources):
    for source, text in sources.items():
        for number, line in comments(source, text):
            if len(line) > WIDTH and not line.lstrip(" /!#*").startswith("|") and "://" not in line:
                yield f"{source}:{number}: the comment has {len(line)} characters; the most is {WIDTH}"


def normal(path):
    parts = []
    for part in path.parts:
        if part == ".." and parts:
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts) or "."


def prove():
    """Every rule finds the fault in a page that was made for it, and nothing in the same page without the fault."""
    present = {".", "A.md", "docs", "docs/b.md", "docs/c.rs"}
    b = "# One `two`, three\n## Same\n## Same\n```\n# no heading\n[no](link.md)\n```\n"
    a = "[b\nb](docs/b.md#one-two-three), [`s`](docs/b.md#same-1), [h](#here) `[no](link.md)`\n# Here\n"
    good = {"A.md": a + "`docs/{b,…}.md`\n" + "x" * WIDTH, "docs/b.md": b}
    faults = [
        (broken_links, "[b](docs/missing.md)"),
        (broken_links, "[b](docs/b.md#no-heading)"),
        (broken_links, "[h](#there)"),
        (broken_links, "[over two\nlines](missing.md)"),
        (missing_paths, "`docs/{b,d}.md`"),
        (missing_paths, "`docs/missing.rs`"),
        (missing_pages, "see docs/missing.md"),
        (long_lines, "x" * (WIDTH + 1)),
    ]
    long = "x" * WIDTH
    commented = [
        ("a.rs", f"/// {long}\n"),
        ("a.c", f"/* x\n   {long} */\n"),
        ("a.h", f" * x\n// {long}\n"),
        ("a.sh", f"# {long}\n"),
        ("a.py", f'def f():\n    """x\n    {long}"""\n'),
    ]
    for name, bad in commented:
        # Code may be longer.
        if list(long_comments({name: bad.replace(long, "") + f'f("{long}")\n'})):
            sys.exit(f"docs.py: long_comments finds a fault in {name} where there is none")
        if not list(long_comments({name: bad})):
            sys.exit(f"docs.py: long_comments does not find: {bad}")
    for rule, bad in faults:
        arguments = () if rule is long_lines else (present,)
        if list(rule(good, *arguments)):
            sys.exit(f"docs.py: {rule.__name__} finds a fault where there is none: {list(rule(good, *arguments))}")
        if not list(rule(good | {"docs/b.md": b + bad}, *arguments)):
            sys.exit(f"docs.py: {rule.__name__} does not find: {bad}")


def prove_claims():
    marks = {"one": "#[test]\n", "two": "#[test]\n#[cfg(x)]\n", "off": "#[test]\n#[ignore]\n", "help": ""}
    sources = {"a.rs": "\n".join(f"{mark}fn {name}() {{" for name, mark in marks.items())}
    present = {"a.rs", "tests/corpus/b.c", "tests/c.c"}

    def faults(*tests):
        rows = "".join(f"| step | `command` | file | {test} |\n" for test in tests)
        return list(unproved_claims({CLAIMS: f"| a | b | c | test |\n|---|---|---|---|\n{rows}"}, sources, present))

    good = ("`a.rs::one`, `tests/corpus/b.c`", "`a.rs::two`")
    if faults(*good):
        sys.exit(f"docs.py: unproved_claims finds a fault where there is none: {faults(*good)}")
    missing = ["`a.rs::three`", "`a.rs::on`", "`b.rs::one`", "`tests/corpus/c.c`", "`tests/c.c`", "`a.rs`"]
    for bad in [*missing, "`a.rs::off`", "`a.rs::help`", "one", "`a.rs::one`, `a.rs::three`"]:
        if len(faults(*good, bad)) != 1:
            sys.exit(f"docs.py: unproved_claims does not find: {bad}")
    if not faults():
        sys.exit("docs.py: unproved_claims does not find an empty table")
    if len(list(unnamed_modules({TESTS: "| `one` |"}, {"tests/a/main.rs": "mod one;\nmod two;\n"}))) != 1:
        sys.exit("docs.py: unnamed_modules does not find a module without a row")


def repository():
    """The files of the repository: what git says, or in a tree without git everything but builds."""
    try:
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
        return [name for name in done.stdout.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        found = []
        for folder, folders, names in os.walk(ROOT):
            folders[:] = [name for name in folders if name not in (".git", "target")]
            found += [os.path.relpath(os.path.join(folder, name), ROOT) for name in names]
        return found


def main():
    prove()
    prove_claims()
    files = sorted(name for name in repository() if (ROOT / name).is_file())
    present = {"."} | set(files)
    for name in files:
        present.update(str(parent) for parent in pathlib.PurePosixPath(name).parents)
    pages, sources = {}, {}
    for name in files:
        if name.endswith(".md"):
            pages[name] = (ROOT / name).read_text()
        elif name.endswith((".rs", ".c", ".h", ".sh", ".py", ".toml", ".1")) and name != "scripts/docs.py":
            sources[name] = (ROOT / name).read_text()
    faults = [
        *broken_links(pages, present),
        *missing_paths(pages, present),
        *missing_pages(sources, present),
        *unproved_claims(pages, sources, present),
        *unnamed_modules(pages, sources),
        *long_lines(pages),
        *long_comments({name: text for name, text in sources.items() if name.endswith(PROGRAMS)}),
    ]
    for fault in faults:
        print(fault)
    if faults:
        sys.exit(f"docs.py: {len(faults)} faults")
    print(f"{len(pages)} pages: links, anchors, paths, tests, modules and line lengths are right, and so are the lines of comments")


if __name__ == "__main__":
    main()
