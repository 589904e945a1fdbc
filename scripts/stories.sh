#!/bin/sh
# The five stories, one run each, and one page over all:
#
#     just stories
#     just stories --attach                            (also writes the results into docs/stories)
#     just stories --set stack.redis.provider=local    (further arguments go to each run)
#
# Ends with the worst exit code of the runs.
cd "$(dirname "$0")/.." || exit 1
attach=""
if [ "${1:-}" = --attach ]; then
    attach=--attach
    shift
fi
# shellcheck disable=SC2046,SC2086 # several words, or none
exec python3 scripts/several.py $attach stories story-3.1 patterns http-caching fr-perf-404 relay-posts -- $(sh scripts/proofs.sh) "$@"
