"""Records which hooks have run, and the time zone of this start."""

import time

import snapfn

before, after = [], []
snapfn.register_before_snapshot(before.append, "first")
snapfn.register_before_snapshot(before.append, "second")
snapfn.register_after_restore(after.append, "first")
snapfn.register_after_restore(after.append, "second")


def main():
    print("before:", *before)
    print("after:", *after)
    print("zone", time.strftime("%z"))


snapfn.run(main)
