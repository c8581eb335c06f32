"""Every zoo file has the same face, is deterministic, and its samples take different paths."""

import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch.overrides import TorchFunctionMode

ZOO = Path(__file__).parents[2] / "models_zoo"
# How many distinct paths 200 samples take at least. BranchyNet has three exits and so three paths.
PATHS = {"skipnet": 50, "shallow_deep": 8, "branchynet": 3, "deebert": 6, "pabee": 10, "caption": 50}
PATHS |= {"skipnet_rnn": 8, "blockdrop": 20, "msdnet": 5, "ranet": 5}
TRAINED = ("skipnet", "shallow_deep", "branchynet", "caption")
CONVERSIONS = (torch.Tensor.item, torch.Tensor.__bool__, torch.Tensor.__int__)


class DecisionLog(TorchFunctionMode):
    """Everything that Python learns about a tensor's value, in order."""

    def __init__(self):
        super().__init__()
        self.values = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function in CONVERSIONS:
            self.values.append(result)
        return result


def load_by_path(name):
    """The zoo file as the compiler loads it: by its path, whatever `sys.path` holds."""
    spec = importlib.util.spec_from_file_location(f"zoo_{name}", ZOO / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=PATHS)
def row(request):
    return request.param, load_by_path(request.param)


def flat(output):
    """An output's leaves with tensors as lists, for comparison."""
    if isinstance(output, torch.Tensor):
        return output.tolist()
    if isinstance(output, dict):
        return {key: flat(value) for key, value in output.items()}
    if isinstance(output, list | tuple):
        return [flat(value) for value in output]
    return output


def decisions(model, inputs):
    """What the call decided: tests as they came out, confidences as what the exit test says of them."""
    threshold = getattr(model, "threshold", None)
    with torch.inference_mode(), DecisionLog() as log:
        model(*inputs)
    of_threshold = isinstance(threshold, float)
    return tuple(value > threshold if of_threshold and isinstance(value, float) else value for value in log.values)


def test_build_gives_the_same_module_in_eval_mode(row):
    _, module = row
    random_state = torch.get_rng_state()
    first, second = module.build(), module.build(seed=0)
    assert torch.equal(random_state, torch.get_rng_state())
    assert isinstance(first, torch.nn.Module)
    assert not any(part.training for part in first.modules())
    assert first.state_dict().keys() == second.state_dict().keys()
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    other = module.build(seed=1).state_dict()
    assert any(not torch.equal(value, other[key]) for key, value in first.state_dict().items())


def test_inputs_are_of_one_signature_and_deterministic(row):
    _, module = row
    example = module.example_inputs()
    for seed in range(20):
        inputs = module.sample_inputs(seed)
        assert isinstance(inputs, tuple)
        assert [(x.shape, x.dtype) for x in inputs] == [(x.shape, x.dtype) for x in example]
        assert inputs[0].shape[0] == 1
        assert all(torch.equal(a, b) for a, b in zip(inputs, module.sample_inputs(seed), strict=True))


def test_forward_is_deterministic(row):
    _, module = row
    model, again = module.build(), module.build()
    with torch.inference_mode():
        for seed in range(10):
            inputs = module.sample_inputs(seed)
            assert flat(model(*inputs)) == flat(again(*inputs))


def test_forward_leaves_its_inputs_alone(row):
    _, module = row
    inputs = module.sample_inputs(3)
    kept = [x.clone() for x in inputs]
    with torch.inference_mode():
        module.build()(*inputs)
    assert all(torch.equal(a, b) for a, b in zip(inputs, kept, strict=True))


def test_samples_take_different_paths_and_both_sides_of_each_test(row):
    name, module = row
    model = module.build()
    paths = {decisions(model, module.sample_inputs(seed)) for seed in range(200)}
    assert len(paths) >= PATHS[name]
    # How many tests a path has in a fixed place; those of the other rows are words, or depend on what came before.
    tests = {"skipnet": 17, "shallow_deep": 7, "branchynet": 2, "deebert": 5, "pabee": 5}
    for place in range(tests.get(name, 0)):
        assert {path[place] for path in paths if len(path) > place} == {True, False}, place


def test_shallow_deep_falls_back_to_different_exits():
    module = load_by_path("shallow_deep")
    model = module.build()
    exits = {path[-1] for path in (decisions(model, module.sample_inputs(s)) for s in range(200)) if len(path) == 8}
    assert len(exits) >= 2
    with torch.inference_mode():
        assert model(*module.sample_inputs(0))[0].shape == (1, 10)


