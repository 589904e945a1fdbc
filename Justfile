# The commands of this repository. `just` without arguments lists them.

scenario := "scenarios/story-3.1.toml"

_default:
    @just --list --unsorted

# Install what is missing (redis-server, postgresql, a linker…)
setup:
    sh scripts/setup.sh

# The main job: prove story 3.1 on a real Redis and Postgres, and write reports/latest. With the results of `just test`, if there are any
bench *ARGS:
    cargo build
    cargo run --quiet -- run {{scenario}} $(sh scripts/proofs.sh) {{ARGS}}

# The tests, on real servers; containers too where Docker answers. One test of each slow kind: the others are in `just test-all`
test *ARGS:
    cargo nextest run --workspace {{ARGS}}
    cargo test --workspace --doc --quiet

# All tests, the slow ones too. Must pass before an issue is closed
test-all *ARGS:
    cargo nextest run --workspace --profile all {{ARGS}}
    cargo test --workspace --doc --quiet

# All five stories, and one page over them; with --attach also docs/stories. With the results of `just test-all`, if there are any
stories *ARGS:
    cargo build
    sh scripts/stories.sh {{ARGS}}

# The fault tour: every fault against the reference deployment, on one page
chaos *ARGS:
    cargo build
    sh scripts/chaos.sh {{ARGS}}

# The tests of `just test` with line coverage of the cache layer and the reference app; fails where one of them is below 85 %
coverage *ARGS:
    sh scripts/coverage.sh {{ARGS}}

# Format, clippy, imports, documentation, licences and sources of dependencies, packaging
lint:
    python3 scripts/check-imports.py --self-test
    python3 scripts/check-imports.py
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- --deny warnings
    cargo clippy --package cache-layer --no-default-features -- --deny warnings
    RUSTDOCFLAGS="--deny warnings" cargo doc --workspace --no-deps --quiet
    if cargo deny --version >/dev/null 2>&1; then cargo deny --log-level error --locked check licenses bans sources; else echo "lint: cargo-deny is not installed; the tests workspace:: check licences and sources"; fi
    cargo publish --workspace --dry-run --no-verify --allow-dirty --quiet

# Micro-benchmarks (release builds): the recorder, and the cache layer compared with bare clients; ends with a table of ratios and limits
micro *ARGS:
    cargo bench --package cacheproof-load --bench recorder -- {{ARGS}}
    cargo bench --package cache-layer --benches -- {{ARGS}}
    cargo run --quiet --release --package cache-layer --example overhead

# What the proxy adds to a round trip, and how exact its delay is (release build)
proxy-cost:
    cargo run --quiet --release --package cacheproof-proxy --example proxy_cost

# The table of planted defects: each must be caught by its rule, and the healthy app must pass 20 of 20 runs; or only the named defects
defects *ARGS:
    cargo build --workspace --bins
    cargo run --quiet --package defective-app --bin defects -- {{ARGS}}

# The table of misleading apps: none of them may pass, and the right ones must
honesty *ARGS:
    cargo build
    python3 scripts/honesty.py {{ARGS}}

# Healthy deployments that are not ours, which must pass: nginx, Varnish, Flask with Redis; or only the named ones
foreign-stacks *ARGS:
    cargo build
    sh scripts/foreign-stacks.sh {{ARGS}}

# Kill cacheproof, and cacheproof with its guard, at random moments of a run (COUNT SEED); nothing may be left
kill-test *ARGS:
    cargo build
    python3 scripts/kill-test.py {{ARGS}}

# Changes inputs at random for so many seconds: TARGET is scenario, rule, journal, ledger, cache-status or attach. With a file instead of
# SECONDS it tries that input
fuzz TARGET="" SECONDS="" SEED="":
    cargo run --quiet --package cacheproof-fuzz --bin fuzz -- {{TARGET}} {{SECONDS}} {{SEED}}

# The reference app alone, on the servers in DATABASE_URL and REDIS_URL
serve *ARGS:
    cargo build
    cargo run --quiet -- serve {{ARGS}}

# How long the first build, `just bench` in a fresh clone and a one-line change take on this machine, as a table
build-times *ARGS:
    sh scripts/build-times.sh {{ARGS}}
