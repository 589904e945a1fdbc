#!/usr/bin/env bash
# coverage.sh sets this as cargo's RUSTC_WORKSPACE_WRAPPER: cargo runs it in place of rustc for the crates of the workspace. It calls rustc, and
# turns on coverage for the crates that are measured.
# bash, because dash drops variables with a hyphen in their name, such as CARGO_BIN_EXE_defective-app.
case $CARGO_PKG_NAME in
cache-layer | reference-app) exec "$@" -Cinstrument-coverage ;;
*) exec "$@" ;;
esac
