"""Loads what preceptor writes in transformers and peft and compares the logits.

    python crates/models/tests/export/check.py --export EXPORT

EXPORT is the built example `export` of preceptor-models. Needs torch, transformers and peft.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

TOLERANCE = 1e-4
FIXTURES = pathlib.Path(__file__).resolve().parents[4] / "tests/fixtures/parity"
FAMILIES = ("llama", "qwen2", "qwen3", "gemma3")


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def check(export, fixture):
    """Whether what is written of a fixture gives our logits, and the fixture's tokens."""
    expected = json.loads((fixture / "expected.json").read_text())
    ids = expected["input_ids"]
    with tempfile.TemporaryDirectory() as out:
        command = [export, fixture, fixture / "lora", out, *map(str, ids)]
        ours = torch.tensor(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        adapted = PeftModel.from_pretrained(load(fixture), f"{out}/adapter").eval()
        worst = 0.0
        for name, model in (("merged, in transformers", load(f"{out}/merged")), ("adapter, in peft", adapted)):
            with torch.inference_mode():
                difference = (model(torch.tensor([ids])).logits[0] - ours).abs().max().item()
            print(f"{fixture.name}: {name}: largest difference of {ours.numel()} logits {difference:.1e}")
            worst = max(worst, difference)
        tokenizer = AutoTokenizer.from_pretrained(f"{out}/merged")
        chat = tokenizer.apply_chat_template(expected["chat"], add_generation_prompt=True, tokenize=False)
        same = chat == expected["chat_text"] and tokenizer(chat, add_special_tokens=False).input_ids == expected["chat_ids"]
        print(f"{fixture.name}: chat template and tokenizer: {'the same' if same else 'DIFFERENT'}")
    return worst <= TOLERANCE and same


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--export", required=True)
    export = parser.parse_args().export
    if not all([check(export, FIXTURES / family) for family in FAMILIES]):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
