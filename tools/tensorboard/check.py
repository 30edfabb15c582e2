"""Reads the event files of training runs with TensorBoard's own reader (`pip install tensorboard`).

    python3 tools/tensorboard/check.py runs/tensorboard

Prints each run with its scalars, and fails if a file can't be read, a scalar has two values for a step, or
times are missing or run backwards.
"""

import sys
import time
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def check(folder: Path) -> list[str]:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()["scalars"]
    faults = [] if tags else [f"{folder.name}: no scalars"]
    print(folder.name)
    for tag in tags:
        scalars = events.Scalars(tag)
        steps = [scalar.step for scalar in scalars]
        times = [scalar.wall_time for scalar in scalars]
        if steps != sorted(set(steps)):
            faults.append(f"{folder.name}: {tag} has steps {steps}")
        if times != sorted(times) or min(times) < 1:
            faults.append(f"{folder.name}: {tag} has times {times}")
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(times[-1]))
        print(f"  {tag}: {len(steps)} values, the last {scalars[-1].value:.4g} after step {steps[-1]} at {at}")
    return faults


def main() -> int:
    runs = sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_dir())
    faults = [fault for run in runs for fault in check(run)]
    if not runs:
        faults.append(f"{sys.argv[1]}: no runs")
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
