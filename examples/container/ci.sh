#!/bin/sh
# A job of a CI system, in an ordinary container with python3: makes the snapshot, tries it, and prints its answer. With
# IMAGE set, it pushes the snapshot there; snaprepo reads the registry's credentials as container engines do.
# snapshotter, snapboot, snaprun and snaprepo must be in the search path.
set -eu
cd "$(dirname "$0")"
export SNAPFN_STORE="${SNAPFN_STORE:-/tmp/store}"
snapshotter create --tag fn --at ready -- python3 -B handler.py >&2
[ -z "${IMAGE:-}" ] || snaprepo push fn "$IMAGE" >&2
exec snaprun fn "$@"
