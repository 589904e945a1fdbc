#!/bin/sh
# The fault tour: every fault against the reference deployment, then what only a Cluster has, and one page over both:
#
#     just chaos
#     just chaos --set traffic.rate=500/s         (further arguments go to each run)
#     just chaos --reports elsewhere              (the page is written there, too)
#
# Ends with the worst exit code of the runs.
set -u
cd "$(dirname "$0")/.."

program=${CACHEPROOF:-target/debug/cacheproof}
reports=reports
before=""
for argument in "$@"; do
    case $before in --reports) reports=$argument ;; esac
    case $argument in --reports=*) reports=${argument#--reports=} ;; esac
    before=$argument
done

# The newest run of a scenario that has a report: names begin with the time.
newest() {
    last=""
    for run in "$reports"/*Z-"$1" "$reports"/*Z-"$1"-[0-9]*; do
        if [ -e "$run/report.html" ]; then
            case $(printf '%s\n%s\n' "$last" "$run" | LC_ALL=C sort | tail -n 1) in "$run") last=$run ;; esac
        fi
    done
    printf '%s\n' "$last"
}

worst=0
first=""
second=""
for name in fault-tour fault-tour-cluster; do
    old=$(newest "$name")
    "$program" run "scenarios/$name.toml" "$@"
    code=$?
    run=$(newest "$name")
    case $code in
        0) ;;
        1) worst=1 ;;
        4) [ "$worst" -ne 0 ] || worst=4 ;;
        3)
            # Nothing was measured: nothing to go on with, and no run to show. One that broke off has a report.
            [ "$run" != "$old" ] || exit 3
            [ "$worst" -eq 1 ] || worst=3
            ;;
        *) exit $code ;;
    esac
    if [ -z "$first" ]; then first=$run; else second=$run; fi
done

"$program" report ${first:+"$first"} ${second:+"$second"} --together "$reports/fault-tour.html" >/dev/null || exit $?
echo "  All faults on one page: $reports/fault-tour.html"
exit "$worst"
