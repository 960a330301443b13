"""Everything random that Python has, drawn from before the snapshot and after."""

import multiprocessing
import os
import random
import secrets
import sqlite3
import ssl
import sys
import tempfile
import uuid

try:
    import numpy
except ImportError:
    numpy = None

import snapfn

state = {}
snapfn.on_restore(lambda: state.update(hook=snapfn.generation()))
for _ in range(3):
    random.random(), secrets.token_hex(), uuid.uuid4(), uuid.uuid1(), ssl.RAND_bytes(8)
    tempfile.NamedTemporaryFile(prefix="snapfn-draw-").close()
    if numpy:
        numpy.random.random()
multiprocessing.current_process()
database = sqlite3.connect(":memory:")
database.execute("SELECT random()")
snapfn.ready()
draws = {
    "random": "%016x" % random.getrandbits(64),
    "shuffle": "%016x" % random.SystemRandom().getrandbits(64),
    "secrets": secrets.token_hex(8),
    "uuid4": uuid.uuid4().hex,
    "uuid1": uuid.uuid1().hex,
    "ssl": ssl.RAND_bytes(8).hex(),
    "sqlite": database.execute("SELECT hex(randomblob(8))").fetchone()[0],
    "urandom": os.urandom(8).hex(),
    "tempfile": next(tempfile._get_candidate_names()),
    "authkey": bytes(multiprocessing.current_process().authkey).hex(),
    "hook": "%016x" % state.get("hook", 0),
}
if numpy:
    draws["numpy"] = numpy.random.bytes(8).hex()
    draws["default_rng"] = numpy.random.default_rng().bytes(8).hex()
for name, value in draws.items():
    print(name, value)
sys.stdout.flush()
os._exit(0)  # taking Python apart would be most of the time
