#!/bin/sh
# Starts tests/foreign/flask_app.py under gunicorn on port $1. scripts/foreign-stacks.sh installs both.
set -eu
cd "$(dirname "$0")"
exec ../../target/foreign/bin/gunicorn --bind "127.0.0.1:$1" --workers 1 --threads 16 --worker-tmp-dir /dev/shm --log-level warning flask_app:app
