# The cacheproof program, and with `serve` the reference app.
FROM rust:1-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc g++ make cmake libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --locked --release --bin cacheproof

FROM debian:bookworm-slim
# The authorities that rediss:// trusts where no REDIS_CA_FILE is given.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --no-create-home app
COPY --from=build /src/target/release/cacheproof /usr/local/bin/cacheproof
USER app
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/cacheproof"]
CMD ["serve"]
