#!/usr/bin/env python3
"""Draws the figures of the documentation from text in the repository.

    scripts/figures.py           writes them anew
    scripts/figures.py --check   fails if one of them is not what it would write

`starts.svg` is made from the table in docs/internals/performance.md, the others from the text beside them.
"""

import argparse
import html
import math
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIGURES = ROOT / "docs/internals/figures"
FONT = "font-family='Helvetica, Arial, sans-serif'"
MONO = "font-family='Menlo, Consolas, monospace'"
INK, QUIET, RULE = "#1f2328", "#57606a", "#d0d7de"


def fail(message):
    sys.exit(f"figures.py: {message}")


class Drawing:
    """SVG text; coordinates and sizes are in pixels."""

    def __init__(self, width, height, title):
        self.size = width, height
        self.title = title
        self.parts = []

    def box(self, x, y, width, height, fill, stroke="none", radius=0):
        self.parts.append(
            f"<rect x='{x:g}' y='{y:g}' width='{width:g}' height='{height:g}' rx='{radius}' fill='{fill}' "
            f"stroke='{stroke}'/>"
        )

    def text(self, x, y, words, size=13, fill=INK, anchor="start", bold=False, mono=False):
        weight = " font-weight='bold'" if bold else ""
        self.parts.append(
            f"<text x='{x:g}' y='{y:g}' {MONO if mono else FONT} font-size='{size}' fill='{fill}' "
            f"text-anchor='{anchor}'{weight}>{html.escape(words)}</text>"
        )

    def line(self, points, stroke=RULE, width=1, arrow=False, dashed=False):
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        marks = (" marker-end='url(#arrow)'" if arrow else "") + (" stroke-dasharray='4 3'" if dashed else "")
        self.parts.append(f"<polyline points='{path}' fill='none' stroke='{stroke}' stroke-width='{width}'{marks}/>")

    def svg(self):
        width, height = self.size
        arrow = (
            "<defs><marker id='arrow' viewBox='0 0 8 8' refX='8' refY='4' markerWidth='8' markerHeight='8' "
            f"orient='auto'><path d='M0,0 L8,4 L0,8 z' fill='{QUIET}'/></marker></defs>"
        )
        head = (
            f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' "
            f"viewBox='0 0 {width} {height}' role='img'>\n<title>{html.escape(self.title)}</title>"
        )
        ground = f"<rect width='{width}' height='{height}' fill='#ffffff'/>"
        return "\n".join([head, arrow, ground, *self.parts, "</svg>"]) + "\n"


# --- starts: bars from the table ----------------------------------------------------------------------------------

BARS = [("execve", "#8c959f"), ("snaprun", "#0072b2"), ("from a pool", "#009e73"), ("CRIU 4.1.1", "#cc79a7")]
SHOWN = ["no-op, dynamic C", "C, 16 MiB heap", "C, 1 GiB heap", "lua5.4", "sqlite3, 100,000 rows", "python3, no-op",
         "python3, 13 modules"]


def table(page, first):
    """The rows of the table whose first heading is `first`, each a dictionary from heading to cell."""
    lines = page.splitlines()
    start = next((n for n, line in enumerate(lines) if line.startswith(f"| {first} |")), None)
    if start is None:
        fail(f"there is no table of {first}")
    cells = lambda line: [cell.strip().replace("`", "") for cell in line.strip().strip("|").split("|")]
    headings, rows = cells(lines[start]), []
    for line in lines[start + 2:]:
        if not line.startswith("|"):
            break
        rows.append(dict(zip(headings, cells(line))))
    return rows


def starts():
    page = (ROOT / "docs/internals/performance.md").read_text()
    first = "ms to the first output"
    rows = {row[first]: row for row in table(page, first)}
    left, right, top, bar, gap = 180, 60, 66, 13, 12
    groups = []
    for name in SHOWN:
        row = rows.get(name) or fail(f"the table has no row {name}")
        values = [(color, row.get(heading, "")) for heading, color in BARS]
        groups.append((name, [(color, value) for color, value in values if value not in ("", "–")]))
    height = top + sum(bar * len(bars) + gap for _, bars in groups) + 28
    drawing = Drawing(860, height, "Time to the first output, in milliseconds, on a logarithmic scale")
    low, high = -1, 3
    scale = (drawing.size[0] - left - right) / (high - low)
    place = lambda ms: left + max(math.log10(ms) - low, 0.01) * scale
    drawing.text(left, 22, "Time to the first output, ms (logarithmic scale)", 15, bold=True)
    x = left
    for heading, color in BARS:
        drawing.box(x, 36, 11, 11, color)
        drawing.text(x + 16, 46, heading, 12, QUIET)
        x += 40 + 7 * len(heading)
    for power in range(low, high + 1):
        at = place(10.0**power)
        drawing.line([(at, top - 6), (at, height - 26)])
        drawing.text(at, height - 10, f"{10.0**power:g}", 12, QUIET, "middle")
    y = top
    for name, bars in groups:
        drawing.text(left - 10, y + bar * len(bars) / 2 + 4, name, 13, anchor="end")
        for color, value in bars:
            end = place(float(value))
            drawing.box(left, y, end - left, bar - 2, color)
            drawing.text(end + 5, y + bar - 3, value, 11, QUIET)
            y += bar
        y += gap
    return drawing.svg()


