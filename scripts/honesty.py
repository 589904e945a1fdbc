#!/usr/bin/env python3
"""Runs the cases of tests/honesty one after the other: python3 scripts/honesty.py [--markdown FILE] [NAME…]

Each is an app that looks well and misleads, or one that is right. The exit code is 0 if every run ended as it may, and said why.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
VERDICTS = {0: "pass", 1: "fail", 2: "refused", 3: "refused before the load", 4: "inconclusive"}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("names", nargs="*", help="the cases; by default all")
parser.add_argument("--markdown", metavar="FILE", help="also write the table as Markdown")
parser.add_argument("--program", default="target/debug/cacheproof", help="the program (default: %(default)s)")
arguments = parser.parse_args()

rows, wrong = [], 0
for line in (ROOT / "tests/honesty/cases.tsv").read_text().splitlines()[1:]:
    name, scenario, behaviour, codes, said, what = line.split("\t")
    if arguments.names and name not in arguments.names:
        continue
    start = ["python3", "tests/honesty/app.py", "{port}", behaviour]
    with tempfile.TemporaryDirectory() as reports:
        command = [arguments.program, "run", f"tests/honesty/{scenario}.toml", "--reports", reports, "--set", "target.start=" + json.dumps(start)]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    words = " ".join((run.stdout + run.stderr).lower().split())
    right = str(run.returncode) in codes.split(",") and said.lower() in words
    wrong += not right
    verdict = VERDICTS.get(run.returncode, f"exit {run.returncode}")
    allowed = " or ".join(VERDICTS[int(code)] for code in codes.split(","))
    print(f'{"ok   " if right else "WRONG"} {name:28} {verdict} (right: {allowed})', flush=True)
    rows.append(f"| `{name}` | {scenario} | {what} | {verdict}{'' if right else ' **(wrong)**'} |")

end = f"{len(rows) - wrong} of {len(rows)} runs ended as they must"
print(end)
if arguments.markdown:
    head = "| case | scenario | what is wrong | verdict |\n|---|---|---|---|\n"
    pathlib.Path(arguments.markdown).write_text(head + "\n".join(rows) + f"\n\n{end}.\n")
sys.exit(wrong > 0)
