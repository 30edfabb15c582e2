"""Tokens a second of preceptor, transformers and llama.cpp on the same model and the same work.

    python tools/bench/peers.py MODEL.gguf [--threads 2] [--repeats 3] [--f32-gguf F32.gguf]

Needs torch, transformers, accelerate and gguf; llama-cpp-python too where --f32-gguf is given (made
with tests/fixtures/parity/requantize_gguf.py). Workloads are those of
crates/models/benches/throughput.rs: prefill reads 8 sequences of 256 tokens and wants the logits of
each last position; decode continues 1, 8 or 32 sequences of 128 tokens by 40 sampled tokens each,
without the time to read the 128. Best of the repeats for wall time, all of them for CPU-seconds.
On a busy machine compare CPU-seconds at one thread: spinning barriers of several threads on shared
cores count as work.
"""

import argparse
import json
import os
import subprocess
import sys
import time

PREFILL = (8, 256)
BATCHES = (1, 8, 32)
CONTEXT, STEPS = 128, 40


def token(sequence, position):
    return 1000 + (sequence * 7919 + position * 104729) % 40000


def ids(count, length):
    return [[token(s, p) for p in range(length)] for s in range(count)]


def cpu_seconds():
    t = os.times()
    return t.user + t.system


def measured(repeats, tokens, setup):
    walls, cpu = [], 0.0
    for _ in range(repeats):
        work = setup()
        wall_start, cpu_start = time.perf_counter(), cpu_seconds()
        work()
        walls.append(time.perf_counter() - wall_start)
        cpu += cpu_seconds() - cpu_start
    return {
        "tokens": tokens,
        "tokens_per_wall_second": tokens / min(walls),
        "tokens_per_cpu_second": tokens * repeats / cpu,
    }


def transformers_results(path, threads, repeats):
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    folder, file = os.path.split(os.path.abspath(path))
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32).eval()
    results = {}
    with torch.inference_mode():

        def prefill(count, length, cache):
            return model(torch.tensor(ids(count, length)), use_cache=cache, logits_to_keep=1)

        count, length = PREFILL
        results[f"prefill {count}x{length}"] = measured(
            repeats, count * length, lambda: lambda: prefill(count, length, True)
        )
        for batch in BATCHES:

            def setup():
                first = prefill(batch, CONTEXT, True)

                def work():
                    cache, logits = first.past_key_values, first.logits[:, -1]
                    for _ in range(STEPS):
                        drawn = torch.multinomial(torch.softmax(logits, -1), 1)
                        out = model(drawn, past_key_values=cache, use_cache=True)
                        logits = out.logits[:, -1]

                return work

            results[f"decode {batch}"] = measured(repeats, batch * STEPS, setup)
    return results


def llama_cpp_results(path, threads, repeats):
    import ctypes

    import llama_cpp
    import numpy as np

    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(
        path.encode(), llama_cpp.llama_model_default_params()
    )
    vocab_size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    rng = np.random.default_rng(0)

    def context(sequences, length):
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = sequences * length
        params.n_batch = params.n_ubatch = 512
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = True
        return llama_cpp.llama_init_from_model(model, params)

    def decode(ctx, rows):
        """Rows of (token, position, sequence, wants logits), at most 512 of them."""
        batch = llama_cpp.llama_batch_init(len(rows), 0, 1)
        batch.n_tokens = len(rows)
        for i, (tok, position, sequence, wants) in enumerate(rows):
            batch.token[i], batch.pos[i] = tok, position
            batch.n_seq_id[i], batch.logits[i] = 1, wants
            batch.seq_id[i][0] = sequence
        status = llama_cpp.llama_decode(ctx, batch)
        llama_cpp.llama_batch_free(batch)
        if status != 0:
            raise RuntimeError(f"llama_decode gave {status}")

    def draw(ctx, row):
        pointer = llama_cpp.llama_get_logits_ith(ctx, row)
        array = ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float * vocab_size)).contents
        logits = np.frombuffer(array, dtype=np.float32).astype(np.float64)
        weights = np.cumsum(np.exp(logits - logits.max()))
        return int(np.searchsorted(weights, rng.random() * weights[-1]))

    def prefill(ctx, count, length):
        rows = [(token(s, p), p, s, p == length - 1) for s in range(count) for p in range(length)]
        drawn = []
        for start in range(0, len(rows), 512):
            chunk = rows[start : start + 512]
            decode(ctx, chunk)
            drawn += [draw(ctx, i) for i, row in enumerate(chunk) if row[3]]
        return drawn

    results = {}
    count, length = PREFILL

    def prefill_setup():
        ctx = context(count, length)

        def work():
            prefill(ctx, count, length)
            llama_cpp.llama_free(ctx)

        return work

    results[f"prefill {count}x{length}"] = measured(repeats, count * length, prefill_setup)
    for batch in BATCHES:

        def setup():
            ctx = context(batch, CONTEXT + STEPS)
            first = prefill(ctx, batch, CONTEXT)

            def work():
                drawn = first
                for step in range(STEPS):
                    decode(ctx, [(t, CONTEXT + step, s, True) for s, t in enumerate(drawn)])
                    drawn = [draw(ctx, row) for row in range(batch)]
                llama_cpp.llama_free(ctx)

            return work

        results[f"decode {batch}"] = measured(repeats, batch * STEPS, setup)
    return results


def preceptor_results(path, threads, repeats, profile):
    command = ["cargo", "bench", "--quiet", "-p", "preceptor-models", "--bench", "throughput"]
    command += ["--profile", profile, "--", os.path.abspath(path), str(repeats)]
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
    out = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(out.stdout[out.stdout.index("{") :])["results"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--f32-gguf")
    parser.add_argument("--profile", default="bench")
    parser.add_argument("--json", action="store_true")
    # A peer runs in a process of its own, so that its thread pool is gone before the next starts.
    parser.add_argument("--only", choices=["transformers", "llama.cpp"], help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.only == "transformers":
        print(json.dumps(transformers_results(a.model, a.threads, a.repeats)))
        return
    if a.only == "llama.cpp":
        print(json.dumps(llama_cpp_results(a.f32_gguf, a.threads, a.repeats)))
        return

    def peer(name):
        command = [sys.executable, __file__, a.model, "--only", name]
        command += ["--threads", str(a.threads), "--repeats", str(a.repeats)]
        command += ["--f32-gguf", a.f32_gguf] if a.f32_gguf else []
        environment = {**os.environ, "OMP_NUM_THREADS": str(a.threads)}
        out = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        return json.loads(out.stdout.splitlines()[-1])

    load_before = os.getloadavg()[0]
    results = {"preceptor": preceptor_results(a.model, a.threads, a.repeats, a.profile)}
    results["transformers"] = peer("transformers")
    if a.f32_gguf:
        results["llama.cpp"] = peer("llama.cpp")
    loads = (load_before, os.getloadavg()[0])
    if a.json:
        print(json.dumps({"threads": a.threads, "loads": loads, "results": results}, indent=1))
        return
    print(f"{a.threads} threads, load before {loads[0]:.1f}, after {loads[1]:.1f}; tokens a second\n")
    print("| work | engine | wall | ratio | CPU | ratio |\n|---|---|---|---|---|---|")
    for work, ours in results["preceptor"].items():
        for engine, measures in results.items():
            cells = [work, engine]
            for kind in ("wall", "cpu"):
                rate = measures[work][f"tokens_per_{kind}_second"]
                cells += [f"{rate:.1f}", f"{ours[f'tokens_per_{kind}_second'] / rate:.2f}"]
            print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
