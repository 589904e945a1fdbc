# The image of a release: the static program, and the authorities that TLS trusts. Built by .github/workflows/release.yml
# from a directory of programs, one a machine; nothing is executed for the target, so that either machine can be built on
# the other. To build from source instead: the Dockerfile beside Cargo.toml.
FROM --platform=$BUILDPLATFORM debian:bookworm-slim AS certificates
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*

FROM scratch
ARG TARGETARCH
COPY --from=certificates /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY cacheproof-${TARGETARCH} /cacheproof
USER 10001
EXPOSE 8080
ENTRYPOINT ["/cacheproof"]
CMD ["serve"]
