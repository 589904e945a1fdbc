#!/usr/bin/env python3
"""An app with a cache that can mislead whoever measures it: python3 app.py PORT BEHAVIOUR

GET /items/N answers with the item {"id": N, "version": V}, PUT /items/N gives it the next version; /health is always well. Everything is
kept in memory. The class of a behaviour says what is wrong with it; `right` and `uses_redis` are as they should be.
"""
import contextlib
import http.server
import itertools
import json
import os
import random
import socket
import sys
import threading
import time
import types
import urllib.parse


class Answer:
    def __init__(self, body, cache=None, status=200, headers=(), kind="application/json"):
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.status, self.kind = status, kind
        self.headers = [*headers, *([("X-Cache", cache)] if cache else [])]


class Right:
    """A write invalidates, no-store bypasses, and every answer says where it came from."""

    one_at_a_time = True

    def __init__(self):
        self.source, self.cache = {}, {}

    def version(self, item):
        return self.source.get(item, 1)

    def item(self, item, version):
        return {"id": item, "version": version}

    def read(self, item, query, no_store):
        if no_store:
            return Answer(self.item(item, self.version(item)), "BYPASS")
        hit = item in self.cache
        return Answer(self.item(item, self.cache.setdefault(item, self.version(item))), "HIT" if hit else "MISS")

    def write(self, item):
        self.source[item] = self.version(item) + 1
        self.cache.pop(item, None)
        return Answer(self.item(item, self.source[item]))

    def update(self, item, body):
        return self.write(item)


class WritesToCacheOnly(Right):
    """A write changes the cached value, and the source never hears of it."""

    def write(self, item):
        self.cache[item] = self.cache.get(item, self.version(item)) + 1
        return Answer(self.item(item, self.cache[item]))


class KeepsTexts(Right):
    """Answers carry the text that was written last, and no version."""

    def version(self, item):
        return self.source.get(item, "as loaded")

    def item(self, item, version):
        return {"id": item, "text": version}

    def update(self, item, body):
        self.source[item] = json.loads(body)["text"]
        self.cache.pop(item, None)
        return Answer(self.item(item, self.source[item]))


class CreatesTexts(KeepsTexts):
    """The same, and POST /items creates an item with the next number."""

    created = itertools.count(1000)  # no item of the data has such a number

    def create(self, body):
        item = next(self.created)
        self.source[item] = json.loads(body)["text"]
        return Answer(self.item(item, self.source[item]), status=201)


class DropsCreated(CreatesTexts):
    """A created item is acknowledged and has an old text ever after."""

    def create(self, body):
        answer = super().create(body)
        self.source[json.loads(answer.body)["id"]] = "as loaded"
        return answer


class DropsTexts(KeepsTexts):
    """Each write is acknowledged with its text, and forgotten."""

    def update(self, item, body):
        return Answer(self.item(item, json.loads(body)["text"]))


class DropsSomeTexts(KeepsTexts):
    """One write in ten is acknowledged and forgotten."""

    count = itertools.count(1)

    def update(self, item, body):
        if next(self.count) % 10 == 0:
            return Answer(self.item(item, json.loads(body)["text"]))
        return super().update(item, body)


class NeverInvalidates(Right):
    def write(self, item):
        self.source[item] = self.version(item) + 1
        return Answer(self.item(item, self.source[item]))


class AcknowledgesFromCache(NeverInvalidates):
    """The answer to a write shows the cached object, so it never names a version that a read would have to have."""

    def write(self, item):
        super().write(item)
        return Answer(self.item(item, self.cache.setdefault(item, 1)))


class DropsWrites(Right):
    """Each write is acknowledged with the version that was there before, and forgotten."""

    def write(self, item):
        return Answer(self.item(item, self.version(item)))


class DropsWritesWithNewVersions(Right):
    """Each write is acknowledged with a new version, and forgotten."""

    counter = itertools.count(2)

    def write(self, item):
        return Answer(self.item(item, next(self.counter)))


class StaleWithoutVersion(NeverInvalidates):
    """Only what is stale lacks the version: it was cached in an older format."""

    def read(self, item, query, no_store):
        held = self.cache.setdefault(item, self.version(item))
        return Answer({"id": item} if held < self.version(item) else self.item(item, held), "HIT")


class OtherItem(Right):
    """After the first answers, each is of the next item."""

    served = itertools.count()

    def read(self, item, query, no_store):
        return Answer(self.item(item + (next(self.served) > 20), 1), "HIT")


