CREATE TABLE rows (id INTEGER PRIMARY KEY, name TEXT, value REAL);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
INSERT INTO rows SELECT i, printf('name of row %d', i), i * 1.5 FROM n;
CREATE INDEX by_name ON rows (name);
