"""Runs `preceptor launch --slurm` against a real Slurm on this machine, undisturbed and with faults.

usage: check.py --preceptor PROGRAM [--folder DIR]

Needs Debian's `slurm-wlm` and `munge`, and root. Starts munged, slurmctld and slurmd of its own in DIR (a
temporary folder by default) and stops them at the end. Then, with the bundled model:

1. an array of training runs makes the records of a plain run;
2. the same array submitted again makes nothing, and each task says so;
3. USR1 in the middle of a training run: the task stops at a checkpoint, requeues itself alone and resumes;
4. a node that dies (slurmd, the tasks and their scripts at once): Slurm requeues the tasks, which resume;
5. a unit that fails is submitted and run alone once its cause is gone;
6. a task with an inference server: both have a job step, the trainer starts when the server answers, and both end;
7. the time limit alone does what USR1 did, and `scancel` stops a task at a checkpoint too.

Exit code 0 if all of it holds, 1 if not; where Slurm is missing or does not start, 0 with a message.
"""
import argparse, hashlib, http.server, json, os, pathlib, re, shutil, signal, socket, subprocess, sys, tempfile, threading, time

PROGRAMS = ["munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "sinfo"]
TRAIN = """title = "Training under Slurm"
seeds = [0, 1]
[policy]
model = "pocket"
[benchmark]
kind = "pocket-math"
limit = 32
[held-out]
kind = "pocket-math"
split = "held-out"
limit = 32
[sampling]
group-size = 8
max-new-tokens = 48
[aggregator]
kind = "majority"
[[matrix.reward]]
name = "agreement"
terms = [{{ kind = "answer-match" }}]
[[matrix.reward]]
name = "random"
terms = [{{ kind = "random" }}]
[train]
kind = "grpo"
steps = {steps}
prompts-per-step = 16
evaluate-every = 50
evaluation-rollouts = 2
checkpoint-every = 50
[train.schedule]
learning-rate = 2e-4
[launch]
cpus = 1
max-parallel = 2
time-limit = "{limit}"
"""
FLAKY = """title = "A unit that fails"
[benchmark]
kind = "jsonl"
path = "rows.jsonl"
[sampling]
group-size = 2
[aggregator]
kind = "majority"
[matrix]
"policy.model" = ["steady", "flaky"]
"""
ENDPOINT = """[endpoints.{name}]
base-urls = ["http://127.0.0.1:{port}"]
model = "{name}"
max-retries = 0
"""
CONFIGURATION = """ClusterName=check
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ctld_port}
SlurmdPort={slurmd_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerParameters=sched_interval=2,batch_sched_delay=0,bf_interval=5
ReturnToService=2
SlurmdTimeout=10
KillWait=5
MinJobAge=3600
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(0)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_for(condition, what, seconds=300, pause=0.5):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(pause)
    raise AssertionError(f"{what}: not within {seconds} s")


class Slurm:
    """munged, slurmctld and slurmd of our own."""

    def __init__(self, folder):
        self.folder, self.processes = folder, {}
        host = socket.gethostname().split(".")[0]
        for name in ["state", "spool"]:
            (folder / name).mkdir()
        key = folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        configuration = CONFIGURATION.format(
            host=host, folder=folder, cpus=os.cpu_count(), ctld_port=free_port(), slurmd_port=free_port())
        (folder / "slurm.conf").write_text(configuration)
        self.environment = dict(os.environ, SLURM_CONF=str(folder / "slurm.conf"))
        for name in [name for name in self.environment if name.startswith(("SBATCH_", "SLURM_")) and name != "SLURM_CONF"]:
            del self.environment[name]

    def spawn(self, name, *command):
        log = open(self.folder / f"{name}.out", "ab")
        self.processes[name] = subprocess.Popen(
            [shutil.which(name), *map(str, command)], env=self.environment, stdout=log, stderr=log, start_new_session=True)

    def start(self):
        folder = self.folder
        self.spawn("munged", "--foreground", "--force", f"--socket={folder}/munge.socket", f"--key-file={folder}/munge.key",
                   f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed")
        wait_for(lambda: (folder / "munge.socket").exists(), "munged", 20)
        self.spawn("slurmctld", "-D", "-i")
        self.start_node()

    def start_node(self):
        self.spawn("slurmd", "-D")
        wait_for(lambda: self.ask("sinfo", "--noheader", "--format=%t").strip() in ("idle", "mix", "alloc"), "an idle node", 60)

    def ask(self, *command):
        return subprocess.run(command, env=self.environment, capture_output=True, text=True).stdout

    def jobs(self):
        """States of the tasks by name, from `scontrol`, which remembers finished ones."""
        jobs = {}
        for line in self.ask("scontrol", "show", "job", "-o").splitlines():
            fields = dict(field.split("=", 1) for field in line.split() if "=" in field)
            if "ArrayTaskId" in fields and fields["ArrayTaskId"].isdigit():
                jobs[f"{fields['ArrayJobId']}_{fields['ArrayTaskId']}"] = fields
        return jobs

    def hurry(self):
        """Requeued tasks wait for two minutes, which no setting shortens; an operator can."""
        for name, fields in self.jobs().items():
            if fields["JobState"] == "PENDING" and fields["Restarts"] != "0":
                self.ask("scontrol", "update", f"JobId={name}", "StartTime=now")

    def wait(self, job, tasks, seconds=900):
        def ended():
            self.hurry()
            states = {name: fields["JobState"] for name, fields in self.jobs().items() if name.startswith(f"{job}_")}
            over = {name: state for name, state in states.items() if state not in ("PENDING", "RUNNING", "COMPLETING", "REQUEUED", "CONFIGURING")}
            return over if len(over) == len(tasks) else None
        return wait_for(ended, f"the end of job {job}", seconds)

    def stop(self):
        for process in reversed(self.processes.values()):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)


class Check:
    def __init__(self, preceptor, folder, slurm):
        self.preceptor, self.folder, self.slurm = preceptor, folder, slurm
        self.times = []

    def preceptor_run(self, *arguments, codes=(0,)):
        done = subprocess.run([self.preceptor, *map(str, arguments)], cwd=self.folder, env=self.slurm.environment, capture_output=True, text=True)
        assert done.returncode in codes, f"{arguments}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def launch(self, manifest, store, *more):
        done = json.loads(self.preceptor_run("--json", "launch", manifest, "--slurm", "--submit", "--force", "--store", store,
                                             "--out", f"launch-{store}", *more).split("\n}\n")[0] + "\n}")
        return done

    def log(self, store, job, task):
        path = self.folder / f"launch-{store}/logs/{job}_{task}.log"
        return path.read_text() if path.exists() else ""

    def records(self, manifest, store):
        """Everything that was made, apart from times, by file."""
        out = self.folder / f"records-{store}"
        shutil.rmtree(out, ignore_errors=True)
        self.preceptor_run("records", manifest, "--store", store, "--out", out)
        return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted(out.rglob("*.jsonl"))}

    def num_steps(self, store):
        """Steps that are recorded, while the training runs are in progress."""
        steps = {}
        for spec in (self.folder / store / "stages").glob("*/spec.json"):
            try:
                if json.loads(spec.read_text())["kind"] == "train-steps":
                    lines = sum(part.read_bytes().count(b"\n") for part in spec.parent.glob("part-*.jsonl"))
                    steps[spec.parent.name] = lines
            except FileNotFoundError:
                pass
        return steps

    def step(self, what):
        now = time.monotonic()
        self.times.append((what, now))
        print(f"[{now - self.times[0][1]:6.1f} s] {what}", flush=True)

    def wait_done(self, store, launched, units):
        states = self.slurm.wait(launched["job"], units)
        assert set(states.values()) == {"COMPLETED"}, (states, [self.log(store, launched["job"], unit)[-400:] for unit in units])


def all_holds(check):
    slurm, folder = check.slurm, check.folder
    (folder / "train.toml").write_text(TRAIN.format(steps=24, limit="01:00:00"))
    check.step("a plain run")
    check.preceptor_run("run", "train.toml", "--store", "plain")
    plain = check.records("train.toml", "plain")
    assert plain, "there are records"

    check.step("1. an array of four training runs, two at a time")
    launched = check.launch("train.toml", "array")
    units = list(range(launched["units"]))
    assert len(units) == 4, launched
    most = 0
    def watch():
        nonlocal most
        running = [name for name, fields in slurm.jobs().items() if fields["JobState"] == "RUNNING"]
        most = max(most, len(running))
        return all(check.log("array", launched["job"], unit).count("training steps.") for unit in units)
    held = []
    def shown():
        status = json.loads(check.preceptor_run("--json", "status", "train.toml", "--store", "array"))
        held.extend(cell["held-by"] for cell in status["cells"] if cell["held-by"])
        return held
    wait_for(shown, "an owner in `status`", 60)
    print(f"    status: held by {held[0]['host']}:{held[0]['pid']}, heartbeat {held[0]['heartbeat-secs']:.1f} s ago")
    wait_for(watch, "every task's last line", 600)
    check.wait_done("array", launched, units)
    assert most == 2, f"{most} tasks at a time"
    assert check.records("train.toml", "array") == plain
    check.preceptor_run("store", "verify", "--store", "array")

    check.step("2. the same array again")
    before = {path: path.read_bytes() for path in (folder / "array/stages").rglob("*.zst")}
    again = slurm.ask("sbatch", "--parsable", f"--chdir={folder}", "launch-array/slurm.sh").strip() or subprocess.run(
        ["sbatch", "--parsable", "launch-array/slurm.sh"], cwd=folder, env=slurm.environment, capture_output=True, text=True, check=True).stdout.strip()
    check.wait_done("array", {"job": again}, units)
    for unit in units:
        assert f"Unit {unit} has nothing to do" in check.log("array", again, unit), check.log("array", again, unit)
    assert before == {path: path.read_bytes() for path in (folder / "array/stages").rglob("*.zst")}
    assert check.launch("train.toml", "array")["job"] is None, "nothing is left to submit"

    check.step("3. USR1 in the middle of a training run")
    launched = check.launch("train.toml", "requeued")
    wait_for(lambda: any(steps >= 5 for steps in check.num_steps("requeued").values()), "five steps", 120, 0.1)
    task = wait_for(lambda: [name for name, fields in slurm.jobs().items() if name.startswith(f"{launched['job']}_") and fields["JobState"] == "RUNNING"], "a running task")[0]
    slurm.ask("scancel", "--signal=USR1", "--batch", task)
    requeued = wait_for(lambda: slurm.jobs()[task] if slurm.jobs()[task]["Restarts"] == "1" else None, "a restart", 120)
    print(f"    {task}: {requeued['JobState']}, {requeued.get('Reason')}, starts {requeued.get('StartTime')}, asked {requeued.get('SubmitTime')}")
    check.wait_done("requeued", launched, units)
    restarts = {name: fields["Restarts"] for name, fields in slurm.jobs().items() if name.startswith(f"{launched['job']}_")}
    assert sorted(restarts.values()) == ["0", "0", "0", "1"], restarts
    log = check.log("requeued", launched["job"], task.split("_")[1])
    assert "stopped: the run was asked to stop" in log, log
    steps = int(re.findall(r"(\d+) training steps\.", log)[-1])
    assert 0 < steps < 24, f"{steps} steps after the restart"
    print(f"    {steps} of 24 steps after the restart")
    assert check.records("train.toml", "requeued") == plain

    check.step("4. a node dies")
    launched = check.launch("train.toml", "died")
    wait_for(lambda: any(steps >= 5 for steps in check.num_steps("died").values()), "five steps", 120, 0.1)
    tasks = processes_of(launched["job"])
    # Daemons first: those of the steps would report the end of their scripts, which a dead node does not.
    daemons = {parent for parent in map(parent_of, tasks) if parent and b"slurmstepd" in command_of(parent)}
    for process in [slurm.processes["slurmd"].pid, *daemons, *tasks]:
        os.kill(process, signal.SIGKILL)
    print(f"    killed slurmd, {len(daemons)} daemons of steps and {len(tasks)} processes of tasks")
    wait_for(lambda: "down" in slurm.ask("sinfo", "--noheader", "--format=%t"), "a node that is down", 120)
    slurm.start_node()
    check.wait_done("died", launched, units)
    restarts = {name: fields["Restarts"] for name, fields in slurm.jobs().items() if name.startswith(f"{launched['job']}_")}
    print(f"    restarts: {restarts}")
    assert "1" in restarts.values(), restarts
    assert check.records("train.toml", "died") == plain

    check.step("5. a unit that fails")
    failing(check)

    check.step("6. a task with a server")
    served(check)

    check.step("7. the time limit alone")
    time_limit(check)
    check.step("done")


def command_of(process):
    try:
        return pathlib.Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def parent_of(process):
    try:
        return int(re.search(r"PPid:\s*(\d+)", pathlib.Path(f"/proc/{process}/status").read_text())[1])
    except OSError:
        return None


def processes_of(job):
    """Scripts and programs of the tasks of a job."""
    found = []
    for process in pathlib.Path("/proc").iterdir():
        try:
            if process.name.isdigit() and f"SLURM_ARRAY_JOB_ID={job}\0".encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            pass
    return found


def time_limit(check):
    slurm, folder = check.slurm, check.folder
    (folder / "limited.toml").write_text(TRAIN.format(steps=2000, limit="00:03:00"))
    launched = check.launch("limited.toml", "limited", "--only", "seed=0", "--only", "reward=random")
    task = f"{launched['job']}_0"
    field = lambda name: slurm.jobs().get(task, {}).get(name)
    log = lambda: check.log("limited", launched["job"], 0)
    last_step = lambda: max([int(step) for step in re.findall(r"step (\d+)/2000", log())], default=0)
    started = time.monotonic()
    wait_for(lambda: field("Restarts") == "1", "a restart by the time limit", 400)
    stopped_at, seconds = last_step(), time.monotonic() - started
    assert "stopped: the run was asked to stop" in log(), log()[-400:]
    print(f"    requeued {seconds:.0f} s after the submission, at step {stopped_at}")
    wait_for(lambda: slurm.hurry() or last_step() > stopped_at + 2, "steps after the restart", 300)
    steps = [int(step) for step in re.findall(r"step (\d+)/2000", log().split("stopped:")[1])]
    assert steps[0] == stopped_at + 1, f"it resumed at step {steps[0]}"
    slurm.ask("scancel", task)
    wait_for(lambda: log().count("stopped: the run was asked to stop") == 2, "a checkpoint after scancel", 60)


def failing(check):
    slurm, folder = check.slurm, check.folder
    mended = threading.Event()

    class Policies(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            works = asked["model"] == "steady" or mended.is_set()
            choices = [{"index": i, "finish_reason": "stop", "message": {"role": "assistant", "content": "\\boxed{4}"}}
                       for i in range(asked.get("n", 1))]
            reply = {"choices": choices, "usage": {"prompt_tokens": 9, "completion_tokens": 3}} if works else {"error": {"message": "out of order"}}
            text = json.dumps(reply).encode()
            self.send_response(200 if works else 400)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Policies)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    (folder / "rows.jsonl").write_text('{"problem": "2 + 2", "answer": "4"}\n')
    (folder / "flaky.toml").write_text(FLAKY + "".join(ENDPOINT.format(name=name, port=port) for name in ["steady", "flaky"]))
    launched = check.launch("flaky.toml", "flaky")
    states = slurm.wait(launched["job"], [0, 1])
    assert sorted(states.values()) == ["COMPLETED", "FAILED"], states
    status = json.loads(check.preceptor_run("--json", "status", "flaky.toml", "--store", "flaky"))
    assert (status["done"], status["failed"]) == (1, 1), status
    mended.set()
    launched = check.launch("flaky.toml", "flaky")
    assert launched["submit"][2].startswith("--array=1"), launched
    states = slurm.wait(launched["job"], [1])
    assert set(states.values()) == {"COMPLETED"}, states
    check.preceptor_run("report", "flaky.toml", "--store", "flaky")
    server.shutdown()


def served(check):
    """The server is none that samples, so the trainer says so and ends, and the script ends the server."""
    slurm, folder = check.slurm, check.folder
    port = free_port()
    (folder / "health").write_text("well")
    rollouts = f'[rollouts]\nserver = "vllm"\nbase-urls = ["http://127.0.0.1:{port}"]\nweights-dir = "{folder}/weights"\nmax-retries = 0\n'
    resources = f'cpus = 2\nserver = "{sys.executable} -m http.server {port}"\n'
    manifest = TRAIN.format(steps=2, limit="01:00:00").replace("cpus = 1\n", resources).replace("[launch]", rollouts + "[launch]")
    (folder / "served.toml").write_text(manifest.replace("seeds = [0, 1]", "seeds = [0]"))
    launched = check.launch("served.toml", "served", "--only", "reward=random")
    states = slurm.wait(launched["job"], [0], 120)
    log = check.log("served", launched["job"], 0)
    assert set(states.values()) == {"FAILED"}, (states, log)
    assert "GET /health" in log and "rollout server" in log, log
    print("    " + next(line for line in log.splitlines() if line.startswith("error:")))
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0, "the server still runs"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--preceptor", required=True)
    parser.add_argument("--folder")
    arguments = parser.parse_args()
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        skip(f"{', '.join(missing)} not found; `apt-get install slurm-wlm munge` brings them")
    if os.geteuid() != 0:
        skip("slurmd needs root")
    folder = pathlib.Path(arguments.folder or tempfile.mkdtemp(prefix="preceptor-slurm-")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    # munged refuses folders that others can write to.
    folder.chmod(0o755)
    slurm = Slurm(folder)
    try:
        try:
            slurm.start()
        except (AssertionError, OSError) as error:
            skip(f"Slurm does not start here ({error}); see the logs in {folder}")
        print(slurm.ask("sinfo", "--version").strip(), "in", folder, flush=True)
        check = Check(str(pathlib.Path(arguments.preceptor).resolve()), folder, slurm)
        all_holds(check)
        print("all of it holds")
    finally:
        slurm.stop()


if __name__ == "__main__":
    main()
