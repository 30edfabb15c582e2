"""Writes expected.json: AdamW, gradient clipping and learning rates, with torch and transformers as the reference.

Weights and gradients are single-precision numbers, the optimiser computes with them in double precision.

usage: generate.py [OUT]   (needs torch and transformers; versions are in the file)
"""
import json, os, sys
import torch
import transformers

torch.set_num_threads(1)
NUM_UPDATES = 20
SHAPES = {"q_proj.weight": [6, 5], "norm.weight": [5], "down_proj.weight": [3, 11]}
RUNS = {
    "default": dict(learning_rate=1e-3, weight_decay=0.01, decay_vectors=True, max_gradient_norm=1.0),
    "matrices-only": dict(learning_rate=1e-2, weight_decay=0.3, decay_vectors=False, max_gradient_norm=3.0),
    "other-betas": dict(learning_rate=1e-3, weight_decay=0.1, decay_vectors=True, max_gradient_norm=1e6, betas=[0.8, 0.95], epsilon=1e-3),
}

def floats(tensor):
    return tensor.detach().flatten().tolist()

def run(settings, weights, gradients):
    parameters = {name: torch.nn.Parameter(w.double()) for name, w in weights.items()}
    groups = [
        dict(params=[p for p in parameters.values() if p.dim() > 1]),
        dict(params=[p for p in parameters.values() if p.dim() == 1],
             weight_decay=settings["weight_decay"] if settings["decay_vectors"] else 0.0),
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings["learning_rate"], betas=settings.get("betas", (0.9, 0.999)),
                                  eps=settings.get("epsilon", 1e-8), weight_decay=settings["weight_decay"], foreach=False)
    norms, after = [], {}
    for update, gradient in enumerate(gradients):
        for name, p in parameters.items():
            p.grad = gradient[name].double()
        norms.append(float(torch.nn.utils.clip_grad_norm_(parameters.values(), settings["max_gradient_norm"])))
        optimizer.step()
        if update in (0, 4, NUM_UPDATES - 1):
            after[update + 1] = {name: floats(p) for name, p in parameters.items()}
    state = {name: dict(first=floats(optimizer.state[p]["exp_avg"]), second=floats(optimizer.state[p]["exp_avg_sq"])) for name, p in parameters.items()}
    return dict(settings=settings, norms=norms, weights_after=after, state=state)

def rates(kind, warm_up, num_updates):
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([p], lr=1.0)
    make = {
        "constant": lambda: transformers.get_constant_schedule_with_warmup(optimizer, warm_up),
        "linear": lambda: transformers.get_linear_schedule_with_warmup(optimizer, warm_up, num_updates),
        "cosine": lambda: transformers.get_cosine_schedule_with_warmup(optimizer, warm_up, num_updates),
    }
    schedule = make[kind]()
    found = []
    for _ in range(num_updates + 1):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found

g = torch.Generator().manual_seed(11)
weights = {name: torch.randn(shape, generator=g) * 0.1 for name, shape in SHAPES.items()}
# Gradients of several sizes: some are clipped, some are not.
gradients = [{name: torch.randn(shape, generator=g) * 0.02 * 2 ** (i % 6) for name, shape in SHAPES.items()} for i in range(NUM_UPDATES)]
out = dict(
    versions=dict(torch=torch.__version__, transformers=transformers.__version__),
    shapes=SHAPES,
    weights={name: floats(w) for name, w in weights.items()},
    gradients=[{name: floats(x) for name, x in gradient.items()} for gradient in gradients],
    runs={name: run(settings, weights, gradients) for name, settings in RUNS.items()},
    schedules=[dict(kind=kind, warm_up_updates=w, num_updates=n, rates=rates(kind, w, n)) for kind in ["constant", "linear", "cosine"] for w, n in [(0, 10), (4, 13)]],
)
here = os.path.dirname(os.path.abspath(__file__))
with open(sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "expected.json"), "w") as f:
    json.dump(out, f)
    f.write("\n")
