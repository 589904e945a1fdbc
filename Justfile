# The commands of the house. `just` alone lists them.

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

# What CI asks of the code
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- --deny warnings

# Micro-benchmarks: the recorder, and the cache layer's hit path beside a bare client
micro *ARGS:
    cargo bench --bench recorder -- {{ARGS}}
    cargo bench --package cache-layer --bench hit_path -- {{ARGS}}

# The reference app by itself, on the servers in DATABASE_URL and REDIS_URL
serve *ARGS:
    cargo build
    cargo run --quiet -- serve {{ARGS}}
