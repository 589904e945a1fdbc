#!/bin/sh
# Runs the tests of `just test` with line coverage of the cache layer and the reference app. Fails where a test fails, or where one of the
# two crates is below its limit:
#
#     just coverage
#     just coverage --profile all            (further arguments go to cargo-nextest)
#
# Writes lcov.info and html/ to target/coverage. Only the crates of the workspace are compiled again (see count-lines.sh), and each test runs
# once. Needs llvm-profdata and llvm-cov of the LLVM version that rustc has.
set -eu
cd "$(dirname "$0")/.."

counted="cache-layer reference-app"
out=$PWD/target/coverage

# ---- the tools ----------------------------------------------------------------------------------------------------

host=$(rustc -vV | sed -n 's/^host: //p')
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')

# Prints the directory of the tools: rustup's component llvm-tools, or a package of the system.
tools() {
    for place in "$(rustc --print sysroot)/lib/rustlib/$host/bin" "/usr/lib/llvm-$llvm/bin"; do
        if [ -x "$place/llvm-cov" ] && [ -x "$place/llvm-profdata" ]; then
            printf '%s\n' "$place"
            return
        fi
    done
    return 1
}

if ! tools >/dev/null; then
    echo "coverage: installing LLVM's tools, version $llvm"
    rustup component add llvm-tools >/dev/null 2>&1 || {
        sudo=
        if [ "$(id -u)" != 0 ]; then sudo=sudo; fi
        $sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y --no-install-recommends "llvm-$llvm" >/dev/null
    } || true
fi
tools=$(tools) || {
    echo "coverage: llvm-cov and llvm-profdata of version $llvm are missing: rustup component add llvm-tools, or install llvm-$llvm"
    exit 1
}

# ---- the tests ----------------------------------------------------------------------------------------------------

rm -rf "$out"
mkdir -p "$out"
export RUSTC_WORKSPACE_WRAPPER="$PWD/scripts/count-lines.sh"
# %8m: the processes of a program share eight files of counts. A process that is killed writes no counts.
LLVM_PROFILE_FILE="$out/counts/%8m.profraw" cargo nextest run --workspace "$@"
cargo test --workspace --doc --quiet

# ---- the lines ----------------------------------------------------------------------------------------------------

# The test programs of the measured crates. They map counts to lines.
programs=""
for package in $counted; do
    found=$(cargo nextest list --workspace --list-type binaries-only --message-format json --filterset "package($package)" |
        tr ',{' '\n\n' | sed -n 's/^"binary-path":"\(.*\)"$/\1/p')
    for program in $found; do programs="$programs --object $program"; done
done

"$tools/llvm-profdata" merge --sparse --output "$out/counts.profdata" "$out"/counts/*.profraw
sources=""
for package in $counted; do sources="$sources $PWD/crates/$package/src"; done
# shellcheck disable=SC2086 # lists of words
"$tools/llvm-cov" export --format=lcov --instr-profile "$out/counts.profdata" $programs --sources $sources >"$out/lcov.info"
# shellcheck disable=SC2086
"$tools/llvm-cov" show --format=html --output-dir "$out/html" --instr-profile "$out/counts.profdata" $programs --sources $sources
rm -rf "$out/counts"

# Each crate on its own has enough. Its result is in target/nextest/coverage/junit.xml: it proves a criterion of story 3.1.
cargo nextest run -p cacheproof --test it --profile coverage --success-output immediate
