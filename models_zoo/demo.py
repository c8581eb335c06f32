"""The digits' test split for the demonstration, readable without torch and, once saved, without scikit-learn."""

from pathlib import Path

import numpy as np

TEST_SPLIT = Path(__file__).parent / "weights" / "digits_test.npz"


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
