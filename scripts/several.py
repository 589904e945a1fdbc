#!/usr/bin/env python3
"""Runs several scenarios, one after the other, and puts them on one page.

    several.py [--attach] PAGE NAME... -- [ARGUMENT...]

NAME is a file in scenarios/ without .toml. The arguments go to each run; with `--reports DIR` the page is written there, too. With
--attach each result is also written into docs/stories/NAME.md. Ends with the worst exit code of the runs.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys

# The worst last. Others are mistakes in the arguments or a signal: they end everything.
CODES = [0, 4, 3, 1]
PROGRAM = os.environ.get("CACHEPROOF", "target/debug/cacheproof")


def reports_of(arguments):
    """Where the runs write: the last `--reports`."""
    reports = "reports"
    for before, argument in zip([None, *arguments], arguments):
        if before == "--reports":
            reports = argument
        elif argument.startswith("--reports="):
            reports = argument.removeprefix("--reports=")
    return pathlib.Path(reports)


def newest(reports, name):
    """The newest run of a scenario that has a report. Names begin with the time."""
    is_run = re.compile(rf"[0-9T]+Z-{re.escape(name)}(-[0-9]+)?").fullmatch
    runs = [run for run in reports.glob(f"*Z-{name}*") if is_run(run.name) and (run / "report.html").exists()]
    return max(runs, key=lambda run: run.name, default=None)


def main():
    arguments = sys.argv[1:]
    attach = arguments[:1] == ["--attach"]
    divide = arguments.index("--")
    page, *names = arguments[int(attach) : divide]
    arguments = arguments[divide + 1 :]
    reports = reports_of(arguments)
    worst, runs = 0, []
    for name in names:
        old = newest(reports, name)
        code = subprocess.run([PROGRAM, "run", f"scenarios/{name}.toml", *arguments]).returncode
        run = newest(reports, name)
        # Nothing was measured: nothing to go on with, and no run to show. One that broke off has a report.
        if code not in CODES or (code == 3 and run == old):
            return code
        worst = max(worst, code, key=CODES.index)
        runs.append(str(run))
        if attach:
            attached = subprocess.run([PROGRAM, "attach", f"docs/stories/{name}.md", str(run)]).returncode
            if attached != 0:
                return attached
    together = reports / f"{page}.html"
    shown = subprocess.run([PROGRAM, "report", *runs, "--together", str(together)], stdout=subprocess.DEVNULL).returncode
    if shown != 0:
        return shown
    print(f"  All runs on one page: {together}")
    return worst


# Ctrl-C reaches cacheproof too, which then undoes and cleans up. It is waited for: by default Python would kill it.
signal.signal(signal.SIGINT, lambda *_: None)
os.chdir(pathlib.Path(__file__).parent.parent)
sys.exit(main())
