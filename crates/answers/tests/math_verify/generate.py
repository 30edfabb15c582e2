"""Compares `verify` with Math-Verify on pairs made from the MATH-500 labels.

Makes at least 2,000 (label, answer) pairs with a fixed seed, by rewriting labels in ways that keep
their value and by corrupting them in ways that do not, then asks both graders and prints how often
they agree, by operation, with the operations on which they differ. No label is printed unless
`--show N` asks for examples.

Needs `pip install math-verify==0.9.0 "antlr4-python3-runtime==4.13.2"`, `PRECEPTOR_DATA_DIR`, and
`cargo build --release -p preceptor-answers --example grade_pairs`; pass that binary with
`--grader`.
"""

import argparse
import collections
import json
import logging
import os
import pathlib
import random
import re
import subprocess
import sys

SEED = 20261123
INTEGER = re.compile(r"-?\d+")
FRACTION = re.compile(r"(-?)\\[dt]?frac\{(\d+)\}\{(\d+)\}")
DECIMAL = re.compile(r"-?\d*\.\d+")


def labels():
    root = os.environ.get("PRECEPTOR_DATA_DIR")
    if not root:
        print("skipped: PRECEPTOR_DATA_DIR is not set")
        sys.exit(0)
    path = pathlib.Path(root) / "math500" / "test.jsonl"
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line)["answer"] for line in lines if line]


def top_level_items(text):
    """The parts between commas outside brackets and braces."""
    items, depth, current = [], 0, ""
    for character in text:
        depth += character in "([{"
        depth -= character in ")]}"
        if character == "," and depth == 0:
            items.append(current.strip())
            current = ""
        else:
            current += character
    return items + [current.strip()]


def rewritings(label):
    """Pairs (operation, answer) that keep the value."""
    yield "same", label
    yield "dollars-and-stop", f"${label}$."
    if "\\frac{" in label:
        yield "dfrac", label.replace("\\frac", "\\dfrac")
    if "\\frac" not in label and "(" in label and "\\text" not in label and "\\left" not in label:
        yield "left-right", label.replace("(", "\\left(").replace(")", "\\right)")
    if fraction := FRACTION.fullmatch(label):
        sign, top, bottom = fraction.groups()
        top, bottom = int(top), int(bottom)
        yield "slash", f"{sign}{top}/{bottom}"
        yield "unreduced", f"{sign}\\frac{{{3 * top}}}{{{3 * bottom}}}"
        yield "sign-below", f"-\\frac{{{top}}}{{-{bottom}}}" if not sign else f"\\frac{{{top}}}{{-{bottom}}}"
        if bottom in (2, 4, 5, 8, 16, 20, 25, 50, 100):
            yield "decimal", f"{sign}{top / bottom}"
        if top > bottom:
            yield "mixed", f"{sign}{top // bottom}\\frac{{{top % bottom}}}{{{bottom}}}"
    if INTEGER.fullmatch(label):
        number = int(label)
        yield "point-zero", f"{label}.0"
        yield "sum", f"{number - 3}+3"
        yield "over-one", f"\\frac{{{2 * number}}}{{2}}"
        yield "assignment", f"x = {label}"
        yield "text-unit", f"{label} \\text{{ cm}}"
        yield "percent-sign", f"{label}\\%"
        yield "root-of-square", f"\\sqrt{{{number * number}}}" if number >= 0 else f"-\\sqrt{{{number * number}}}"
        if abs(number) >= 1000:
            yield "thousands", f"{number:,}"
    if DECIMAL.fullmatch(label):
        yield "trailing-zero", f"{label}0"
        yield "as-fraction", f"\\frac{{{label.replace('.', '').lstrip('0')}}}{{{10 ** len(label.split('.')[1])}}}"
    if "\\sqrt{" in label and "," not in label and "\\pm" not in label:
        yield "power-half", re.sub(r"\\sqrt\{([^{}]*)\}", r"(\1)^{1/2}", label)
        yield "plus-zero", f"{label} + 0"
    if "\\circ" in label:
        yield "no-degree", label.replace("^\\circ", "")
        yield "degree-word", label.replace("^\\circ", "\\text{ degrees}")
    items = top_level_items(label)
    if len(items) > 1 and "\\!" not in label and not re.fullmatch(r"[\d,]+", label):
        yield "list-reversed", ", ".join(reversed(items))
        yield "list-in-braces", "\\{" + ", ".join(items) + "\\}"
        yield "list-and", ", ".join(items[:-1]) + " \\text{ and } " + items[-1]
    if re.fullmatch(r"[(\[][^a-z]*(\\infty)?[^a-z]*[)\]]", label) and ("[" in label or "]" in label):
        yield "membership", f"x \\in {label}"
    if " \\cup " in label:
        yield "union-swapped", " \\cup ".join(reversed(label.split(" \\cup ")))
    if "pmatrix" in label:
        yield "bmatrix", label.replace("pmatrix", "bmatrix")
    if based := re.fullmatch(r"(\d+)_\{?(\d+)\}?", label):
        yield "base-braced", f"{based[1]}_{{{based[2]}}}"
        yield "base-in-words-text", f"{based[1]}_{{\\text{{{ {'5': 'five', '6': 'six', '8': 'eight', '9': 'nine'}.get(based[2], 'ten')}}}}}"
    if " + " in label and re.fullmatch(r"[\w^ +]+", label):
        yield "terms-reversed", " + ".join(reversed(label.split(" + ")))
    if label.startswith("\\text{") and label.endswith("}"):
        yield "bare-text", label[6:-1]
    if "=" not in label and "\\in" not in label and re.fullmatch(r"[-+\w^ ]*[a-z][-+\w^ ]*", label):
        yield "expression-plus-minus", f"{label} + 1 - 1"
        yield "expression-times-two-over-two", f"\\frac{{2({label})}}{{2}}"