class ErrorInBody(Right):
    """Status 200 and the right id, but an error instead of the item."""

    def read(self, item, query, no_store):
        return Answer({"id": item, "error": "database is down", "data": None}, "HIT")


class SaysOnlyHits(Right):
    """One answer in ten says HIT; the others are misses and say nothing."""

    def read(self, item, query, no_store):
        return Answer(self.item(item, 1), "HIT" if random.random() < 0.1 else None)


class BypassesMost(Right):
    """Nine answers in ten bypass the cache."""

    def read(self, item, query, no_store):
        return Answer(self.item(item, 1), random.choices(["BYPASS", "HIT", "MISS"], [90, 8, 2])[0])


class HasNothing(Right):
    """No item exists."""

    def read(self, item, query, no_store):
        return Answer({"error": "not found"}, status=404)


class ErrorPage(Right):
    """The same error page for every item, with status 200, and cached."""

    def read(self, item, query, no_store):
        return Answer(b"<html><h1>502 Bad Gateway</h1></html>", "HIT", kind="text/html")


class ErrorPageWithNumber(Right):
    """An error page with the number of the request in it."""

    number = itertools.count(1)

    def read(self, item, query, no_store):
        page = f"<html><title>Service Unavailable</title><p>Request {next(self.number)} failed.</p></html>"
        return Answer(page.encode(), "HIT", kind="text/html")


class SignInPage(Right):
    """A sign-in form with a token of its own for each answer."""

    def read(self, item, query, no_store):
        page = f'<html><title>Shop</title><form><input type="password"><input value="{random.random()}"></form></html>'
        return Answer(page.encode(), "HIT", kind="text/html")


class RedirectsToSignIn(Right):
    """Each read is redirected to a sign-in page, which is a hit."""

    def read(self, item, query, no_store):
        return Answer(b"", "HIT", status=302, headers=[("Location", "/items/sign-in")])


class RedirectsElsewhere(Right):
    """Each read is redirected to another host name."""

    def read(self, item, query, no_store):
        return Answer(b"", status=302, headers=[("Location", f"http://localhost:{PORT}/items/{item}")])


class WithoutVersions(Right):
    """Answers carry a text and no version; the cache is right."""

    def item(self, item, version):
        return {"id": item, "text": f"text {version}"}


class IgnoresBypass(WithoutVersions):
    """Caches for ever and ignores no-store; answers carry no version."""

    def read(self, item, query, no_store):
        return super().read(item, query, False)

    def write(self, item):
        self.source[item] = self.version(item) + 1
        return Answer({"id": item})


class SilentIgnoresBypass(IgnoresBypass):
    """The same, and no answer says where it came from."""

    def read(self, item, query, no_store):
        answer = super().read(item, query, no_store)
        answer.headers = []
        return answer


class DropsSilently(Right):
    """Each write is answered with 204, and forgotten."""

    def write(self, item):
        return Answer(b"", status=204)


class AnswersNull(Right):
    """Status 200 and nothing but null for every item, and cached."""

    def read(self, item, query, no_store):
        return Answer({"data": None}, "HIT")


class BypassIsHit(Right):
    """Says HIT on every read, also past the cache."""

    def read(self, item, query, no_store):
        return Answer(self.item(item, self.version(item)), "HIT")


class CachesBypass(Right):
    """The query is a part of the cache's key: what a bypass query asked for is kept and served again."""

    def read(self, item, query, no_store):
        hit = (item, query) in self.cache
        version = self.cache.setdefault((item, query), self.version(item))
        return Answer(self.item(item, version), "HIT" if hit else "MISS")


class SilentWithoutRedis(Right):
    """Does not use Redis, and does not say where answers come from."""

    def read(self, item, query, no_store):
        return Answer(self.item(item, self.version(item)))


