SELECT name, files FROM folder ORDER BY files DESC LIMIT 5;
