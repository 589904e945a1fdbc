#!/bin/sh
# Prints the release notes of a version: its section of CHANGELOG.md.
#
#     sh scripts/release-notes.sh 0.1.0
#
# Fails if there is no such section, or if Cargo.toml has another version.
set -eu
cd "$(dirname "$0")/.."

version=${1:?which version? release-notes.sh 0.1.0}
ours=$(sed -n '/^\[workspace.package\]/,/^\[workspace.lints/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
if [ "$version" != "$ours" ]; then
    echo "release-notes: Cargo.toml has version $ours, not $version" >&2
    exit 1
fi
awk -v heading="## [$version]" '
    index($0, heading) == 1 { found = 1; next }
    found && (/^## / || /^\[[^]]*\]: /) { exit }
    # Leaves out empty lines at both ends.
    found && /^$/ { gap = gap "\n"; next }
    found { printf "%s%s\n", told ? gap : "", $0; gap = ""; told = 1 }
    END { exit !told }
' CHANGELOG.md || {
    echo "release-notes: CHANGELOG.md has no section \"## [$version]\" with something in it" >&2
    exit 1
}
