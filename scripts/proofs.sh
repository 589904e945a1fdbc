#!/bin/sh
# Prints `--proofs FILE` for each JUnit file that `just test`, `just test-all` or `just coverage` wrote (.config/nextest.toml). Nothing where
# no tests were run: then the criteria that tests prove are claimed, no more.
for file in target/nextest/*/junit.xml; do
    if [ -f "$file" ]; then printf -- '--proofs %s ' "$file"; fi
done