def test_pabee_leaves_at_each_layer_and_counts():
    module = load_by_path("pabee")
    model = module.build()
    layers = []
    for seed in range(200):
        before = model.inference_layers_num
        with torch.inference_mode():
            model(*module.sample_inputs(seed))
        layers.append(model.inference_layers_num - before)
    assert set(layers) == {3, 4, 5, 6}
    assert model.inference_instances_num == 200
    assert model.average_layers() == sum(layers) / 200
    model.reset_stats()
    assert (model.inference_instances_num, model.inference_layers_num) == (0, 0)


def test_captions_end_with_a_word_or_at_the_limit():
    module = load_by_path("caption")
    model = module.build()
    captions = []
    for seed in range(200):
        with torch.inference_mode():
            captions.append(model(*module.sample_inputs(seed)))
    lengths = {len(caption) for caption in captions}
    assert len(lengths) >= 5
    assert max(lengths) == model.max_len
    assert all(model.eos not in caption for caption in captions)
    assert module.words_of(captions[0]) == "nothing"


@pytest.mark.parametrize(("depth", "gates"), [(28, 12), (58, 27), (112, 54), (220, 108)])
def test_skipnet_of_another_depth_has_lively_gates(depth, gates):
    module = load_by_path("skipnet")
    model = module.build(depth=depth)
    assert len(model.gates) == gates
    paths = {decisions(model, module.sample_inputs(seed)) for seed in range(10)}
    assert len(paths) >= 5


@pytest.mark.parametrize("name", TRAINED)
def test_trained_weights_are_small_and_used(name):
    path = ZOO / "weights" / f"{name}.safetensors"
    assert path.stat().st_size < 2_000_000
    state = load_by_path(name).build().state_dict()
    with safe_open(path, "pt") as file:
        assert set(file.keys()) == set(state)
        assert all(torch.equal(file.get_tensor(key), value) for key, value in state.items())


@pytest.fixture(scope="module")
def digits():
    demo = load_by_path("demo")
    sys.path.insert(0, str(ZOO.parent))
    try:
        images, labels = demo.digits_test_split()
    finally:
        sys.path.remove(str(ZOO.parent))
    return torch.from_numpy(images), labels.tolist()


def test_trained_shallow_deep_is_right_and_leaves_at_every_exit(digits):
    images, labels = digits
    model = load_by_path("shallow_deep").build()
    with torch.inference_mode():
        results = [model(image) for image in images]
    right = sum(logits.argmax().item() == label for (logits, _), label in zip(results, labels, strict=True))
    assert right / len(labels) >= 0.95
    exits = [where for _, where in results]
    assert all(exits.count(k) >= 0.02 * len(labels) for k in range(7)), exits


def test_trained_skipnet_is_right_and_skips_by_input(digits):
    images, labels = digits
    model = load_by_path("skipnet").build()
    right = 0
    paths = []
    with torch.inference_mode():
        for image, label in zip(images, labels, strict=True):
            with DecisionLog() as log:
                right += model(image).argmax(dim=1)[0].tolist() == label
            paths.append(tuple(log.values))
    assert right / len(labels) >= 0.95
    assert len(set(paths)) >= 20
    shares = np.array(paths).mean(axis=0)
    assert ((shares > 0.02) & (shares < 0.98)).sum() >= 12


TORCH_FREE = """
import hashlib, json, sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ImportError("torch is blocked")
sys.meta_path.insert(0, NoTorch())
sys.path.insert(0, sys.argv[1])
from models_zoo.demo import load_test_split, save_test_split
path = save_test_split(sys.argv[2])
assert "torch" not in sys.modules
images, labels = load_test_split(path)
print(json.dumps([images.shape, str(images.dtype), hashlib.sha256(images.tobytes()).hexdigest(), labels.tolist()]))
"""


def test_the_split_is_the_same_bits_without_torch(digits, tmp_path):
    images, labels = digits
    command = [sys.executable, "-c", TORCH_FREE, str(ZOO.parent), str(tmp_path / "digits.npz")]
    shape, dtype, sha256, read = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert shape == [360, 1, 3, 32, 32]
    assert dtype == "float32"
    assert sha256 == hashlib.sha256(images.numpy().tobytes()).hexdigest()
    assert read == labels


def test_upscaling_is_torchs_bilinear(digits):
    images, _ = digits
    pictures = torch.arange(64.0).view(1, 1, 8, 8).remainder(17)
    expected = torch.nn.functional.interpolate(pictures / 16, scale_factor=4, mode="bilinear", align_corners=False)
    upscaled = load_by_path("digits").upscale(pictures[0].numpy())
    assert np.array_equal(upscaled, expected.repeat(1, 3, 1, 1).numpy())
    assert images.min() == 0.0
    assert images.max() <= 1.0
