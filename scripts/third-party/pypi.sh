#!/bin/sh
# Ten programs from PyPI, unchanged, by `snapfn run`: the same output and status as an ordinary run for three command
# lines each, and a table of the times to exit. PYTHON names the interpreter, RUNS how often a command line is timed
# (30), PROGRAMS which of the programs are tried. The table is in docs/howto/python.md.
. "$(dirname "$0")/common.sh"

python=${PYTHON:-/usr/bin/python3}
venv=$cache/pypi-$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if [ ! -e "$venv/.complete" ]; then
    rm -rf "$venv"
    "$python" -m venv "$venv" || die "install python3-venv"
    step "pypi: install the programs" "$venv/bin/pip" install --disable-pip-version-check -q \
        awscli black mypy pylint pytest httpie ansible-core yt-dlp django pandas click
    touch "$venv/.complete"
fi
fresh_store
work=$(mktemp -d)
trap 'rm -rf "$SNAPFN_STORE" "$work"' EXIT
export SNAPFN_PYTHON_PACKAGE="$root/python/src/snapfn" HOME="$work" PATH="$venv/bin:$PATH"
unset PYTHONUNBUFFERED

cat >"$work/report.py" <<'PY'
import click
import pandas


@click.command()
@click.argument("rows", type=int)
def main(rows):
    """Prints the sum of a table."""
    click.echo(pandas.DataFrame({"a": range(rows), "b": 2.5}).sum().to_string())


main()
PY
cat >"$work/code.py" <<'PY'
"""A module to be checked."""
def double( number:int )->int:
    """Twice the number."""
    return number*2
PY
printf 'def test_right():\n    assert 1 + 1 == 2\n\n\ndef test_wrong():\n    assert [1, 2] == [1, 3]\n' >"$work/test_sum.py"
printf -- '- hosts: localhost\n  gather_facts: false\n  tasks:\n    - debug: msg=hello\n' >"$work/play.yml"
(cd "$work" && django-admin startproject site >/dev/null 2>&1 || django-admin startproject mysite)

# Name of the program, and a command line behind it.
cat >"$work/lines" <<'TEXT'
report.py 5
report.py --help
report.py none
aws --version
aws s3 help-me
aws configure list
black --version
black --diff -q code.py
black --check code.py
mypy --version
mypy --no-incremental code.py
mypy --no-such-option
pylint --version
pylint --disable=all --enable=unused-import code.py
pylint --list-msgs-enabled
pytest --version
pytest -q -p no:cacheprovider --durations=0 --durations-min=99 -k right
pytest -q -p no:cacheprovider -x --no-header --no-summary
http --version
http --offline --print=HB example.org a=1
http --ignore-stdin http://127.0.0.1:9/
ansible --version
ansible localhost -m ping
ansible-playbook play.yml --syntax-check
yt-dlp --version
yt-dlp --list-extractors
yt-dlp --simulate nonsense:
django-admin --version
django-admin help
mysite/manage.py check
TEXT
chmod -R go+rX "$work"

cat >"$work/measure.py" <<'PY'
"""Compares and times the command lines; prints the table. Ordinary and other runs take turns."""
import os, re, shutil, statistics, subprocess, sys, time

work, bin_folder, venv, runs = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
wanted = os.environ.get("PROGRAMS", "").split()
os.chdir(work)


def run(command):
    began = time.perf_counter()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    took = time.perf_counter() - began
    # Times that a program prints, and the address of an object, differ between any two runs.
    text = re.sub(rb"\b\d+\.\d+ ?s(econds)?\b|0x[0-9a-f]+|\d\d:\d\d:\d\d[.\d]*", b"TIME", done.stdout + b"\n--\n" + done.stderr)
    return took * 1000, (done.returncode, text)


failures, rows, made = 0, [], set()
for line in open("lines"):
    name, *arguments = line.split()
    program = name if name.endswith(".py") else shutil.which(name)
    if wanted and name not in wanted:
        continue
    ordinary = [venv + "/bin/python3", program, *arguments]
    snapfn = [bin_folder + "/snapfn", "run", "--make", "never", "--python", venv + "/bin/python3", program, *arguments]
    # Each command line is run once: what a subcommand imports belongs to the snapshot, too.
    create = [bin_folder + "/snapfn", "create", "--python", venv + "/bin/python3", program, *arguments]
    report = subprocess.run(create, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace").stderr
    reasons = [line for line in report.splitlines() if line.startswith("snapfn: ")]
    (_, expected), (_, again), (_, got) = run(ordinary), run(ordinary), run(snapfn)
    if expected != again:
        print(f"note  {line.strip()}: two ordinary runs differ")
    elif expected == got:
        print(f"ok    {line.strip()}")
    else:
        failures += 1
        print(f"FAIL  {line.strip()}\n--- expected\n{expected[1].decode()[:2000]}\n--- got\n{got[1].decode()[:2000]}")
    for reason in reasons[:4]:
        print("      " + reason[:300])
    first = run(ordinary)[0]
    count = runs if first < 3000 else 3
    times = [(run(ordinary)[0], run(snapfn)[0]) for _ in range(count)]
    a, b = (statistics.median(column) for column in zip(*times))
    rows.append(f"| `{line.strip()}` | {a:.0f} | {b:.0f} | {a / b:.1f} × |")
    print(f"      {a:.0f} ms, {b:.0f} ms by snapfn run, medians of {count}")
    sys.stdout.flush()
print("\n| command line | ordinary, ms | snapfn run, ms | |\n|---|---|---|---|")
print("\n".join(rows))
sys.exit(failures > 0)
PY
"$python" "$work/measure.py" "$work" "$bin" "$venv" "${RUNS:-30}" || failures=1
finish
