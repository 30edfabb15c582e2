"""Keeps the claims of a suite's report in a Trackio logbook, through Trackio's own command.

    pip install trackio
    python3 tools/trackio/logbook.py reports/pocket DIR
    trackio logbook serve DIR

DIR must not exist. Each claim has a page with its verdict, a cell for each check, and the contrasts figure
is on a page of its own. Metrics of training runs come from their TensorBoard files:
`trackio.import_tf_events("runs/tensorboard", project="NAME")`.
"""

import csv
import subprocess
import sys
from itertools import groupby
from pathlib import Path


def number(text: str) -> str:
    return f"{float(text):.3f}" if text else "-"


def markdown(text: str) -> str:
    for sign in "\\`*_[]<|#":
        text = text.replace(sign, f"\\{sign}")
    return text


def check_text(row: dict[str, str]) -> str:
    interval = f" [{number(row['low'])}, {number(row['high'])}]" if row["low"] else ""
    lines = [
        f"- measure: {markdown(row['measure'])}",
        f"- expected: {markdown(row['expected'])}",
        f"- value: {number(row['value'])}{interval} over {row['over'] or '-'}",
        f"- check: **{row['check']}**",
    ]
    # The command reads a backslash and an n as a line break.
    return "\n".join(lines).replace("\\n", "\\ n")


def main() -> int:
    suite, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    folder.mkdir(parents=True)

    def trackio(*arguments: str) -> None:
        subprocess.run(["trackio", "logbook", *arguments], cwd=folder, check=True)

    trackio("open", "--no-serve", "--title", f"Claims of {suite.name}")
    with open(suite / "tables" / "claims.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for claim, checks in groupby(rows, key=lambda row: row["claim"]):
        checks = list(checks)
        page = f"{claim} ({checks[0]['verdict']})"
        trackio("page", page)
        for row in checks:
            title = f"{row['experiment']}: {row['check']}"
            trackio("cell", "markdown", "--page", page, "--title", title, check_text(row))
    figure = suite / "figures" / "contrasts.svg"
    if figure.exists():
        trackio("page", "Declared contrasts")
        trackio("cell", "figure", "--page", "Declared contrasts", "--image", str(figure))
    return 0


if __name__ == "__main__":
    sys.exit(main())
