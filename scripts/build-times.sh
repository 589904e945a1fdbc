#!/bin/sh
# How long things take to build, measured on this machine in a fresh clone of the last commit:
#
#     sh scripts/build-times.sh           a table in Markdown: the first build, `just bench`, a one-line change
#     sh scripts/build-times.sh --no-run  without the run (it needs Redis and Postgres)
#
# Takes as long as a newcomer waits, and a few minutes more. Worth something on idle cores only: wall time is what
# somebody waits, CPU time is what changes least with what else runs.
set -eu
cd "$(dirname "$0")/.."

run=yes
[ "${1:-}" != --no-run ] || run=

work=$(mktemp -d "${TMPDIR:-/tmp}/cacheproof-build-times.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
unset CARGO_TARGET_DIR

git clone --quiet --no-hardlinks . "$work/clone"
# The linker that scripts/setup.sh has chosen is part of what a newcomer has.
if [ -e .cargo/config.toml ]; then
    mkdir -p "$work/clone/.cargo"
    cp .cargo/config.toml "$work/clone/.cargo/config.toml"
fi
cd "$work/clone"
cargo fetch --locked --quiet # downloading is the network's time, not ours

# CPU seconds of all children that ended, into $used_so_far. Not in a subshell: that has children of its own.
cpu() {
    times >"$work/times"
    used_so_far=$(sed -n 2p "$work/times" | tr 'ms' '  ' | awk '{ printf "%.1f", $1 * 60 + $2 + $3 * 60 + $4 }')
}

rows=
# measure WHAT COMMAND…: its wall and CPU seconds, as a row and in $wall and $used.
measure() {
    what=$1
    shift
    printf 'build-times: %s\n' "$what" >&2
    begun=$(date +%s)
    cpu
    before=$used_so_far
    "$@" >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        exit 1
    }
    wall=$(($(date +%s) - begun))
    cpu
    used=$(awk "BEGIN { printf \"%.0f\", $used_so_far - $before }")
    row "$what" "$wall" "$used"
}
row() {
    rows="$rows
| $1 | $(($2 / 60)) min $(($2 % 60)) s | $3 |"
}

measure 'first `cargo build`' cargo build --locked --timings
first=$wall
first_used=$used
units=$(tr ',' '\n' <target/cargo-timings/cargo-timing.html | grep -c '"unblocked_rmeta_units"')
if [ -n "$run" ]; then
    measure 'the run and its report (`just bench`, built already)' just bench
    row '`just bench` in a fresh clone, in all' $((first + wall)) $((first_used + used))
fi

tests='cargo test --locked --quiet --package cacheproof-verdict'
if cargo nextest --version >/dev/null 2>&1; then tests='cargo nextest run --locked --package cacheproof-verdict'; fi
# shellcheck disable=SC2086 # the command is words
measure 'first `nextest run -p cacheproof-verdict`' $tests
change() {
    printf '\n/// Here to be measured.\npub fn build_times_%s() -> u32 {\n    %s\n}\n' "$1" "$1" >>crates/verdict/src/lib.rs
}
change 1
# shellcheck disable=SC2086
measure 'a changed line in `crates/verdict`: built and unit-tested' $tests
change 2
measure 'a changed line in `crates/verdict`: the program' cargo build --locked

printf '\n%s, %s cores, %s, %s units\n\n| what | wall | CPU seconds |\n| --- | --: | --: |%s\n' \
    "$(rustc --version)" "$(getconf _NPROCESSORS_ONLN)" \
    "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)" "$units" "$rows"
