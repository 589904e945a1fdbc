#!/bin/sh
# Starts an app in Python on a free port, and varnishd in front of it on port $1; both use directory $2.
set -eu
port=$1
dir=$2
here=$(dirname "$0")
mkdir -p "$dir/varnish"
python3 "$here/origin.py" "$dir/varnish/port" &
origin=$!
trap 'kill $origin 2>/dev/null' EXIT
until [ -s "$dir/varnish/port" ]; do
    kill -0 $origin
    sleep 0.05
done
sed "s|@ORIGIN@|$(cat "$dir/varnish/port")|" "$here/default.vcl" >"$dir/varnish/default.vcl"
PATH=$PATH:/usr/sbin
varnishd -F -n "$dir/varnish/state" -a "127.0.0.1:$port" -f "$dir/varnish/default.vcl" -s malloc,32m &
varnish=$!
trap 'kill $varnish $origin 2>/dev/null' EXIT TERM INT
wait $varnish
