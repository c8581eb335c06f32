"""Runs a compiled model over a split in a process where torch and dycl cannot be imported.

`python demo_host.py ARTIFACT SPLIT.npz RESULTS.npz`, driven by `demo.py` through a pipe: for every line it reads, it
runs the whole split once, one image a call, and answers with the seconds that took; at the end it writes what the last
run returned.
"""

import importlib
import importlib.abc
import json
import sys
import time
from pathlib import Path

BLOCKED = ("torch", "dycl")


class Blocker(importlib.abc.MetaPathFinder):
    """Refuses to find what a deployed host must not need."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname.split(".")[0] in BLOCKED:
            raise ImportError(f"import of {fullname} is blocked here")


sys.meta_path.insert(0, Blocker())

import numpy as np  # noqa: E402  (nothing may be imported before the blocker stands)


def refusal(name):
    """What happens to an attempt to import the module; SystemExit if the import works."""
    try:
        importlib.import_module(name)
    except ImportError as error:
        return str(error)
    raise SystemExit(f"import {name} works in the process of the host")


def run_split(host, images):
    """(results of all images, seconds of the whole run)."""
    started = time.perf_counter()
    results = [host(image) for image in images]
    return results, time.perf_counter() - started


def main(artifact, split, output):
    """Answer each line of stdin with one timed run; then write the results."""
    artifact = Path(artifact).resolve()
    sys.path.insert(0, str(artifact.parent))
    host = importlib.import_module(artifact.name).load(threads=1)
    with np.load(split, allow_pickle=False) as data:
        images = list(data["images"])
    hello = {"refused": [refusal(name) for name in BLOCKED], "images": len(images)}
    print(json.dumps(hello), flush=True)
    results = []
    for _ in sys.stdin:
        results, seconds = run_split(host, images)
        print(json.dumps({"seconds": seconds}), flush=True)
    loaded = [name for name in BLOCKED if name in sys.modules]
    if loaded:
        raise SystemExit(f"loaded in spite of the blocker: {', '.join(loaded)}")
    logits, exits = zip(*results, strict=True)
    with open(output, "wb") as file:
        np.savez(file, logits=np.stack(logits), exits=np.array(exits))


if __name__ == "__main__":
    main(*sys.argv[1:])
