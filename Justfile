# The commands of this repository. `just` without arguments lists them.

scenario := "scenarios/story-3.1.toml"

_default:
    @just --list --unsorted

# Install what is missing (redis-server, postgresql, a linker…)
setup:
    sh scripts/setup.sh

# The main job: prove story 3.1 on a real Redis and Postgres, and write reports/latest
bench *ARGS:
    cargo build
    cargo run --quiet -- run {{scenario}} {{ARGS}}

# All tests, on real servers; containers too where Docker answers
test *ARGS:
    cargo nextest run --workspace {{ARGS}}
    cargo test --workspace --doc --quiet

# The fault tour: every fault against the reference deployment, on one page
chaos *ARGS:
    cargo build
    sh scripts/chaos.sh {{ARGS}}

# Line coverage of the cache layer and the reference app, into target/coverage; each must have 85 %
coverage *ARGS:
    sh scripts/coverage.sh {{ARGS}}

# What CI asks of the code: format, who imports whom, lints
lint:
    python3 scripts/check-imports.py --self-test
    python3 scripts/check-imports.py
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- --deny warnings
    cargo clippy --package cache-layer --no-default-features -- --deny warnings

# Measurements need optimised crates of our own; with these settings no dependency is built again.
measured := "CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_OPT_LEVEL=3"

# Micro-benchmarks: the recorder, and the cache layer (release build) compared with bare clients; ends with a table of ratios and limits
micro *ARGS:
    {{measured}} cargo bench --profile dev --bench recorder -- {{ARGS}}
    cargo bench --package cache-layer --benches -- {{ARGS}}
    cargo run --quiet --release --package cache-layer --example overhead

# What the proxy adds to a round trip, and how exact its delay is
proxy-cost:
    {{measured}} cargo run --quiet --example proxy_cost

# The table of planted defects: each must be caught by its rule, and the healthy app must pass 20 of 20 runs; or only the named defects
defects *ARGS:
    cargo build --workspace --bins
    cargo run --quiet --package defective-app --bin defects -- {{ARGS}}

# The reference app alone, on the servers in DATABASE_URL and REDIS_URL
serve *ARGS:
    cargo build
    cargo run --quiet -- serve {{ARGS}}
