#!/bin/sh
. "$(dirname "$0")/../common.sh"
[ -x /usr/bin/python3 ] || skip "install python3"
export PYTHONPATH="$example/../../python/src" # or: pip install ../../python
snapshotter create --tag handler --at ready -- /usr/bin/python3 -B "$example/handler.py" >&2

request='{"words": ["word7", "other", "word19999"]}'
echo "ordinary:"
echo "$request" | WHO=ordinary /usr/bin/python3 -B "$example/handler.py" a b
echo "from the snapshot:"
echo "$request" | WHO=first snaprun handler a b
echo "$request" | WHO=second snaprun handler
