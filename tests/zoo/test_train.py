"""Training code and model files mean the same network, and training is deterministic."""

import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def zoo():
    """The modules of the zoo package, imported from the repository's root as `python -m models_zoo.train` does."""
    sys.path.insert(0, str(ROOT))
    try:
        from models_zoo import branchynet, caption, shallow_deep, skipnet, train
    finally:
        sys.path.remove(str(ROOT))
    return {
        "train": train,
        "skipnet": skipnet,
        "shallow_deep": shallow_deep,
        "branchynet": branchynet,
        "caption": caption,
    }


def test_soft_gates_in_eval_mode_compute_what_skipnet_computes(zoo):
    model = zoo["skipnet"].build()
    with torch.inference_mode():
        for seed in range(10):
            (x,) = zoo["skipnet"].sample_inputs(seed)
            logits, rates = zoo["train"].soft_skipnet(model, x)
            torch.testing.assert_close(logits, model(x), rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(rates, rates.round())


def test_the_exit_taken_is_one_of_the_trained_outputs(zoo):
    model = zoo["shallow_deep"].build()
    with torch.inference_mode():
        for seed in range(40):
            (x,) = zoo["shallow_deep"].sample_inputs(seed)
            logits, where = model(x)
            outputs = zoo["train"].shallow_deep_outputs(model, x)
            torch.testing.assert_close(outputs[where], logits)
            sure = [out.softmax(dim=1).max().item() for out in outputs]
            first = next((k for k, value in enumerate(sure) if value > model.threshold), sure.index(max(sure)))
            assert where == first


def test_trained_branchynet_is_right_and_uses_every_exit(zoo):
    _, _, images, labels = zoo["train"].load_split()
    model = zoo["branchynet"].build()
    with torch.inference_mode():
        results = [model(image[None]) for image in images]
    right = sum(result["prediction"].item() == label for result, label in zip(results, labels.tolist(), strict=True))
    assert right / len(labels) >= 0.95
    exits = [result["exit"] for result in results]
    assert all(exits.count(name) >= 5 for name in ("branch1", "branch2", "main"))


def test_trained_captioner_reads_unseen_digits(zoo):
    _, _, images, labels = zoo["train"].load_split(scale=2)
    caption = zoo["caption"]
    model = caption.build()
    right = 0
    with torch.inference_mode():
        for start in range(100):
            picture = torch.zeros(1, 3, 32, 32)
            chosen = range(start, start + start % 4)
            for k, (top, left) in zip(chosen, zoo["train"].QUARTERS, strict=False):
                picture[0, :, top : top + 16, left : left + 16] = images[k]
            names = [caption.DIGITS[label] for label in labels[list(chosen)].tolist()]
            right += caption.words_of(model(picture)) == zoo["train"].caption_text(names)
    assert right >= 90


def test_training_twice_gives_the_same_weights(zoo):
    train = zoo["train"]

    def run():
        torch.manual_seed(0)
        model = zoo["skipnet"].SkipNet(depth=10)
        train.fit(model, train.digit_batches(1, batch_size=16), train.skipnet_loss, steps=3, lr=1e-2)
        return model.state_dict()

    first, second = run(), run()
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_an_unknown_network_is_refused_before_any_training(zoo):
    with pytest.raises(SystemExit, match="nothing to train: resnet; choose from skipnet"):
        zoo["train"].main(["skipnet", "resnet"])
