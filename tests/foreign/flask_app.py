"""A cache-aside app as many are: Flask, redis-py, a lock for each item, and the source when Redis does not answer."""
import collections
import os
import threading
import time

import flask
import redis

app = flask.Flask(__name__)
cache = redis.Redis.from_url(os.environ["REDIS_URL"], socket_timeout=0.1, socket_connect_timeout=0.1)
versions = collections.defaultdict(lambda: 1)
locks = collections.defaultdict(threading.Lock)


def load(item):
    time.sleep(0.004)  # what a database would take
    return versions[item]


def answer(item, version, status):
    response = flask.jsonify(id=item, version=version)
    response.headers["Cache-Status"] = f"flask; {status}"
    return response


@app.get("/health")
def health():
    return {"ok": True}


@app.get("/items/<int:item>")
def read(item):
    if "no-store" in flask.request.headers.get("Cache-Control", ""):
        return answer(item, load(item), "fwd=bypass")
    try:
        held = cache.get(f"item:{item}")
        if held is not None:
            return answer(item, int(held), "hit")
        with locks[item]:
            version = load(item)
            cache.set(f"item:{item}", version, ex=60)
        return answer(item, version, "fwd=miss")
    except redis.RedisError:
        return answer(item, load(item), "fwd=bypass; detail=fallback")


@app.put("/items/<int:item>")
def write(item):
    with locks[item]:
        version = versions[item] = versions[item] + 1
        try:
            cache.delete(f"item:{item}")
        except redis.RedisError:
            pass  # what Redis held is gone with it
    return answer(item, version, "fwd=method")
