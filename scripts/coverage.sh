#!/bin/sh
# Line coverage of the cache layer and the reference app; fails where one of them has less than it must:
#
#     just coverage
#     just coverage --skip races::        (further arguments go to the tests)
#
# Writes lcov.info, cobertura.xml and tarpaulin-report.html to target/coverage. Built there, too: neither build
# disturbs the artifacts of the other. Programs that count for themselves run almost as fast as others; under ptrace, which
# stops them at each line, tests ran that much slower that waiting times meant something else. tarpaulin reads the counts
# itself: no llvm-tools are needed.
set -eu
cd "$(dirname "$0")/.."

# Only this needs cargo-tarpaulin, so it is installed here and not for every newcomer. Without the default features, which
# upload reports and read coverage out of wasm, it builds neither OpenSSL nor libgit2.
if ! cargo tarpaulin --version >/dev/null 2>&1; then
    echo "coverage: building cargo-tarpaulin with cargo (a few minutes)"
    cargo install --locked --quiet --no-default-features cargo-tarpaulin
fi

at_least=85 # per cent of the lines, of each crate
packages="cache-layer reference-app"
out=target/coverage

# Tests that are left out: searches of state spaces, which take many minutes unoptimised and run the model, not the crates.
skip="--skip model::"

# --include-files: without it the harness counts too, with not a line covered.
# --timeout: seconds that a whole test program may take, with one test at a time.
# -Cdebuginfo=0: the counts need none; tarpaulin lets the first of two such flags win.
# shellcheck disable=SC2086 # lists of words
cargo tarpaulin --engine llvm --profile coverage --target-dir "$out/build" --output-dir "$out" --skip-clean --locked \
    --packages $packages --all-features --tests --rustflags=-Cdebuginfo=0 \
    --include-files 'crates/cache-layer/src/*' 'crates/reference-app/src/*' \
    --no-fail-fast --timeout 3600 --out Lcov Xml Html -- $skip "$@"

# A sum over both would let a large crate hide a small one.
for package in $packages; do
    awk -F: -v package="$package" -v at_least="$at_least" '
        $1 == "SF" { ours = index($2, "crates/" package "/") }
        ours && $1 == "DA" { split($2, hit, ","); lines++; if (hit[2] > 0) covered++ }
        END {
            if (!lines) { print "coverage: no line of " package " in the report"; exit 1 }
            share = 100 * covered / lines
            printf "coverage: %s %.1f %% of %d lines\n", package, share, lines
            if (share < at_least) { print "coverage: " package " must have " at_least " % or more"; exit 1 }
        }' "$out/lcov.info"
done
