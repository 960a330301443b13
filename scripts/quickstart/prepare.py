# An interpreter with its modules imported, which then runs the program that it reads from its standard input.
import asyncio, http.server, json, re, sqlite3, ssl, sys, unittest

exec(sys.stdin.read())
