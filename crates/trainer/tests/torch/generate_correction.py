"""Writes correction_expected.json: losses of GRPO with a correction for the sampler, and their gradients, by torch.

The loss is written with torch's own operations in double precision, after TRL's `GRPOTrainer` (the
clipped term times the importance ratio, KL outside of it) and verl's `rollout_corr_helper` (log-ratios
bounded to -20 to 20, masks by product of the sequence's ratios).

usage: generate_correction.py [OUT]   (needs torch; the version is in the file)
"""
import json, os, sys
import torch

torch.set_num_threads(1)
LENGTHS, ADVANTAGES = [5, 1, 8, 3], [1.5, -0.7, -1.1, 0.4]
CORRECTIONS = [
    dict(kind=kind, level=level, low=low, high=high)
    for kind in ("truncate", "mask")
    for level in ("token", "sequence")
    for low, high in ((0.0, 2.0), (0.5, 1.5), (0.9, 1.1))
]

def weight(correction, log_ratio):
    if correction["level"] == "sequence":
        log_ratio = log_ratio.sum().expand_as(log_ratio)
    ratio = log_ratio.clamp(-20, 20).exp()
    low, high = correction["low"], correction["high"]
    if correction["kind"] == "truncate":
        return ratio.clamp(low, high)
    return torch.where((ratio >= low) & (ratio <= high), ratio, torch.zeros_like(ratio))

def loss_of(correction, current, old, sampler, reference):
    loss = 0.0
    for length, advantage, new, old, sampler, reference in zip(
        LENGTHS, ADVANTAGES, current.split(LENGTHS), old.split(LENGTHS), sampler.split(LENGTHS), reference.split(LENGTHS)
    ):
        ratio = (new - old).exp()
        clipped = torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
        terms = -clipped * weight(correction, (old - sampler).detach())
        kl = (reference - new).exp() - (reference - new) - 1
        loss = loss + (terms + 0.05 * kl).sum() / length
    return loss / len(LENGTHS)

g = torch.Generator().manual_seed(21)
num = sum(LENGTHS)
current = -torch.rand(num, generator=g) * 4 - 0.2
old = current + torch.randn(num, generator=g) * 0.15
sampler = old + torch.randn(num, generator=g) * 0.3
reference = current + torch.randn(num, generator=g) * 0.2
runs = []
for correction in CORRECTIONS:
    logprobs = current.double().requires_grad_()
    loss = loss_of(correction, logprobs, old.double(), sampler.double(), reference.double())
    loss.backward()
    runs.append(dict(correction=correction, loss=float(loss.detach()), gradient=logprobs.grad.tolist()))
out = dict(
    version=torch.__version__, lengths=LENGTHS, advantages=ADVANTAGES, current=current.tolist(), old=old.tolist(),
    sampler=sampler.tolist(), reference=reference.tolist(), runs=runs,
)
here = os.path.dirname(os.path.abspath(__file__))
with open(sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "correction_expected.json"), "w") as f:
    json.dump(out, f)
    f.write("\n")
