"""Run a compiled model in a process that can import nothing but the standard library, numpy and ONNX Runtime.

Arguments: the artifact, the pickled arguments of all calls, where to pickle what came of each call.
"""

import importlib.util
import pickle
import sys
from pathlib import Path

ALLOWED = {*sys.stdlib_module_names, "numpy", "onnxruntime", "artifact"}


class Blocker:
    """Refuses everything else, wherever it is asked for."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in ALLOWED:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)


def load(directory):
    """The artifact, imported from where it lies as the package `artifact`."""
    spec = importlib.util.spec_from_file_location("artifact", directory / "__init__.py")
    sys.modules["artifact"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load(threads=1)


def run(host, call, args):
    """What came of one call; the host's random numbers begin at the call's number."""
    if hasattr(host, "seed"):
        host.seed(call)
    return host(*args), list(host.decisions), dict(host.state_dict())


def main(directory, inputs, results):
    sys.meta_path.insert(0, Blocker())
    host = load(directory)
    calls = list(enumerate(pickle.loads(inputs.read_bytes())))
    found = [run(host, call, args) for call, args in calls]
    host.reset()
    again = [run(host, call, args) for call, args in calls[:3]]
    foreign = {name.partition(".")[0] for name in sys.modules} & {"torch", "dycl", "onnx"}
    results.write_bytes(pickle.dumps({"calls": found, "again": again, "foreign": foreign}))


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