# --- text to figures ----------------------------------------------------------------------------------------------


def statements(name):
    """Numbered (keyword, rest) pairs of a text file of figures."""
    for number, line in enumerate((FIGURES / name).read_text().splitlines(), 1):
        line = line.strip()
        if line and not line.startswith("#"):
            keyword, _, rest = line.partition(" ")
            yield f"{name}:{number}", keyword, rest.strip()


def parts(rest):
    return [part.strip() for part in rest.split("|")]


def create_to_start():
    """Lanes from top to bottom, boxes from left to right; arrows lead from box to box."""
    name, title, lanes, arrows = "create-to-start.txt", "", [], []
    for place, keyword, rest in statements(name):
        if keyword == "title":
            title = rest
        elif keyword == "lane":
            lanes.append((parts(rest), []))
        elif keyword == "box" and lanes:
            lanes[-1][1].append(parts(rest))
        elif keyword == "arrow" and len(rest.split()) == 2:
            arrows.append(rest.split())
        else:
            fail(f"{place}: {keyword} is not understood here")
    width, left, step, tall, high = 1080, 14, 151, 128, 62
    drawing = Drawing(width, 40 + tall * len(lanes), title)
    drawing.text(left, 26, title, 16, bold=True)
    boxes, fills = {}, ["#f6f8fa", "#ddf4ff", "#fff8c5", "#dafbe1"]
    for row, ((label, note), members) in enumerate(lanes):
        y = 40 + row * tall
        drawing.line([(left, y), (width - left, y)])
        drawing.text(left, y + 20, label, 14, bold=True)
        drawing.text(left + 60, y + 20, note, 12, QUIET)
        wide = 136
        for column, (key, heading, *text) in enumerate(members):
            x = left + column * step + (width - 2 * left - ((len(members) - 1) * step + wide)) / 2
            boxes[key] = x, y + 48, wide, high, row
            drawing.box(x, y + 48, wide, high, fills[row % len(fills)], QUIET, 6)
            middle = x + wide / 2
            drawing.text(middle, y + 66 + 8 * (2 - len(text)), heading, 13, anchor="middle", bold=True)
            for n, words in enumerate(text):
                drawing.text(middle, y + 82 + 8 * (2 - len(text)) + 15 * n, words, 11, QUIET, "middle")
    for one, other in arrows:
        if one not in boxes or other not in boxes:
            fail(f"{name}: an arrow from {one} to {other} has no such box")
        x1, y1, w1, h1, row1 = boxes[one]
        x2, y2, w2, _, row2 = boxes[other]
        if row1 == row2:
            points = [(x1 + w1, y1 + h1 / 2), (x2, y1 + h1 / 2)]
        else:
            # Each box has room for arrows to several others, so they leave and arrive a little apart.
            shift = 6 * (x2 > x1) - 6 * (x2 < x1)
            bend = y2 - 18 + 5 * (list(boxes).index(one) % 3)
            begin, end = x1 + w1 / 2 + shift, x2 + w2 / 2 - shift
            points = [(begin, y1 + h1), (begin, bend), (end, bend), (end, y2)]
        drawing.line(points, QUIET, 1.4, arrow=True)
    return drawing.svg()


FILLS = {"loader": "#d0d7de", "snapshot": "#b6e3ff", "code": "#aceebb", "resident": "#ffd8b5", "kernel": "#fae17d"}


