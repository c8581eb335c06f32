"""scikit-learn's handwritten digits as CIFAR-shaped images; needs no torch.

1797 pictures of 8x8 grey levels 0 to 16, scaled up to 32x32 bilinearly and repeated to three channels. Every product
is a multiple of 1/64 below 2^10, so float32 holds each step exactly: the bits are the same on every machine.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

TEST_SHARE = 0.2


def interpolation_matrix(size, scale):
    """The (size * scale, size) matrix of bilinear upscaling, pixel centres aligned, edges repeated."""
    matrix = np.zeros((size * scale, size), np.float32)
    for i in range(size * scale):
        position = min(max((i + 0.5) / scale - 0.5, 0.0), size - 1.0)
        low = min(int(position), size - 2)
        matrix[i, low] += 1.0 - (position - low)
        matrix[i, low + 1] += position - low
    return matrix


def upscale(pictures, scale=4):
    """Pictures [N, 8, 8] of 0..16 as images float32 [N, 3, 8 * scale, 8 * scale] of 0..1."""
    matrix = interpolation_matrix(8, scale)
    images = matrix @ pictures.astype(np.float32) @ matrix.T / np.float32(16)
    return np.ascontiguousarray(np.repeat(images[:, None], 3, axis=1))


def digits_split(scale=4):
    """(train images, train labels, test images, test labels), always the same split."""
    pictures, labels = load_digits(return_X_y=True)
    train, test, train_labels, test_labels = train_test_split(
        pictures.reshape(-1, 8, 8), labels.astype(np.int64), test_size=TEST_SHARE, random_state=0, stratify=labels
    )
    return upscale(train, scale), train_labels, upscale(test, scale), test_labels
