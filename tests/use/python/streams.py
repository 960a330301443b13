"""What the standard streams of this start are."""

import sys

import snapfn

kept = sys.stdout  # as a logging handler has it
snapfn.ready()


def seek(stream):
    try:
        return stream.tell() if stream.seekable() else "no"
    except OSError as error:
        return type(error).__name__


def show(name, stream):
    if stream is None:
        return name + " none"
    return " ".join(
        str(word)
        for word in (name, stream.encoding, stream.errors, stream.line_buffering, stream.write_through, stream.mode)
        + (stream.name, getattr(stream.buffer, "raw", stream.buffer).mode, stream.isatty(), stream.seekable(), seek(stream.buffer))
    )


lines = [show(name, getattr(sys, name)) for name in ("stdin", "stdout", "stderr")]
if sys.stdin is not None:
    lines.append(repr(sys.stdin.readline()))
    lines.append(repr(sys.stdin.read()))
if sys.stdout is not None:
    assert kept is sys.stdout
    print("output \xe9" if len(sys.argv) < 3 else sys.argv[2])
with open(sys.argv[1], "w") as out:
    print("\n".join(lines), file=out)
