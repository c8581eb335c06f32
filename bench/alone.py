"""Peak memory of a process that holds the host or one oracle, and nothing else: `alone.py DIRECTORY dycl|oracle`.

Run by its path, so that neither dycl nor torch is imported.
"""

import importlib.util
import json
import os
import sys
from collections import Counter
from pathlib import Path

import numpy as np


def load_package(directory):
    """The artifact, imported from where it lies."""
    spec = importlib.util.spec_from_file_location("artifact", directory / "__init__.py")
    sys.modules["artifact"] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    return package


def run_dycl(directory, sample):
    """The host, called as the benchmark calls it."""
    host = load_package(directory / "artifact").load(threads=1)
    with np.load(directory / "inputs.npz") as stored:
        args = [stored[name] for name in stored.files if name.startswith(f"{sample}.")]
    for _ in range(20):
        host(*args)


def run_oracle(directory, sample, graph):
    """The oracle of one path."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    folder = str((directory / "oracles" / "artifact").resolve())
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    model = (directory / "oracles" / f"{graph}.onnx").read_bytes()
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    with np.load(directory / "oracles" / f"{sample}.npz") as stored:
        feed = {name: stored[name] for name in stored.files}
    for _ in range(20):
        session.run(None, feed)


def main(directory, what):
    graphs = json.loads((directory / "prepared.json").read_text())["graphs"]
    usual = Counter(graphs).most_common(1)[0][0]
    sample = graphs.index(usual)
    run_dycl(directory, sample) if what == "dycl" else run_oracle(directory, sample, usual)
    # Not getrusage: its maximum is inherited from the process that started this one.
    status = Path("/proc/self/status").read_text()
    print(int(status.split("VmHWM:")[1].split()[0]) / 1024, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
