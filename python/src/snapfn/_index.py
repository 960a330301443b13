"""The index of snapshots, which the launcher reads at each start (python/launcher/src/index.rs).

    ROOT/apps/HASH       one program: its key, its snapshots, or the reason why it has none
    ROOT/snapshots/TAG   one snapshot: the environment that it was made in, and its inputs

Both are lines of fields that are separated by tabs; the last line is `end`.
"""

import hashlib
import os
import stat

# Prefixes of the names of variables that the interpreter, the C library and libraries of numbers read themselves.
FAMILIES = """
PYTHON LC_ LANG LD_ GLIBC_ MALLOC_ OPENSSL_ SSL_ OMP_ GOMP_ KMP_ MKL_ OPENBLAS_ GOTO_ BLIS_ NUMEXPR_ ARROW_ CUDA_ TF_ TORCH_
""".split()


class Unusable(Exception):
    """No snapshot can be had, and why."""


def fnv(data):
    """FNV-1a with 64 bits. It separates names, it does not protect."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return "%016x" % value


def families(environ):
    entries = sorted(
        os.fsencode(name) + b"=" + os.fsencode(value) + b"\0"
        for name, value in environ.items()
        if name.startswith(tuple(FAMILIES))
    )
    return fnv(b"".join(entries))


def digest_of(path):
    """The SHA-256 of a file's content, or of the names in a directory."""
    sha = hashlib.sha256()
    if os.path.isdir(path):
        for name in sorted(os.fsencode(name) for name in os.listdir(path)):
            if name != b"__pycache__":
                sha.update(name + b"\0")
    else:
        with open(path, "rb") as file:
            for piece in iter(lambda: file.read(1 << 20), b""):
                sha.update(piece)
    return sha.hexdigest()


def look(path):
    """The values that each start compares: None where there is no file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    kind, size = ("dir", 0) if stat.S_ISDIR(found.st_mode) else ("file", found.st_size)
    return kind, size, found.st_mtime_ns, found.st_ino


class Snapshot:
    """The description of one snapshot."""

    def __init__(self, tag, snaprun, environ, reads, names, inputs):
        self.tag, self.snaprun, self.families, self.reads = tag, snaprun, families(environ), reads
        self.names, self.inputs = names, inputs

    def write(self, root):
        rows = [("snapfn-snapshot", "1"), ("snaprun", self.snaprun), ("families", self.families, *FAMILIES)]
        for name, value in sorted(self.reads.items()):
            rows.append(("env", name, "-" if value is None else fnv(os.fsencode(value))))
        rows += [("name", name) for name in sorted(self.names)]
        folder = None
        for path, found in sorted(self.inputs.items(), key=lambda item: os.path.split(item[0])):
            parent, _, name = path.rpartition("/")
            if found is None:
                rows.append(("absent", path))
            elif found[0] == "dir":
                rows.append(("dir", path, *map(str, found[1:]), digest_of(path)))
            else:
                if parent != folder:
                    folder = parent
                    rows.append(("in", folder + "/"))
                rows.append(("file", name, *map(str, found[1:]), digest_of(path)))
        _write(root + "/snapshots/" + self.tag, rows)


def is_fresh(root, tag):
    """Whether a snapshot is there and no input of it has another size, time or inode."""
    folder = ""
    try:
        rows = _read(root + "/snapshots/" + tag)
    except (OSError, ValueError):
        return False
    for kind, *fields in rows:
        if kind == "in":
            folder = fields[0]
        elif kind == "absent" and os.path.lexists(fields[0]):
            return False
        elif kind in ("file", "dir"):
            path = folder + fields[0] if kind == "file" else fields[0]
            if look(path) != (kind, *map(int, fields[1:4])):
                return False
    return True


class App:
    """The snapshots of one program."""

    LIMIT = 8

    def __init__(self, root, key):
        self.root, self.key, self.path = root, key, "%s/apps/%s" % (root, fnv(os.fsencode(key)))
        self.tags, self.reasons = [], []
        try:
            rows = _read(self.path)
        except (OSError, ValueError):
            return
        if ("key", key) in rows:
            self.tags = [row[1] for row in rows if row[0] == "snapshot"]
            self.reasons = [row for row in rows if row[0] == "reason"]

    def add(self, tag, environ):
        self.tags = [tag] + [old for old in self.tags if old != tag and is_fresh(self.root, old)]
        del self.tags[self.LIMIT :]
        self._forget_reason(environ)
        self._write()

    def refuse(self, why, environ):
        self._forget_reason(environ)
        self.reasons.append(("reason", families(environ), " ".join(why.split())))
        self._write()

    def _forget_reason(self, environ):
        self.reasons = [row for row in self.reasons if row[1] != families(environ)][-self.LIMIT :]

    def _write(self):
        rows = [("snapfn-app", "1"), ("key", self.key), ("families", "", *FAMILIES)]
        _write(self.path, rows + [("snapshot", tag) for tag in self.tags] + self.reasons)


def unused(root):
    """Snapshots that no program uses any more."""
    used = set()
    for name in os.listdir(root + "/apps"):
        if not name.startswith("."):
            try:
                used.update(row[1] for row in _read(root + "/apps/" + name) if row[0] == "snapshot")
            except (OSError, ValueError):
                pass
    return [tag for tag in os.listdir(root + "/snapshots") if tag not in used and not tag.startswith(".")]


def _read(path):
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        rows = [tuple(line.split("\t")) for line in file.read().split("\n")]
    if rows[-2:] != [("end",), ("",)]:
        raise ValueError("%s is not complete" % path)
    return rows[:-2]


def _write(path, rows):
    for row in rows:
        for field in row:
            if "\n" in field or "\t" in field:
                raise Unusable("the name %r cannot be written down" % field)
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    temporary = "%s/.%s.%d" % (os.path.dirname(path), os.path.basename(path), os.getpid())
    with open(temporary, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write("\n".join("\t".join(row) for row in rows) + "\nend\n")
    os.replace(temporary, path)
