"""Seconds of a GRPO step of preceptor and of TRL on the same model and prompts.

    python tools/bench/grpo_peers.py MODEL.gguf [--threads 2] [--steps 3]

Needs torch, transformers, accelerate, gguf, trl and datasets. A step is 8 prompts x 8 rollouts of at
most 128 new tokens, all weights in single precision, one update, the KL divergence from the initial
policy with weight 0.001 (in the reward here, in the loss there: both read every rollout once more
under the initial weights). Both give a random reward, so that nothing but the step is timed, and
rollouts go on after the first answer. The first step of each, which warms up, is left out.
"""

import argparse
import csv
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time

PROMPTS, GROUP, NEW_TOKENS = 8, 8, 128

MANIFEST = """
title = "A GRPO step"
[policy]
model = "{model}"
[benchmark]
kind = "arithmetic"
shots = 4
limit = {prompts}
[sampling]
group-size = {group}
temperature = 1.0
top-p = 1.0
max-new-tokens = {new_tokens}
stop = []
[aggregator]
kind = "majority"
[reward]
terms = [{{ kind = "random" }}]
[train]
kind = "grpo"
steps = {steps}
prompts-per-step = {prompts}
checkpoint-every = 1000
schedule = {{ learning-rate = 1e-6 }}
"""


def preceptor_results(binary, path, threads, steps):
    with tempfile.TemporaryDirectory() as folder:
        manifest = os.path.join(folder, "step.toml")
        fields = dict(prompts=PROMPTS, group=GROUP, new_tokens=NEW_TOKENS, steps=steps)
        with open(manifest, "w") as file:
            file.write(MANIFEST.format(model=os.path.abspath(path), **fields))
        command = [binary, "run", manifest, "--store", f"{folder}/store", "--reports", folder]
        environment = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        phases, seconds = {}, []
        for line in process.stderr:
            step = re.search(r"step (\d+)/.* s \((.*)\)", line)
            if step and int(step[1]) > 1:
                found = dict(part.rsplit(" ", 1) for part in step[2].split(", "))
                found.pop("evaluate", None)
                seconds.append(sum(float(s) for s in found.values()))
                for phase, s in found.items():
                    phases[phase] = phases.get(phase, 0.0) + float(s) / (steps - 1)
        if process.wait() != 0:
            sys.exit("preceptor failed")
        with open(os.path.join(folder, "step/tables/training_costs.csv")) as file:
            tokens = float(next(csv.DictReader(file))["tokens_a_step"])
    return {"seconds": seconds, "tokens": tokens, "phases": phases}


def trl_results(path, threads, steps):
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    torch.set_num_threads(threads)
    folder, file = os.path.split(os.path.abspath(path))
    # As a folder of its own: a model that comes out of a GGUF file counts as quantised, and is not trained.
    dequantised = tempfile.mkdtemp()
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    model.hf_quantizer = None
    del model.config.quantization_config
    model.save_pretrained(dequantised)
    model = AutoModelForCausalLM.from_pretrained(dequantised, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    draw = random.Random(0)
    numbers = lambda: [draw.randrange(1, 10) for _ in range(3)]
    sums = lambda: " + ".join(map(str, numbers()))
    shots = "".join(f"What is {sums()}?\nThe answer is {draw.randrange(3, 28)}.\n\n" for _ in range(4))
    prompts = [f"{shots}What is {sums()}?\n" for _ in range(PROMPTS)]
    counts, ends = [], [time.perf_counter()]

    def reward(completions, completion_ids, **_):
        counts.append(sum(map(len, completion_ids)))
        return [draw.random() for _ in completions]

    class Clock(TrainerCallback):
        def on_step_end(self, *_, **__):
            ends.append(time.perf_counter())

    settings = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=16,
        gradient_accumulation_steps=PROMPTS * GROUP // 16,
        num_generations=GROUP,
        max_completion_length=NEW_TOKENS,
        max_steps=steps,
        learning_rate=1e-6,
        beta=0.001,
        temperature=1.0,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    data = Dataset.from_list([{"prompt": prompt} for prompt in prompts])
    GRPOTrainer(
        model=model,
        reward_funcs=reward,
        args=settings,
        train_dataset=data,
        processing_class=tokenizer,
        callbacks=[Clock()],
    ).train()
    seconds = [b - a for a, b in zip(ends, ends[1:])][1:]
    return {"seconds": seconds, "tokens": sum(counts) / len(counts), "phases": {}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--preceptor", default="target/release/preceptor", help="the built command")
    parser.add_argument("--only", choices=["trl"], help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.only == "trl":
        print(json.dumps(trl_results(a.model, a.threads, a.steps)))
        return
    load = os.getloadavg()[0]
    ours = preceptor_results(a.preceptor, a.model, a.threads, a.steps)
    command = [sys.executable, __file__, a.model, "--only", "trl"]
    command += ["--threads", str(a.threads), "--steps", str(a.steps)]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    theirs = json.loads(out.stdout.splitlines()[-1])
    print(f"{a.threads} threads, load before {load:.1f}, after {os.getloadavg()[0]:.1f}\n")
    print("| engine | seconds a step, best | new tokens a step | ratio of best | phases |\n|---|---|---|---|---|")
    for name, found in (("preceptor", ours), ("trl", theirs)):
        ratio = min(found["seconds"]) / min(ours["seconds"])
        phases = ", ".join(f"{phase} {s:.1f}" for phase, s in found["phases"].items())
        print(f"| {name} | {min(found['seconds']):.1f} | {found['tokens']:.0f} | {ratio:.2f} | {phases} |")


if __name__ == "__main__":
    main()