def corruptions(label, rng):
    """Pairs (operation, answer) that change the value."""
    numbers = [match for match in re.finditer(r"\d+", label)]
    for match in rng.sample(numbers, min(2, len(numbers))):
        changed = str(int(match[0]) + rng.choice([1, 2, 10]))
        yield "digit-changed", label[: match.start()] + changed + label[match.end() :]
    if fraction := FRACTION.fullmatch(label):
        yield "inverted", f"{fraction[1]}\\frac{{{fraction[3]}}}{{{fraction[2]}}}"
        value = int(fraction[1] + "1") * int(fraction[2]) / int(fraction[3])
        for places in (3, 8):
            if round(value, places) != value:
                yield f"rounded-{places}", f"{value:.{places}f}"
    if INTEGER.fullmatch(label) and label != "0":
        yield "negated", label[1:] if label.startswith("-") else f"-{label}"
        yield "times-ten", f"{label}0"
        yield "unsolved", f"x > {label}"
    if "\\sqrt" in label:
        yield "root-dropped", label.replace("\\sqrt", "")
    if "\\pi" in label:
        yield "pi-approximated", label.replace("\\pi", "\\cdot 3.14")
    items = top_level_items(label)
    if len(items) > 1 and " " in label:
        yield "item-dropped", ", ".join(items[:-1])
    if tuple_of := re.fullmatch(r"\((-?\d+),\s*(-?\d+)\)", label):
        if tuple_of[1] != tuple_of[2]:
            yield "tuple-swapped", f"({tuple_of[2]},{tuple_of[1]})"
        yield "bracket-closed", f"[{tuple_of[1]},{tuple_of[2]}]"
    if based := re.fullmatch(r"(\d+)_\{?(\d+)\}?", label):
        yield "base-dropped", based[1]
        yield "base-evaluated", str(int(based[1], int(based[2])))
    if "^" in label and "\\circ" not in label:
        yield "power-dropped", re.sub(r"\^\{?\d+\}?", "", label, count=1)
    if label.startswith("\\text{"):
        yield "other-text", "\\text{none of these}"
    yield "blank", ""


def make_pairs():
    """Tuples (keeps the value, operation, label, answer), the same on every run."""
    rng = random.Random(SEED)
    pairs = []
    for label in labels():
        pairs += [(True, operation, label, answer) for operation, answer in rewritings(label)]
        pairs += [(False, operation, label, answer) for operation, answer in corruptions(label, rng)]
    return pairs


def ask_ours(grader, pairs):
    lines = "".join(json.dumps({"a": label, "b": answer}) + "\n" for _, _, label, answer in pairs)
    out = subprocess.run([grader], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in out.stdout.split("\n") if line]


def ask_math_verify(pairs, wrapped):
    """The label as one formula (the setting of trl) or boxed (the setting of verl)."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    settings = [LatexExtractionConfig(), ExprExtractionConfig()]
    cache = {}

    def parsed(text, is_label):
        if (text, is_label) not in cache:
            shown = f"\\boxed{{{text}}}" if wrapped else f"${text}$"
            cache[text, is_label] = parse(shown, settings)
        return cache[text, is_label]

    return [bool(verify(parsed(label, True), parsed(answer, False))) for _, _, label, answer in pairs]


def report(title, pairs, ours, theirs, show):
    table = collections.defaultdict(lambda: [0, 0, 0, 0])
    examples = collections.defaultdict(list)
    for (keeps, operation, label, answer), mine, other in zip(pairs, ours, theirs):
        row = table[keeps, operation]
        row[0] += 1
        row[1] += mine == other
        row[2] += mine and not other
        row[3] += other and not mine
        if mine != other:
            examples[operation, mine].append((label, answer))
    total = sum(row[0] for row in table.values())
    agree = sum(row[1] for row in table.values())
    print(f"\n## {title}: {agree} of {total} agree ({100 * agree / total:.2f} %)")
    print(f"{'operation':32}{'keeps':>6}{'pairs':>7}{'agree':>7}{'ours only':>11}{'theirs only':>13}")
    for (keeps, operation), (count, same, mine, other) in sorted(table.items()):
        if same != count or show:
            print(f"{operation:32}{keeps!s:>6}{count:7}{same:7}{mine:11}{other:13}")
    for (operation, mine), rows in sorted(examples.items()):
        for label, answer in rows[:show]:
            print(f"  {operation}, ours says {mine}: {label!r} | {answer!r}")


def truth(pairs, verdicts):
    wrong = collections.Counter()
    for (keeps, operation, *_), verdict in zip(pairs, verdicts):
        if keeps != verdict:
            wrong[operation] += 1
    return wrong


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--grader", required=True)
    arguments.add_argument("--show", type=int, default=0)
    options = arguments.parse_args()
    logging.disable(logging.CRITICAL)
    pairs = make_pairs()
    assert len(pairs) >= 2000
    graded = ask_ours(options.grader, pairs)
    ours = [row["grades"]["verify"] for row in graded]
    print(f"{len(pairs)} pairs, {sum(keeps for keeps, *_ in pairs)} made to keep the value")
    wrapped = ask_math_verify(pairs, True)
    formula = ask_math_verify(pairs, False)
    report("Math-Verify, boxed", pairs, ours, wrapped, options.show)
    report("Math-Verify, formula", pairs, ours, formula, options.show)
    for name, verdicts in [("ours", ours), ("Math-Verify, boxed", wrapped), ("Math-Verify, formula", formula)]:
        wrong = truth(pairs, verdicts)
        print(f"\n{name}: {sum(wrong.values())} verdicts against the construction: {dict(wrong)}")


if __name__ == "__main__":
    main()