def address_space():
    """A column for each moment, a row for each range of addresses; a row has one line or more of cells."""
    title, kinds, columns, rows = "", [], [], []
    for place, keyword, rest in statements("address-space.txt"):
        if keyword == "title":
            title = rest
        elif keyword == "kind":
            kinds.append(parts(rest))
        elif keyword == "column":
            columns.append(rest)
        elif keyword == "row":
            rows.append((*parts(rest), []))
        elif keyword == "cell" and rows:
            rows[-1][2].append(rest)
        else:
            fail(f"{place}: {keyword} is not understood here")
    left, wide, tall, gap, top = 330, 240, 26, 8, 92
    lines = sum(-(-len(cells) // len(columns)) for _, _, cells in rows)
    height = top + lines * tall + len(rows) * gap + 12
    drawing = Drawing(left + wide * len(columns) + 14, height, title)
    drawing.text(14, 26, title, 16, bold=True)
    x = 14
    for kind, meaning in kinds:
        drawing.box(x, 40, 12, 12, FILLS.get(kind) or fail(f"address-space.txt: there is no kind {kind}"), QUIET)
        drawing.text(x + 17, 51, meaning, 12, QUIET)
        x += 38 + 6.1 * len(meaning)
    for number, column in enumerate(columns):
        drawing.text(left + number * wide + wide / 2 - 4, 78, column, 13, anchor="middle", bold=True)
    y = top
    for start, meaning, cells in rows:
        count = -(-len(cells) // len(columns))
        drawing.line([(14, y - gap / 2), (left + wide * len(columns), y - gap / 2)])
        drawing.text(14, y + 14, start, 12, mono=True)
        drawing.text(14 if count > 1 else 160, y + (30 if count > 1 else 14), meaning, 11, QUIET)
        for number, cell in enumerate(cells):
            at = left + number % len(columns) * wide, y + number // len(columns) * tall
            if cell != "-":
                kind, _, words = cell.partition(":")
                drawing.box(*at, wide - 8, tall - 4, FILLS.get(kind) or fail(f"address-space.txt: {cell}"), QUIET, 3)
                drawing.text(at[0] + 8, at[1] + 15, words.strip(), 11.5)
        y += count * tall + gap
    return drawing.svg()


CURVES = dict(BARS) | {"fork of a warm parent": "#e69f00"}


def scaling():
    """A panel for each parameter, with a curve for each way to start; both axes are logarithmic."""
    title, panels = "", []
    for place, keyword, rest in statements("scaling.txt"):
        if keyword == "title":
            title = rest
        elif keyword == "panel":
            panels.append((rest, []))
        elif keyword == "curve" and panels:
            name, *points = parts(rest)
            color = CURVES.get(name) or fail(f"{place}: there is no curve {name}")
            panels[-1][1].append((color, [tuple(map(float, point.split())) for point in points]))
        else:
            fail(f"{place}: {keyword} is not understood here")
    wide, top, bottom = 350, 96, 316
    drawing = Drawing(14 + wide * len(panels), 352, title)
    drawing.text(14, 26, title, 15, bold=True)
    x = 14
    for name, color in CURVES.items():
        if any(color == curve for _, curves in panels for curve, _ in curves):
            drawing.box(x, 40, 11, 11, color)
            drawing.text(x + 16, 50, name, 12, QUIET)
            x += 40 + 7 * len(name)
    for number, (name, curves) in enumerate(panels):
        left, right = 14 + number * wide + 46, (number + 1) * wide - 14
        # Whole powers of ten lie around all points. The value 0 lies at the beginning of the axis.
        most = max(x for _, points in curves for x, _ in points)
        times = [y for _, points in curves for _, y in points]
        low, high = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)))
        across = lambda value: left + math.log10(max(value, 1)) / math.log10(most) * (right - left)
        up = lambda value: bottom - (math.log10(value) - low) / max(high - low, 1) * (bottom - top)
        drawing.text(left, 80, name, 13, bold=True)
        for power in range(low, high + 1):
            drawing.line([(left, up(10.0**power)), (right, up(10.0**power))])
            drawing.text(left - 6, up(10.0**power) + 4, f"{10.0**power:g}", 11, QUIET, "end")
        for value in sorted({x for _, points in curves for x, _ in points}):
            drawing.line([(across(value), top), (across(value), bottom)])
            drawing.text(across(value), bottom + 18, f"{value:g}", 11, QUIET, "middle")
        for color, points in curves:
            drawing.line([(across(x), up(y)) for x, y in points], color, 2)
            for x, y in points:
                drawing.box(across(x) - 3, up(y) - 3, 6, 6, color, radius=3)
    return drawing.svg()


def main():
    arguments = argparse.ArgumentParser(description="Draws the figures of the documentation from text.")
    arguments.add_argument("--check", action="store_true", help="write nothing; fail if a figure is not current")
    check = arguments.parse_args().check
    stale = []
    for name, draw in [
        ("starts", starts), ("create-to-start", create_to_start), ("address-space", address_space), ("scaling", scaling),
    ]:
        path = FIGURES / f"{name}.svg"
        drawn = draw()
        if not check:
            path.write_text(drawn)
        elif not path.is_file() or path.read_text() != drawn:
            stale.append(str(path.relative_to(ROOT)))
    if stale:
        fail(f"not current: {', '.join(stale)}; run scripts/figures.py")


if __name__ == "__main__":
    main()