class UsesRedis(Right):
    """Cache-aside through Redis; without it, from the source at once."""

    one_at_a_time = False

    def __init__(self):
        super().__init__()
        self.url = urllib.parse.urlsplit(os.environ["REDIS_URL"])
        self.local = threading.local()
        self.lock = threading.Lock()

    def command(self, *words):
        if getattr(self.local, "stream", None) is None:
            connection = socket.create_connection((self.url.hostname, self.url.port), timeout=0.05)
            self.local.stream = connection.makefile("rwb")
            if self.url.password:
                self.exchange("AUTH", self.url.password)
        return self.exchange(*words)

    def exchange(self, *words):
        parts = [str(word).encode() for word in words]
        stream = self.local.stream
        stream.write(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
        stream.flush()
        head = stream.readline()
        if not head:
            raise ConnectionError("closed")
        if head[:1] == b"$" and int(head[1:]) >= 0:
            return stream.read(int(head[1:]) + 2)[:-2].decode()
        return None

    def ask(self, *words):
        """Whether Redis answered, and what."""
        try:
            return True, self.command(*words)
        except OSError:
            self.local.stream = None
            return False, None

    def read(self, item, query, no_store):
        answered, held = self.ask("GET", f"item:{item}")
        if not answered:
            return Answer(self.item(item, self.version(item)), headers=[("Cache-Status", "app; fwd=bypass; detail=fallback")])
        if held is None:
            held = self.version(item)
            self.ask("SET", f"item:{item}", held, "EX", 30)
            return Answer(self.item(item, held), headers=[("Cache-Status", "app; fwd=miss")])
        return Answer(self.item(item, int(held)), headers=[("Cache-Status", "app; hit")])

    def write(self, item):
        with self.lock:
            version = self.source[item] = self.version(item) + 1
        self.ask("DEL", f"item:{item}")
        return Answer(self.item(item, version))


class RefusedByRedis(UsesRedis):
    """Redis answers each of its commands with an error, as it does one without a password. So every read is a miss."""

    def exchange(self, *words):
        return super().exchange("NOT-A-COMMAND", *words)


class OneConnection(UsesRedis):
    """All requests share one connection to Redis, as with a multiplexing client."""

    def __init__(self):
        super().__init__()
        self.local = types.SimpleNamespace()
        self.one_by_one = threading.Lock()

    def ask(self, *words):
        with self.one_by_one:
            return super().ask(*words)


class NeverRecovers(UsesRedis):
    """Once Redis has not answered, neither does the app."""

    broken = False

    def ask(self, *words):
        answered, held = super().ask(*words)
        self.broken = self.broken or not answered
        return answered, held

    def read(self, item, query, no_store):
        if self.broken:
            return Answer({"error": "no connection in the pool"}, status=500)
        return super().read(item, query, no_store)


class SilentRedis(UsesRedis):
    """Uses Redis, honours no-store, and does not say where answers come from. Its source takes 10 ms, as a database may."""

    def version(self, item):
        time.sleep(0.01)
        return super().version(item)

    def read(self, item, query, no_store):
        if no_store:
            return Answer(self.item(item, self.version(item)))
        answer = super().read(item, query, False)
        answer.headers = []
        return answer


class IgnoresBypassWithRedis(SilentRedis):
    """The same, but ignores no-store."""

    def read(self, item, query, no_store):
        return super().read(item, query, False)


class LooksTwiceAtHits(IgnoresBypassWithRedis):
    """The same, and asks of each hit whether it is time to load it again. So hits cost more look-ups than misses."""

    def ask(self, *words):
        answered, held = super().ask(*words)
        if words[0] == "GET" and held is not None:
            super().ask("TTL", words[1])
            super().ask("EXISTS", words[1])
        return answered, held


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        path, _, query = self.path.partition("?")
        last = path.rsplit("/", 1)[-1]
        item = int(last) if last.isdigit() else 0
        if path == "/health":
            answer = Answer({"ok": True})
        else:
            with LOCK if APP.one_at_a_time else contextlib.nullcontext():
                if self.command == "GET":
                    answer = APP.read(item, query, "no-store" in (self.headers["Cache-Control"] or ""))
                else:
                    answer = APP.create(body) if self.command == "POST" else APP.update(item, body)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_PUT = do_POST = reply

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def behaviours(base=Right):
    yield base
    for one in base.__subclasses__():
        yield from behaviours(one)


if __name__ == "__main__":
    named = {"".join("_" + c.lower() if c.isupper() else c for c in one.__name__)[1:]: one for one in behaviours()}
    if len(sys.argv) != 3 or sys.argv[2] not in named:
        sys.exit("usage: app.py PORT BEHAVIOUR, which is one of " + ", ".join(named))
    PORT, APP, LOCK = int(sys.argv[1]), named[sys.argv[2]](), threading.Lock()
    Server(("127.0.0.1", PORT), Handler).serve_forever()
