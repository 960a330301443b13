#!/bin/sh
# SQLite from Debian's source package, built by its own ./configure && make with CC=snapcc: its own checks, and a shell
# with 100,000 rows in memory that answers queries from its standard input.
#
# With --all, SQLite's own test programs run, too. Building them takes longer than everything else here.
. "$(dirname "$0")/common.sh"

need build-essential tcl tcl-dev libreadline-dev zlib1g-dev dpkg-dev
source=$(source_package sqlite3)
build=$cache/sqlite-build
mkdir -p "$build"
cd "$build"
if [ ! -e .built ]; then
    step "sqlite: configure" env CC=snapcc "$source/configure" --disable-readline --enable-fts5 --enable-load-extension \
        --disable-amalgamation "CFLAGS=-O1 -g"
    # There is one job a processor. The checks' programs are linked here as well.
    step "sqlite: make" make -j"$(nproc)" sqlite3 fuzzcheck sessionfuzz
    touch .built
fi
# libtool puts a shell script around the program here.
shell=$build/.libs/sqlite3
export LD_LIBRARY_PATH="$build/.libs"
[ -e "$shell.code" ] && [ -e "$shell.init" ] || die "snapcc wrote no .code and .init for the sqlite3 shell"
step "sqlite: make fuzztest" make fuzztest
if [ "${1:-}" = --all ]; then
    step "sqlite: make testfixture" make -j"$(nproc)" testfixture
    # The test programs must not run as root: they expect that a read-only file cannot be written.
    tests="select1 select2 join insert update delete trans index expr func where json101 fts3aa rtree1 window1 with1 savepoint"
    chown -R 65534:65534 . 2>/dev/null || true
    run_tests() {
        for test in $tests; do
            file="$source/test/$test.test"
            [ -e "$file" ] || file=$(find "$source/ext" -name "$test.test" | head -1)
            as_plain ./testfixture "$file" || return 1
        done
    }
    step "sqlite: its test programs" run_tests
fi

fresh_store
cat >"$SNAPFN_STORE.sql" <<'SQL'
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, price REAL, grp INTEGER);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
INSERT INTO item SELECT i, 'item ' || i, (i * 7919 % 10007) / 100.0, i % 97 FROM n;
CREATE INDEX by_group ON item(grp);
CREATE VIRTUAL TABLE text USING fts5(body);
INSERT INTO text SELECT name || ' in group ' || grp FROM item WHERE id <= 2000;
SQL
trap 'rm -rf "$SNAPFN_STORE" "$SNAPFN_STORE.sql"' EXIT
chmod 644 "$SNAPFN_STORE.sql"

step "sqlite: snapshot of 100,000 rows in memory" \
    snapshotter create --tag sqlite --at syscall:read:0 --cwd / -- "$shell" -batch -init "$SNAPFN_STORE.sql" :memory:
query() {
    expected=$(printf '%s\n' "$1" | (cd / && as_plain "$shell" -batch -init "$SNAPFN_STORE.sql" :memory:) 2>&1 && echo "status 0" || echo "status $?")
    actual=$(printf '%s\n' "$1" | as_plain snaprun sqlite 2>&1 && echo "status 0" || echo "status $?")
    # The shell's output while it reads its -init file belongs to the initialisation.
    expected=$(printf '%s\n' "$expected" | grep -v '^-- Loading resources from ')
    same "sqlite: $1" "$expected" "$actual"
}
query "SELECT count(*), sum(price), min(name), max(name) FROM item;"
query "SELECT name, price FROM item WHERE grp = 17 ORDER BY price DESC LIMIT 5;"
query "SELECT grp, count(*), round(avg(price), 3) FROM item GROUP BY grp HAVING count(*) > 1030;"
query "SELECT rowid, body FROM text WHERE text MATCH 'item AND 42' LIMIT 3;"
query "DELETE FROM item WHERE id % 2; SELECT count(*) FROM item; PRAGMA integrity_check;"
query "INSERT INTO item SELECT id + 100000, name, price, grp FROM item; SELECT count(*) FROM item;"
query "SELECT * FROM missing;"
query ".mode json
SELECT * FROM item WHERE id IN (1, 100000);"
query "SELECT json_group_array(name) FROM item WHERE id BETWEEN 5 AND 8; SELECT row_number() OVER (ORDER BY price), id FROM item LIMIT 2;"
# One instance's changes are its own.
same "sqlite: rows are still there for the next instance" 100000 "$(echo 'SELECT count(*) FROM item;' | as_plain snaprun sqlite)"
finish
