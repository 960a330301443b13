# What one instance of the prepared interpreter is asked to do.
print(json.dumps({"words": len(re.findall(r"\w+", sys.version)), "sqlite": sqlite3.sqlite_version}))
