#!/bin/sh
# The fault tour: every fault against the reference deployment, then what only a Cluster has, and one page over both:
#
#     just chaos
#     just chaos --set traffic.rate=500/s         (further arguments go to each run)
#     just chaos --reports elsewhere              (the page is written there, too)
#
# Ends with the worst exit code of the runs.
exec python3 "$(dirname "$0")/several.py" fault-tour fault-tour fault-tour-cluster -- "$@"
