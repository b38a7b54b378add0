from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from autophage.errors import UserError
from autophage.learners.digits import PIXELS, Drawn, Mnist

pytestmark = pytest.mark.thorough


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.astype(np.uint8).tobytes()


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, count in (("train", 30), ("t10k", 5)):
        images, labels = rng.integers(256, size=(count, 28, 28)), rng.integers(10, size=count)
        (tmp_path / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (tmp_path / f"{name}-labels.idx1-ubyte").write_bytes(idx(labels))
    return tmp_path


def test_drawn_digits_are_a_function_of_their_seed() -> None:
    images, labels = Drawn(0).draw(5, 60)
    again, _ = Drawn(9).draw(5, 60)
    other, _ = Drawn(0).draw(6, 60)
    np.testing.assert_array_equal(images, again)
    assert images.shape == (60, PIXELS)
    assert images.dtype == np.float32
    assert not np.array_equal(images, other)
    assert not np.array_equal(Drawn(0).held_out(8), Drawn(1).held_out(8))
    assert set(labels) <= set(range(10))
    levels = images * 255
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-4)


def test_drawn_digits_can_be_told_apart_and_differ_among_themselves() -> None:
    from sklearn.linear_model import LogisticRegression

    images, labels = Drawn(0).draw(1, 1500)
    unseen, truth = Drawn(0).draw(2, 500)
    assert LogisticRegression(max_iter=100).fit(images, labels).score(unseen, truth) > 0.9
    assert all(images[labels == digit].std(axis=0).max() > 0.3 for digit in range(10))
    border = images.reshape(-1, 28, 28)[:, [0, -1]]
    assert border.mean() < 0.01  # they fit into the image


def test_mnist_is_read_packed_or_not(mnist: Path) -> None:
    found = Mnist(mnist)
    images, labels = found.draw(1, 75)
    assert images.shape == (75, PIXELS)
    assert images.max() <= 1.0
    assert len({image.tobytes() for image in images[:30]}) == 30  # without repetition, as far as there are that many
    assert found.held_out(3).shape == (3, PIXELS)
    assert len(labels) == 75


def test_what_is_not_mnist_is_refused(mnist: Path) -> None:
    (mnist / "t10k-labels.idx1-ubyte").unlink()
    with pytest.raises(UserError, match="there is no t10k-labels-idx1-ubyte or"):
        Mnist(mnist)
    (mnist / "t10k-labels.idx1-ubyte").write_bytes(b"\0\0")
    with pytest.raises(UserError, match="is not an IDX file"):
        Mnist(mnist)
    (mnist / "t10k-labels.idx1-ubyte").write_bytes(idx(np.zeros(5)))
    (mnist / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros((4, 32, 32)))))
    with pytest.raises(UserError, match="Files of MNIST hold 28 x 28"):
        Mnist(mnist)
