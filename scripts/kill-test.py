#!/usr/bin/env python3
"""Kills cacheproof at random moments of a short run and looks for what is left: scripts/kill-test.py [COUNT [SEED [CACHEPROOF]]]

In turn kill -9 hits cacheproof alone, after which its guard cleans up, and cacheproof and its guard at once, after which `cacheproof
recover` does. The moments are spread over the whole run: start of the servers, start of the app, load, faults, clean-up. The app is a shell
with a server that forks a worker, a process in a session of its own, and one with an empty environment.

What is left is found by other means than cacheproof's: a mark in the environment, which every process inherits, or in the arguments, and
the temporary directory. Ends with 0 if nothing was left in any round.
"""
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
APP = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = b'{"id": 1}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
if os.fork():
    os.wait()
    sys.exit()
server.serve_forever()
"""
SCENARIO = """title = "To be killed"
[stack.redis]
provider = "local"
[target]
kind = "http"
start = ["sh", "-c", "setsid sleep 9999.{mark} & env -i PATH=$PATH sleep 9999.{mark} & python3 {app} $PORT; true"]
[data]
items = 10
[traffic]
rate = "40/s"
[[traffic.request]]
name = "read"
get = "/items/{{item}}"
[[phase]]
name = "steady"
lasts = "1s"
[[phase]]
name = "broken"
lasts = "3s"
faults = [
    {{ pause = "redis", after = "200ms", lasts = "1s" }},
    {{ run = "touch {broken}", undo = "rm -f {broken}", after = "500ms", lasts = "1s" }},
    {{ pause = "app", after = "1800ms", lasts = "500ms" }},
]
[[criterion]]
says = "It answers"
rules = ["requests > 0"]
"""


class Round:
    def __init__(self, cacheproof):
        self.cacheproof = cacheproof
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="kill-test-"))
        # So that servers that run as another user can reach it.
        self.directory.chmod(0o755)
        self.mark = str(random.SystemRandom().randrange(10**11, 10**12))
        self.environment = {**os.environ, "TMPDIR": str(self.directory), "KILL_TEST": self.mark}
        self.reports, self.broken = self.directory / "reports", self.directory / "broken"
        app, scenario = self.directory / "app.py", self.directory / "scenario.toml"
        app.write_text(APP)
        scenario.write_text(SCENARIO.format(mark=self.mark, app=app, broken=self.broken))
        command = [cacheproof, "run", str(scenario), "--reports", str(self.reports)]
        out = open(self.directory / "said", "w")
        self.process = subprocess.Popen(
            command, env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )

    def processes(self):
        """Number and command of every process of this round."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                words = (entry / "cmdline").read_bytes()
                marked = self.mark.encode() in words or self.mark.encode() in (entry / "environ").read_bytes()
                if state not in "ZX" and (marked or os.readlink(entry / "cwd").startswith(str(self.directory))):
                    found.append((int(entry.name), words.replace(b"\0", b" ").decode(errors="replace").strip()))
            except OSError:
                pass
        return found

    def guard(self):
        found = [pid for pid, command in self.processes() if " guard " in command + " "]
        return found[0] if found else None

    def left(self):
        directories = [str(path) for path in self.directory.glob("cacheproof-*")]
        broken = [f"the fault's effect, {self.broken}"] if self.broken.exists() else []
        return [f"{pid} {command}" for pid, command in self.processes()] + directories + broken

    def wait_until_nothing_is_left(self, seconds):
        until = time.time() + seconds
        while (left := self.left()) and time.time() < until:
            time.sleep(0.05)
        return left

    def recover(self):
        if not self.reports.is_dir():
            return 0, ""
        command = [self.cacheproof, "recover", str(self.reports)]
        out = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        return out.returncode, " ".join((out.stdout + out.stderr).split())

    def end(self):
        for pid, _ in self.processes():
            for number in (signal.SIGCONT, signal.SIGKILL):
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def one_round(cacheproof, both, moment):
    """What was left, and what recover said; None when the run was over before."""
    this = Round(cacheproof)
    try:
        time.sleep(moment)
        if this.process.poll() is not None:
            left = this.left()
            return (left, "the run had ended by itself") if left else None
        guard = this.guard() if both else None
        if guard:
            kill(guard)
        kill(this.process.pid)
        this.process.wait()
        if both:
            code, said = this.recover()
            left = this.left()
            if code != 0:
                left.append(f"recover ended with {code}")
            return left, said
        # The guard, and at last recover, which must find nothing more to do.
        left = this.wait_until_nothing_is_left(20)
        code, said = this.recover()
        if code != 0:
            left.append(f"recover ended with {code}")
        return left, said
    finally:
        this.end()


def main():
    if len(sys.argv) > 4 or any(not word.isdigit() for word in sys.argv[1:3]):
        sys.exit(__doc__)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    cacheproof = str(pathlib.Path(sys.argv[3] if len(sys.argv) > 3 else ROOT / "target/debug/cacheproof").resolve())
    whole = Round(cacheproof)
    begun = time.time()
    code = whole.process.wait()
    lasts = time.time() - begun
    left = whole.left()
    if code not in (0, 1, 4) or left:
        print(f"a run that nobody kills ends with {code} and leaves {left}: {(whole.directory / 'said').read_text()}")
    whole.end()
    if code not in (0, 1, 4) or left:
        sys.exit(2)
    print(f"a run that nobody kills takes {lasts:.1f} s; seed {seed}")
    moments = random.Random(seed)
    kills, wrong, over = {True: 0, False: 0}, 0, 0
    number = 0
    while sum(kills.values()) < count:
        both = number % 2 == 1
        number += 1
        moment = moments.uniform(0, lasts)
        result = one_round(cacheproof, both, moment)
        if result is None:
            over += 1
            continue
        kills[both] += 1
        left, said = result
        who = "both" if both else "cacheproof"
        if left:
            wrong += 1
            print(f"LEFT  {who} killed after {moment:.2f} s: {left}; recover: {said}", flush=True)
        else:
            print(f"clean {who} killed after {moment:.2f} s; recover: {said[:100].replace(cacheproof, '')}", flush=True)
    print(f"{sum(kills.values())} kills ({kills[False]} of cacheproof, {kills[True]} of both), {over} more runs were over before: {wrong} left something")
    sys.exit(wrong > 0)


main()
