-- Read by the sqlite3 shell while it starts: the name of every file of every installed package, in memory.
CREATE TABLE file(path TEXT);
.import files.txt file
CREATE INDEX by_path ON file(path);
CREATE TABLE folder AS SELECT rtrim(path, replace(path, '/', '')) AS name, count(*) AS files FROM file GROUP BY 1;
CREATE INDEX by_count ON folder(files);
