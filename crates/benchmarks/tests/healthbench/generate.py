"""HealthBench's metrics of random examples with recorded verdicts, computed apart from this project's code.

    python crates/benchmarks/tests/healthbench/generate.py

Needs the standard library only. Follows the published scoring (OpenAI simple-evals,
`healthbench_eval.py`): an example's score is the points of met items over the positive points, not
clipped; a tag of the example copies it; a tag of items has the same formula over the items with that tag,
where some of them have positive points, and takes the place of an example's tag of the same name; a
metric is the clipped mean over examples, its spread the standard deviation of the clipped means of
resamples. Two rules are ours: a missing verdict leaves what it enters without a score, and resample r of
n scores takes number n * (x >> 11) / 2^53, rounded down, of the scores by rising size, for each of n
outputs x of SplitMix64 seeded with seeds[r]. Writes expected.json.
"""

import json
import math
import pathlib
import random

NUM_EXAMPLES = 40
NUM_SEEDS = 200
THEMES = ["theme:hedging", "theme:context_seeking", "theme:emergency_referrals"]
CATEGORIES = ["physician_agreed_category:enough-context", "physician_agreed_category:not-enough"]
AXES = ["axis:accuracy", "axis:completeness", "axis:communication_quality"]
LEVELS = ["level:example", "level:cluster"]
# Only items with negative points have it.
WARNING = "axis:safety"
MASK = (1 << 64) - 1


def splitmix64(seed):
    state = seed
    while True:
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        yield z ^ (z >> 31)


def resample(num_rows, seed):
    outputs = splitmix64(seed)
    return [(num_rows * (next(outputs) >> 11)) >> 53 for _ in range(num_rows)]


def draw_example(draw, number):
    kind = number % 8
    items = []
    for place in range(draw.randint(2, 9)):
        negative = place > 0 and draw.random() < 0.35
        points = -draw.randint(1, 10) if negative else draw.randint(1, 10)
        if draw.random() < 0.2:
            points += 0.5 if points > 0 else -0.5
        tags = [draw.choice(AXES), draw.choice(LEVELS)]
        if negative and draw.random() < 0.6:
            tags[0] = WARNING
        # In every eighth example what should not happen does, and nothing else.
        met = negative if kind == 3 else draw.random() < (0.3 if negative else 0.5)
        items.append({"points": points, "tags": sorted(tags), "met": met})
    if kind == 5:
        draw.choice(items)["met"] = None
    tags = [draw.choice(THEMES)]
    if draw.random() < 0.5:
        tags.append(draw.choice(CATEGORIES))
    if kind == 6:
        # A name that is a tag of the example and of an item.
        items[0]["tags"] = sorted([*items[0]["tags"], tags[0]])
    return {"prompt_id": f"example-{number}", "example_tags": tags, "items": items}


def score(items):
    """The score; None where there is none, "missing" where a verdict is."""
    possible = math.fsum(item["points"] for item in items if item["points"] > 0)
    if possible == 0:
        return None
    if any(item["met"] is None for item in items):
        return "missing"
    return math.fsum(item["points"] for item in items if item["met"]) / possible


def metrics_of(example):
    items = example["items"]
    overall = score(items)
    metrics = {"overall_score": overall}
    metrics.update({tag: overall for tag in example["example_tags"]})
    for tag in {tag for item in items for tag in item["tags"]}:
        of_tag = score([item for item in items if tag in item["tags"]])
        if of_tag is not None:
            metrics[tag] = of_tag
    return metrics


def clipped_mean(values):
    return min(max(math.fsum(values) / len(values), 0.0), 1.0)


def plain_mean(values):
    return math.fsum(values) / len(values)


def spread(values, resamples, mean):
    means = [mean([values[row] for row in rows]) for rows in resamples]
    centre = math.fsum(means) / len(means)
    return math.sqrt(math.fsum((m - centre) ** 2 for m in means) / len(means))


def main():
    draw = random.Random(20250512)
    examples = [draw_example(draw, number) for number in range(NUM_EXAMPLES)]
    seeds = [draw.getrandbits(64) for _ in range(NUM_SEEDS)]
    scores = [metrics_of(example) for example in examples]
    for example, metrics in zip(examples, scores):
        overall = metrics["overall_score"]
        example["score"] = None if overall == "missing" else overall

    expected = {}
    is_clipped = clips_in_resamples = False
    for name in sorted({name for metrics in scores for name in metrics}):
        all_values = [metrics[name] for metrics in scores if name in metrics]
        values = sorted(value for value in all_values if value != "missing")
        if not values:
            continue
        given = [resample(len(values), seed) for seed in seeds]
        counted = [resample(len(values), seed) for seed in range(1000)]
        expected[name] = {
            "mean": clipped_mean(values),
            "bootstrap_std": spread(values, given, clipped_mean),
            "bootstrap_std_of_seeds_0_to_999": spread(values, counted, clipped_mean),
            "num_examples": len(values),
            "num_unscored": len(all_values) - len(values),
        }
        is_clipped |= plain_mean(values) != clipped_mean(values)
        clips_in_resamples |= spread(values, given, plain_mean) != expected[name]["bootstrap_std"]

    # What tells the rules apart occurs.
    overall = [e["score"] for e in examples if e["score"] is not None]
    assert min(overall) < -0.5 and 0 < clipped_mean(overall) < 1
    assert abs(clipped_mean([max(s, 0.0) for s in overall]) - clipped_mean(overall)) > 0.01
    assert is_clipped and clips_in_resamples
    assert any(metric["num_unscored"] for metric in expected.values())
    assert WARNING not in expected
    assert any(m[t] != m["overall_score"] for e, m in zip(examples, scores) for t in e["example_tags"])

    one_line = json.dumps
    parts = ['"examples": [\n' + ",\n".join(map(one_line, examples)) + "\n]"]
    parts.append('"seeds": ' + one_line(seeds))
    resamples = [resample(len(overall), seed) for seed in seeds[:20]]
    parts.append('"resamples_of_overall_score": [\n' + ",\n".join(map(one_line, resamples)) + "\n]")
    metrics = [f"{one_line(name)}: {one_line(metric)}" for name, metric in expected.items()]
    parts.append('"metrics": {\n' + ",\n".join(metrics) + "\n}")
    text = "{\n" + ",\n".join(parts) + "\n}\n"
    pathlib.Path(__file__).with_name("expected.json").write_text(text)


if __name__ == "__main__":
    main()
