"""The demonstration: `python -m models_zoo.demo build/shallow_deep` after `dycl compile models_zoo/shallow_deep.py`.

Runs the digits' test split through the compiled host, in a process where torch cannot be imported (`demo_host.py`), and
through the model itself, and compares answers and time. Exit code 1 if the two do not agree.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

TEST_SPLIT = Path(__file__).parent / "weights" / "digits_test.npz"
REPEATS = 9
TIE = 1e-4  # confidences this close to the threshold, or to each other, may fall either way in float32


def digits_test_split():
    """(images float32 [N, 1, 3, 32, 32], batches of one; labels int64 [N]) of the test split."""
    from models_zoo.digits import digits_split  # scikit-learn is needed here only

    _, _, images, labels = digits_split()
    return images[:, None], labels


def save_test_split(path=TEST_SPLIT):
    """Write the test split to an npz file and return its path."""
    images, labels = digits_test_split()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez_compressed(file, images=images, labels=labels)
    return path


def load_test_split(path=TEST_SPLIT):
    """(images, labels) as `save_test_split` wrote them; numpy alone is needed."""
    with np.load(path, allow_pickle=False) as data:
        return data["images"], data["labels"]


# ---------------------------------------------------------------- both sides, timed


class Host:
    """The compiled host in its own process; `close` gives the results of its last run."""

    def __init__(self, artifact, split, output):
        self.output = output
        command = [
            sys.executable,
            str(Path(__file__).with_name("demo_host.py")),
            str(artifact),
            str(split),
            str(output),
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.hello = self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the host's process ended with exit code {self.process.wait()}")
        return json.loads(line)

    def run(self):
        """Seconds of one run over the split."""
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        return self._answer()["seconds"]

    def close(self):
        """(logits, exits) of the last run."""
        self.process.stdin.close()
        if self.process.wait():
            raise SystemExit(f"the host's process ended with exit code {self.process.returncode}")
        with np.load(self.output, allow_pickle=False) as data:
            return data["logits"], data["exits"]


class Eager:
    """The model itself, as PyTorch runs it."""

    def __init__(self, images):
        import torch

        from models_zoo.shallow_deep import build

        torch.set_num_threads(1)
        self.mode = torch.inference_mode
        self.model = build()
        self.threshold = self.model.threshold
        self.images = [torch.from_numpy(image) for image in images]
        self.results = []

    def run(self):
        """Seconds of one run over the split."""
        with self.mode():
            started = time.perf_counter()
            self.results = [self.model(image) for image in self.images]
            return time.perf_counter() - started

    def close(self):
        """(logits, exits) of the last run."""
        logits, exits = zip(*self.results, strict=True)
        return np.stack([value.numpy() for value in logits]), np.array(exits)


def measure(host, eager):
    """(seconds of the host's runs, seconds of eager's runs): one run each to warm up, then in turn."""
    host.run(), eager.run()
    times = [(host.run(), eager.run()) for _ in range(REPEATS)]
    return [mine for mine, _ in times], [theirs for _, theirs in times]


# ---------------------------------------------------------------- comparison


def confidence(logits):
    """The largest softmax probability of each image's logits [N, 1, classes]."""
    scores = logits[:, 0].astype(np.float64)
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).max(axis=1)


def tie_margin(first, second, threshold):
    """How far from a tie two different (exit, confidence) of one image are; 0 would be the tie itself."""
    confident = sorted((exit_, value) for exit_, value in (first, second) if value > threshold)
    return confident[0][1] - threshold if confident else abs(first[1] - second[1])


def compare(host, eager, threshold):
    """(indices decided differently, the largest margin of a tie among them, largest difference of the others)."""
    differ = np.flatnonzero(host[1] != eager[1])
    mine, theirs = confidence(host[0]), confidence(eager[0])
    margins = [tie_margin((host[1][i], mine[i]), (eager[1][i], theirs[i]), threshold) for i in differ]
    same = host[1] == eager[1]
    error = float(np.abs(host[0][same] - eager[0][same]).max()) if same.any() else 0.0
    return differ, max(margins, default=0.0), error


def accuracy(logits, labels):
    """The share of images whose largest logit is the label's, in percent."""
    return 100.0 * float((logits[:, 0].argmax(axis=1) == labels).mean())


# ---------------------------------------------------------------- tables


def exit_table(host, eager, labels, threshold):
    """Per exit: how many images leave there by the host and by eager, and how many of the host's are right."""
    from rich.table import Table

    table = Table(title="Where the images of the digits' test split leave")
    for column in ("exit", "host", "share", "of these right", "eager"):
        table.add_column(column, justify="left" if column == "exit" else "right")
    sure = confidence(host[0]) > threshold, confidence(eager[0]) > threshold
    right = host[0][:, 0].argmax(axis=1) == labels
    rows = [(f"classifier {number}", number, True) for number in range(6)] + [("the network's end", 6, True)]
    for name, number, wanted in [*rows, ("nobody confident", None, False)]:
        mine, theirs = (
            (given == wanted) & ((exits == number) | (number is None))
            for given, exits in zip(sure, (host[1], eager[1]), strict=True)
        )
        count = int(mine.sum())
        hits = f"{100 * right[mine].mean():.1f} %" if count else "-"
        table.add_row(name, str(count), f"{100 * mine.mean():.1f} %", hits, str(int(theirs.sum())))
    return table


def summary_table(accuracies, times, images):
    """Accuracy and time per image of both sides."""
    from rich.table import Table

    table = Table(title=f"{images} images, one a call, one thread each; medians of {REPEATS} interleaved runs")
    for column in ("", "accuracy", "ms per image", "fastest", "slowest"):
        table.add_column(column, justify="left" if not column else "right")
    for name, right, seconds in zip(("host, no torch", "eager PyTorch"), accuracies, times, strict=True):
        each = [1000 * value / images for value in (statistics.median(seconds), min(seconds), max(seconds))]
        table.add_row(name, f"{right:.2f} %", *(f"{value:.3f}" for value in each))
    return table


def main(artifact):
    """Run, print, and return the exit code."""
    from rich.console import Console

    console = Console(highlight=False)
    images, labels = digits_test_split()
    with tempfile.TemporaryDirectory() as folder:
        split = save_test_split(Path(folder) / "digits_test.npz")
        host_side, eager_side = Host(artifact, split, Path(folder) / "results.npz"), Eager(images)
        times = measure(host_side, eager_side)
        host, eager = host_side.close(), eager_side.close()
    threshold = eager_side.threshold
    for refused in host_side.hello["refused"]:
        console.print(f"in the host's process: ImportError: {refused}")
    accuracies = accuracy(host[0], labels), accuracy(eager[0], labels)
    console.print(exit_table(host, eager, labels, threshold))
    console.print(summary_table(accuracies, times, len(images)))
    ratio = statistics.median(theirs / mine for mine, theirs in zip(*times, strict=True))
    console.print(f"the host is [bold]{ratio:.2f}[/] times as fast as eager")
    differ, margin, error = compare(host, eager, threshold)
    if not len(differ):
        console.print(f"every decision is eager's; the largest difference of an output is {error:.1e}")
    else:
        console.print(f"{len(differ)} images are decided otherwise than by eager, at most {margin:.1e} from a tie")
    if accuracies[0] != accuracies[1] or margin > TIE or error > 1e-3:
        console.print("[bold red]host and eager do not agree[/]")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
