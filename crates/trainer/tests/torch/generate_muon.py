"""Writes muon_expected.json: ten updates of torch.optim.Muon.

torch iterates in bfloat16; here that name stands for double precision, so that both sides iterate
alike and what is compared is the formula. Weights and gradients are single-precision numbers; torch
computes with them in double precision.

usage: generate_muon.py [OUT]   (needs torch 2.9 or later; the version is in the file)
"""
import json, os, sys
import torch

torch.set_num_threads(1)
torch.bfloat16 = torch.float64
SHAPES = {"wide.weight": [6, 11], "tall.weight": [12, 5], "square.weight": [8, 8]}
RUNS = {
    "default": dict(learning_rate=0.02, momentum=0.95, weight_decay=0.0),
    "decay": dict(learning_rate=0.05, momentum=0.8, weight_decay=0.3),
}

def floats(tensor):
    return tensor.detach().flatten().tolist()

def run(settings, weights, gradients):
    parameters = {name: torch.nn.Parameter(w.double()) for name, w in weights.items()}
    optimizer = torch.optim.Muon(parameters.values(), lr=settings["learning_rate"], momentum=settings["momentum"],
                                 weight_decay=settings["weight_decay"], nesterov=True, ns_steps=5)
    for gradient in gradients:
        for name, p in parameters.items():
            p.grad = gradient[name].double()
        optimizer.step()
    return dict(settings=settings, weights_after={name: floats(p) for name, p in parameters.items()})

g = torch.Generator().manual_seed(12)
weights = {name: torch.randn(shape, generator=g) * 0.1 for name, shape in SHAPES.items()}
gradients = [{name: torch.randn(shape, generator=g) * 0.02 * 2 ** (i % 4) for name, shape in SHAPES.items()} for i in range(10)]
out = dict(
    version=torch.__version__,
    shapes=SHAPES,
    weights={name: floats(w) for name, w in weights.items()},
    gradients=[{name: floats(x) for name, x in gradient.items()} for gradient in gradients],
    runs={name: run(settings, weights, gradients) for name, settings in RUNS.items()},
)
here = os.path.dirname(os.path.abspath(__file__))
with open(sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "muon_expected.json"), "w") as f:
    json.dump(out, f)
    f.write("\n")
