"""Writes checkpoints in layouts of published models, loads them and compares logits with transformers'.

    python crates/models/tests/layouts/check.py --logits LOGITS

LOGITS is the built example `logits` of preceptor-models. Needs torch, transformers, safetensors and gguf.

- Gemma 3 with images: text weights under `language_model`, their configuration under `text_config`. Once as
  transformers saves it; once in several files, under `model.language_model`, with a configuration that
  leaves most keys to the defaults of the architecture, as the published ones do.
- Qwen 3 as a GGUF file, written by llama.cpp's own package with its names of weights.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import tempfile

import gguf
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma3Config, Gemma3ForConditionalGeneration

TOLERANCE = 1e-4
FIXTURES = pathlib.Path(__file__).resolve().parents[4] / "tests/fixtures/parity"
TEXT = "The answer is 12. Let x = 3; then 2x + 1 = 7, so the sum is in the \\boxed{7} é. What is the answer?"


def ours(logits, model):
    told = json.loads(subprocess.run([logits, model, TEXT], check=True, stdout=subprocess.PIPE).stdout)
    return told["ids"], torch.tensor(told["logits"])


def agree(name, logits, model, ids, expected):
    our_ids, our_logits = ours(logits, model)
    if our_ids != ids:
        print(f"{name}: tokens are DIFFERENT: {our_ids} and {ids}")
        return False
    difference = (our_logits - expected).abs().max().item()
    print(f"{name}: largest difference of {expected.numel()} logits {difference:.1e}, largest {expected.abs().max():.1f}")
    return difference <= TOLERANCE


def gemma_with_images(logits, folder):
    sparse = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "boi_token_index": 255999,
        "eoi_token_index": 256000,
        "image_token_index": 262144,
        "eos_token_id": [1, 106],
        "initializer_range": 0.02,
        "mm_tokens_per_image": 4,
        "text_config": {
            "model_type": "gemma3_text",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 7,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0},
            "sliding_window": 8,
        },
        "torch_dtype": "float32",
        "vision_config": {
            "model_type": "siglip_vision_model",
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
    }
    torch.manual_seed(5)
    model = Gemma3ForConditionalGeneration(Gemma3Config(**json.loads(json.dumps(sparse)))).float().eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            spread = 0.2 if "norm" in name or "embed" in name else 1.4 / weight.shape[-1] ** 0.5
            weight.copy_(torch.randn_like(weight) * spread)
    new = folder / "new"
    model.save_pretrained(new)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(FIXTURES / "gemma3" / name, new)
    ids = AutoTokenizer.from_pretrained(FIXTURES / "gemma3")(TEXT).input_ids
    with torch.inference_mode():
        expected = model(torch.tensor([ids])).logits[0]
    # The sparse configuration, and the names that transformers 5 has in memory, in several files.
    sharded = folder / "sharded"
    shutil.copytree(new, sharded, ignore=shutil.ignore_patterns("*.safetensors"))
    (sharded / "config.json").write_text(json.dumps(sparse))
    renamed = {
        name.replace("language_model.model.", "model.language_model.", 1): weight
        for name, weight in load_file(new / "model.safetensors").items()
    }
    names = sorted(renamed)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: renamed[name].contiguous() for name in part}, sharded / file)
    index = {"metadata": {}, "weight_map": {name: file for file, part in parts.items() for name in part}}
    (sharded / "model.safetensors.index.json").write_text(json.dumps(index))
    return all(
        [
            agree("Gemma 3 with images, as saved", logits, new, ids, expected),
            agree("Gemma 3 with images, sparse and sharded", logits, sharded, ids, expected),
        ]
    )


def qwen_gguf(logits, folder):
    fixture = FIXTURES / "qwen3"
    config = json.loads((fixture / "config.json").read_text())
    tokenizer = json.loads((fixture / "tokenizer.json").read_text())
    path = folder / "qwen3.gguf"
    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    vocabulary = tokenizer["model"]["vocab"] | {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    special = {token["id"] for token in tokenizer["added_tokens"]}
    tokens = sorted(vocabulary, key=vocabulary.get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if number in special else 1 for number in range(len(tokens))])
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_add_bos_token(False)
    writer.add_chat_template((fixture / "chat_template.jinja").read_text())
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, config["num_hidden_layers"])
    for name, weight in load_file(fixture / "model.safetensors").items():
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), weight.float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    ids = AutoTokenizer.from_pretrained(fixture)(TEXT).input_ids
    model = AutoModelForCausalLM.from_pretrained(fixture, dtype=torch.float32).eval()
    with torch.inference_mode():
        expected = model(torch.tensor([ids])).logits[0]
    return agree("Qwen 3, GGUF", logits, path, ids, expected)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--logits", required=True)
    logits = parser.parse_args().logits
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if not all([gemma_with_images(logits, folder), qwen_gguf(logits, folder)]):
            raise SystemExit(1)


if __name__ == "__main__":
    main()
