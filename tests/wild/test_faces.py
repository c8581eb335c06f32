"""MTCNN of facenet-pytorch with the weights that it ships, on photographs: three networks over an image pyramid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.wild import vision

SIZE = 96


@pytest.fixture(scope="module")
def mtcnn() -> type[Any]:
    vision.stub_requests()
    vision.register()
    found: type[Any] = pytest.importorskip("facenet_pytorch").MTCNN
    return found


def _photographs() -> Iterator[np.ndarray]:
    """Pictures (96, 96, 3) of no face and of one to four: near, far, at an edge, mirrored, dark, beside another."""
    images = pytest.importorskip("PIL.Image")
    folder = Path(pytest.importorskip("skimage").__file__).parent / "data"

    def photo(name: str, box: tuple[int, int, int, int] | None = None, size: int = SIZE) -> np.ndarray:
        return np.array(images.open(folder / name).convert("RGB").crop(box).resize((size, size)))

    def face(left: int, top: int, side: int, size: int = SIZE) -> np.ndarray:
        return photo("astronaut.png", (left, top, left + side, top + side), size)

    def small(left: int, top: int, side: int) -> np.ndarray:
        return face(left, top, side, SIZE // 2)

    two, three = photo("rocket.jpg"), photo("coffee.png")
    two[:48, :48], two[48:, 48:] = small(150, 10, 180), small(160, 20, 160)
    three[:48, 48:], three[48:, :48], three[48:, 48:] = small(150, 10, 180), small(140, 0, 200), small(165, 15, 150)
    half = face(140, 20, 190)
    half[:, 48:] = photo("chelsea.png")[:, 48:]
    yield from (face(140, 20, 190), photo("coffee.png"), two, photo("astronaut.png"), photo("chelsea.png"))
    yield from (face(100, 0, 250), three, photo("camera.png", (150, 40, 300, 190)), face(190, 20, 150))
    yield from (photo("rocket.jpg", (200, 0, 627, 427)), face(160, 60, 140), face(140, 20, 190)[:, ::-1])
    yield from (photo("moon.png"), face(120, 10, 220), half, (face(140, 20, 190) * 0.5).astype(np.uint8))
    yield from (photo("camera.png"), photo("grass.png"), face(0, 200, 200), face(170, 30, 120))
    yield np.block([[[small(150, 10, 180)], [small(140, 0, 200)]], [[small(160, 20, 160)], [small(155, 5, 170)]]])
    yield from (photo("brick.png"), face(130, 0, 210))


def test_faces_are_detected_in_photographs(mtcnn: type[Any], compare: Callable[..., Any]) -> None:
    """Their number decides how many crops the second and the third network see: none, one or several."""
    pictures = [torch.from_numpy(np.ascontiguousarray(picture)) for picture in _photographs()]
    model = mtcnn(min_face_size=24, keep_all=True).eval()
    boxes = [model.detect(picture)[0] for picture in pictures]
    assert {0 if found is None else len(found) for found in boxes} >= {0, 1, 2}
    compare(model, lambda seed: (pictures[seed],), calls=len(pictures), paths=8, method="detect")
