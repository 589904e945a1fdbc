#!/bin/sh
# Healthy deployments that are not ours: each must pass. nginx with proxy_cache, Varnish with words of its own in its VCL, and Flask with Redis.
#
#     just foreign-stacks           all three
#     just foreign-stacks varnish   one of nginx, varnish, flask
#
# Needs nginx, varnishd, redis-server and python3 with venv; installs Flask, redis-py and gunicorn below target/foreign.
set -u
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin

flask() {
    [ -x target/foreign/bin/gunicorn ] && return
    python3 -m venv target/foreign && target/foreign/bin/pip install --quiet flask redis gunicorn
}
lacks() {
    echo "foreign-stacks: $1 is missing: install it, or name the stacks to run" >&2
    exit 2
}

[ $# -gt 0 ] || set -- nginx varnish flask
wrong=0
for stack in "$@"; do
    case $stack in
    nginx) scenario=tests/scenarios/nginx.toml && command -v nginx >/dev/null || lacks nginx ;;
    varnish) scenario=tests/foreign/varnish.toml && command -v varnishd >/dev/null || lacks varnishd ;;
    flask) scenario=tests/foreign/flask.toml && flask || lacks "Flask (pip could not install it)" ;;
    *) echo "foreign-stacks: no stack $stack: nginx, varnish or flask" >&2 && exit 2 ;;
    esac
    target/debug/cacheproof run "$scenario" --reports target/foreign-reports </dev/null
    code=$?
    echo "foreign-stacks: $stack ended with $code"
    [ $code = 0 ] || wrong=$((wrong + 1))
done
echo "foreign-stacks: $wrong of $# did not pass"
[ $wrong = 0 ]
