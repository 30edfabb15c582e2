"""Tokens a second of a training update of preceptor and of torch on the same model and the same work.

    python tools/bench/update_peers.py MODEL.gguf [--threads 2] [--repeats 5]

Needs torch, transformers, accelerate and gguf. An update is forward, backward, clipping of the
gradient norm and AdamW of all weights in single precision on 4 sequences of 256 tokens (torch: 257,
of which the last is only predicted), as in crates/trainer/benches/update.rs. Prints losses too, which
must agree: both do the same updates.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

from peers import ids

SEQUENCES, TOKENS = 4, 256


def torch_results(path, threads, repeats):
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    folder, file = os.path.split(os.path.abspath(path))
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, eps=1e-8, weight_decay=0.01)
    tokens = torch.tensor(ids(SEQUENCES, TOKENS + 1))
    walls, losses = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        optimizer.zero_grad()
        logits = model(tokens[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        walls.append(time.perf_counter() - start)
        losses.append(loss.item())
    walls.sort()
    return {
        "tokens_per_wall_second": SEQUENCES * TOKENS / walls[0],
        "tokens_per_wall_second_median": SEQUENCES * TOKENS / walls[len(walls) // 2],
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "losses": losses,
    }


def preceptor_results(path, threads, repeats):
    command = ["cargo", "bench", "--quiet", "-p", "preceptor-trainer", "--bench", "update"]
    command += ["--", os.path.abspath(path), str(repeats)]
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
    out = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(out.stdout[out.stdout.index("{") :])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    # torch runs in a process of its own, so that its memory is its own.
    parser.add_argument("--only", choices=["torch"], help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.only == "torch":
        print(json.dumps(torch_results(a.model, a.threads, a.repeats)))
        return
    load = os.getloadavg()[0]
    ours = preceptor_results(a.model, a.threads, a.repeats)
    command = [sys.executable, __file__, a.model, "--only", "torch"]
    command += ["--threads", str(a.threads), "--repeats", str(a.repeats)]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    theirs = json.loads(out.stdout.splitlines()[-1])
    print(f"{a.threads} threads, load before {load:.1f}, after {os.getloadavg()[0]:.1f}\n")
    print("| engine | tokens/s, best | median | ratio of best | peak MiB | losses |\n|---|---|---|---|---|---|")
    for name, found in (("preceptor", ours), ("torch", theirs)):
        ratio = ours["tokens_per_wall_second"] / found["tokens_per_wall_second"]
        losses = " ".join(f"{loss:.4f}" for loss in found["losses"][:4])
        print(
            f"| {name} | {found['tokens_per_wall_second']:.1f} | {found['tokens_per_wall_second_median']:.1f}"
            f" | {ratio:.2f} | {found['peak_memory_mib']} | {losses} |"
        )


if __name__ == "__main__":
    main()
