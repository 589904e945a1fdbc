#!/bin/sh
# How long things take to build, measured on this machine in a fresh clone:
#
#     sh scripts/build-times.sh           a table in Markdown: the first build, `just bench`, a one-line change
#     sh scripts/build-times.sh --no-run  without the run (it needs Redis and Postgres)
#     sh scripts/build-times.sh COMMIT    of this commit, to compare two; default: the last one
#
# Takes as long as a newcomer waits, and a few minutes more. Worth something on idle cores only: wall time is what
# somebody waits, CPU time is what changes least with what else runs.
set -eu
cd "$(dirname "$0")/.."

run=yes
commit=HEAD
for argument in "$@"; do
    case $argument in
        --no-run) run= ;;
        -*) printf 'build-times: unknown option %s; see the head of the script\n' "$argument" >&2 && exit 2 ;;
        *) commit=$argument ;;
    esac
done
commit=$(git rev-parse --verify --short "$commit^{commit}")

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
git checkout --quiet --detach "$commit"
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

# Where the verdict is in this commit: a crate of its own, or a folder of the program as in the first commits.
changed=crates/verdict/src/lib.rs
[ -e "$changed" ] || changed=src/verdict/mod.rs
tests=
if [ "$changed" = crates/verdict/src/lib.rs ]; then
    tests='cargo test --locked --quiet --package cacheproof-verdict'
    if cargo nextest --version >/dev/null 2>&1; then tests='cargo nextest run --locked --package cacheproof-verdict'; fi
    # shellcheck disable=SC2086 # the command is words
    measure 'first `nextest run -p cacheproof-verdict`' $tests
fi
change() {
    printf '\n/// Here to be measured.\npub fn build_times_%s() -> u32 {\n    %s\n}\n' "$1" "$1" >>"$changed"
}
change 1
measure 'a changed line of the verdict: the program' cargo build --locked
if [ -n "$tests" ]; then
    change 2
    # shellcheck disable=SC2086
    measure 'a changed line of the verdict: built and unit-tested' $tests
fi

printf '\ncommit %s, %s, %s cores, %s, %s units\n\n| what | wall | CPU seconds |\n| --- | --: | --: |%s\n' \
    "$commit" "$(rustc --version)" "$(getconf _NPROCESSORS_ONLN)" \
    "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)" "$units" "$rows"
