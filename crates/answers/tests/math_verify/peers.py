"""Compares the published profiles with the code they follow, on the pairs of `generate.py`.

`hendrycks` and `dapo` against verl, `minerva` against lm-evaluation-harness with sympy, and
`prm800k` against the PRM800K grader that verl carries for PRIME, with PRIME's changes to the
normalisation undone at run time (a seventeenth unit; spaces and braces that stay).

Needs, in one environment, `pip install --no-deps verl==0.9.1 lm_eval==0.4.13` and `pip install
sympy==1.13.1 "antlr4-python3-runtime==4.11" pylatexenc==2.11`, `PRECEPTOR_DATA_DIR`, and the
example binary `grade_pairs` passed with `--grader`.
"""

import argparse
import collections
import importlib.util
import logging
import pathlib
import sys
import sysconfig
import types
import warnings

import generate

SITE = pathlib.Path(sysconfig.get_paths()["purelib"])


def load(path):
    """A module by file, without its package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_prm800k():
    folder = SITE / "verl" / "utils" / "reward_score" / "prime_math"
    source = (folder / "__init__.py").read_text(encoding="utf-8")
    changes = [
        ('        "liter",\n', ""),
        (
            "    expr = _inject_implicit_mixed_number(expr)\n",
            "    expr = _inject_implicit_mixed_number(expr)\n"
            '    expr = expr.replace(" ", "").replace("{", "").replace("}", "")\n',
        ),
        ("from verl.utils.py_functional import timeout_limit", "def timeout_limit(*a, **k): return lambda f: f"),
        ("from . import math_normalize", ""),
        ("from .grader import math_equal", ""),
    ]
    for before, after in changes:
        assert before in source, before
        source = source.replace(before, after)
    namespace = {"__name__": "prm800k", "math_normalize": load(folder / "math_normalize.py")}
    exec(compile(source, "prm800k", "exec"), namespace)
    return namespace["grade_answer"]


def load_minerva():
    for name in ("datasets", "math_verify", "lm_eval"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["datasets"].Dataset = object
    sys.modules["math_verify"].parse = sys.modules["math_verify"].verify = None
    return load(SITE / "lm_eval" / "tasks" / "minerva_math" / "utils.py")


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--grader", required=True)
    options = arguments.parse_args()
    warnings.simplefilter("ignore")
    scores = SITE / "verl" / "utils" / "reward_score"
    hendrycks, dapo = load(scores / "math_reward.py"), load(scores / "math_dapo.py")
    minerva, prm800k = load_minerva(), load_prm800k()
    logging.disable(logging.CRITICAL)
    verdicts = {
        "hendrycks": lambda label, answer: hendrycks.is_equiv(answer, label),
        "dapo": lambda label, answer: dapo.normalize_final_answer(answer)
        == dapo.normalize_final_answer(label),
        "minerva": lambda label, answer: minerva.is_equiv(
            minerva.normalize_final_answer(answer), minerva.normalize_final_answer(label)
        ),
        "prm800k": lambda label, answer: prm800k(answer, label),
    }
    pairs = generate.make_pairs()
    graded = generate.ask_ours(options.grader, pairs)
    for name, verdict in verdicts.items():
        differ = collections.Counter()
        for (_, operation, label, answer), row in zip(pairs, graded):
            ours = row["grades"][name]
            if bool(verdict(label, answer)) != ours:
                differ[operation, "ours only" if ours else "theirs only"] += 1
        print(f"{name}: {len(pairs) - sum(differ.values())} of {len(pairs)} agree {dict(differ)}")


if __name__ == "__main__":
    main()
