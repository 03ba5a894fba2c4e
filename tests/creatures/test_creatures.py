"""The data set `creatures`: what its pictures promise, and the way through TFDS."""

import subprocess
import sys

import numpy as np
import pytest

from zf_jax.creatures import builder, noise, render, scenes, shapes, strokes

CLASSES = len(scenes.CLASSES)
# Enough for a ridge regression on 64 x 64 pixels to learn what it can.
TRAIN, HELD_OUT = 3000, 600


@pytest.fixture(scope="module")
def sample():
    """Images [n, 64, 64, 3], masks [n, 64, 64] and labels [n] of the first examples."""
    examples = [scenes.draw(0, "train", i) for i in range(TRAIN)]
    examples += [scenes.draw(0, "validation", i) for i in range(HELD_OUT)]
    return (
        np.stack([example.image for example in examples]),
        np.stack([example.mask for example in examples]),
        np.array([example.label for example in examples]),
    )


def same(one: scenes.Example, other: scenes.Example) -> bool:
    return (
        np.array_equal(one.image, other.image)
        and np.array_equal(one.mask, other.mask)
        and one.label == other.label
        and one.parts == other.parts
    )


def ridge_accuracy(features, labels, penalty, train):
    """Held-out accuracy of least squares on one-hot labels with an L2 penalty."""
    features = features.reshape(len(features), -1).astype(np.float32)
    features = features - features[:train].mean(0)
    targets = np.eye(CLASSES, dtype=np.float32)[labels[:train]] - 1 / CLASSES
    fit, test = features[:train], features[train:]
    if fit.shape[1] < train:
        gram = fit.T @ fit + penalty * np.eye(fit.shape[1], dtype=np.float32)
        scores = test @ np.linalg.solve(gram, fit.T @ targets)
    else:
        gram = fit @ fit.T + penalty * np.eye(train, dtype=np.float32)
        scores = test @ (fit.T @ np.linalg.solve(gram, targets))
    return (scores.argmax(1) == labels[train:]).mean()


def test_shapes_of_an_example():
    for size in (64, 96):
        example = scenes.draw(0, "train", 0, size)
        assert example.image.shape == (size, size, 3)
        assert example.mask.shape == (size, size)
        assert example.image.dtype == example.mask.dtype == np.uint8
        assert set(np.unique(example.mask)) == {0, 255}
        assert tuple(example.parts) == scenes.PARTS


def test_an_example_depends_on_its_number_alone():
    # Drawn last and first, with others between them: nothing is carried over.
    forward = [scenes.draw(3, "train", i) for i in range(12)]
    backward = [scenes.draw(3, "train", i) for i in reversed(range(12))][::-1]
    assert all(map(same, forward, backward))


def test_the_pictures_are_those_of_the_first_release():
    # Means and boxes of version 1.0.0, to a level: processors differ in the last bit.
    example = scenes.draw(0, "train", 0)
    assert scenes.CLASSES[example.label] == "mouse"
    np.testing.assert_allclose(
        example.image.mean((0, 1)), [99.35, 108.98, 90.41], atol=0.05
    )
    assert (example.mask > 0).sum() == pytest.approx(1379, abs=3)
    np.testing.assert_allclose(
        example.parts["nose"], (0.80225, 0.34682, 0.867, 0.42393), atol=1e-4
    )


def test_numbers_splits_and_seeds_differ():
    one = scenes.draw(0, "train", 5)
    others = [(0, "train", 6), (0, "validation", 5), (1, "train", 5)]
    assert not any(np.array_equal(one.image, scenes.draw(*o).image) for o in others)


def test_labels_are_balanced_and_mixed():
    blocks = [scenes._labels(0, 0, block) for block in range(10)]
    # Every block of ten holds every class once, so counts are exact ...
    assert all(sorted(block) == list(range(CLASSES)) for block in blocks)
    # ... and in random order: no two of the first blocks are alike (10! orders).
    assert len(set(blocks)) == 10
    drawn = [scenes.draw(0, "train", index).label for index in range(12)]
    assert tuple(drawn) == blocks[0] + blocks[1][:2]


def test_small_pictures_and_unknown_splits_are_refused():
    with pytest.raises(ValueError, match="at least 64"):
        scenes.draw(0, "train", 0, 32)
    with pytest.raises(ValueError, match="test"):
        scenes.draw(0, "test", 0)


def test_boxes_lie_in_the_frame_and_on_the_animal():
    covered = {name: [] for name in scenes.PARTS}
    for index in range(100):
        example = scenes.draw(0, "train", index)
        for name, box in example.parts.items():
            assert 0 <= min(box) <= max(box) <= 1
            ymin, xmin, ymax, xmax = box
            assert ymin < ymax
            assert xmin < xmax
            rows = slice(int(ymin * 64), int(np.ceil(ymax * 64)))
            columns = slice(int(xmin * 64), int(np.ceil(xmax * 64)))
            covered[name].append((example.mask[rows, columns] > 0).mean())
    for name, shares in covered.items():
        # Eyes, noses and mouths lie within the head (3000 examples: 99.8, 98 and 96 %
        # of their boxes); a tilted ear fills no more than two thirds of its box. A
        # box that is mirrored or shifted by a head falls to half of that.
        assert np.mean(shares) > (0.6 if "ear" in name else 0.9), name
        assert min(shares) > 0.2, name


def test_left_is_left_as_the_viewer_sees_it():
    for index in range(20):
        parts = scenes.draw(0, "train", index).parts
        for part in ("eye", "ear"):
            # The tilt stays below 45 degrees, so left parts stay left.
            assert parts[f"left_{part}"][1] < parts[f"right_{part}"][1]


def test_large_pictures_show_the_same_scene():
    for index in range(3):
        small = scenes.draw(0, "train", index, 64)
        large = scenes.draw(0, "train", index, 256)
        assert small.label == large.label
        assert small.parts == large.parts
        blocks = large.image.reshape(64, 4, 64, 4, 3).mean((1, 3))
        difference = np.abs(blocks - small.image) / 255
        # Antialiased edges of one pixel agree to a fraction; different scenes differ
        # by 0.2 on the average.
        assert difference.mean() < 0.015
        share = large.mask.reshape(64, 4, 64, 4).mean((1, 3)) / 255
        assert np.abs(share - small.mask / 255).mean() < 0.03


@pytest.mark.slow
def test_colour_tells_nothing(sample):
    images, masks, labels = sample
    weights = (masks > 0)[..., None]
    means = (images * weights).sum((1, 2)) / weights.sum((1, 2))
    centres = np.stack(
        [means[:TRAIN][labels[:TRAIN] == k].mean(0) for k in range(CLASSES)]
    )
    distance = ((means[TRAIN:, None] - centres) ** 2).sum(-1)
    accuracy = (distance.argmin(1) == labels[TRAIN:]).mean()
    # Chance is 10 %, with a standard deviation of 1.2 % for 600 examples. The share of
    # a face that is muzzle, horn or inner ear differs by class, which leaves a trace.
    assert accuracy < 0.2
    # The classes' means scatter far less than the animals do: some 7 levels of 33.
    assert centres.std(0).max() < 0.35 * means.std(0).min()


@pytest.mark.slow
def test_position_tells_nothing(sample):
    _, masks, labels = sample
    rows = (masks > 0).any(2)
    columns = (masks > 0).any(1)
    top, left = rows.argmax(1), columns.argmax(1)
    bottom, right = 64 - rows[:, ::-1].argmax(1), 64 - columns[:, ::-1].argmax(1)
    middle = np.stack([top + bottom, left + right], 1) / 2
    centres = np.stack([middle[labels == k].mean(0) for k in range(CLASSES)])
    # Silhouettes are centred, whatever sticks out of the head. The jitter spreads each
    # class by 0.22 * 64 / 12 ** 0.5 = 4 pixels; the tilt, which lifts horns more than
    # chins, leaves 1.5 of them between classes.
    assert np.abs(centres - 32).max() < 2.5


@pytest.mark.slow
def test_a_linear_classifier_fails(sample):
    images, _, labels = sample
    # Half the resolution suits a linear classifier better than all the pixels.
    halved = images.reshape(-1, 32, 2, 32, 2, 3).mean((2, 4), dtype=np.float32) / 255
    best = max(ridge_accuracy(halved, labels, p, TRAIN) for p in (30.0, 300.0))
    # A linear classifier is to tell at most half; well over the 10 % of chance shows
    # that this test can see something.
    assert 0.15 < best < 0.5


def test_shapes_know_their_distance():
    disc = shapes.Ellipse(1.0, 2.0, 3.0, 3.0)
    # Five to the right of the centre of a disc of radius three.
    assert disc.distance(np.float64(6.0), np.float64(2.0)) == pytest.approx(
        2.0, abs=1e-4
    )
    line = strokes.Strokes((strokes.Line(((0, 0), (4, 0)), 0.5, 0.5),))
    assert line.distance(np.float64(2), np.float64(2)) == pytest.approx(1.5, abs=1e-6)


@pytest.mark.parametrize(
    "shape",
    [
        shapes.Ellipse(0.2, -0.1, 0.8, 0.5, 0.4, 0.3),
        shapes.Leaf(-0.3, 0.2, 0.9, -0.4, 0.3),
        shapes.Ellipse(0, 0, 0.3, 0.9),
    ],
)
def test_outlines_lie_on_the_shape_and_in_its_reach(shape):
    points = shape.outline()
    # The outline is where the distance is zero, by definition.
    np.testing.assert_allclose(shape.distance(*points.T), 0, atol=1e-3)
    circle = shape.reach()
    far = np.hypot(*(points - (circle.x, circle.y)).T).max()
    assert far <= circle.radius + 1e-6


def test_noise_has_unit_spread_and_falls_with_frequency():
    (field,) = noise.fields(np.random.default_rng(0), 128, (1.0,))
    assert field.std() == pytest.approx(1, abs=0.3)
    power = np.abs(np.fft.fft2(field)) ** 2
    frequency = np.fft.fftfreq(128, 1 / 128)
    radius = np.hypot(frequency[:, None], frequency)
    low = power[(radius >= 2) & (radius < 4)].mean()
    high = power[(radius >= 16) & (radius < 20)].mean()
    # An amplitude of 1 / f is a power of 1 / f^2: (18 / 3)^2 = 36 between these rings.
    assert low / high == pytest.approx(36, rel=0.5)


def test_workers_import_neither_jax_nor_tfds():
    # A worker imports `render`; either library would take it seconds.
    code = "import sys, zf_jax.creatures.render; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"jax", "tensorflow_datasets"} & set(ran.stdout.split())


def test_processes_draw_the_same_in_order(monkeypatch):
    monkeypatch.setattr(render, "_WORTH_PROCESSES", 0)
    monkeypatch.setattr(render, "_CHUNK", 8)
    drawn = list(render.draw_all(0, "train", 20, 64, workers=2))
    assert drawn == [render.encoded(0, "train", index, 64) for index in range(20)]


def test_round_trip_through_tfds(tmp_path):
    config = builder.CreaturesConfig(name="tiny", size=64, train=40, validation=20)
    made = builder.Creatures(config=config, data_dir=tmp_path)
    made.download_and_prepare(file_format="array_record")
    assert made.info.features["label"].names == list(scenes.CLASSES)
    # TFDS shuffles by key, so examples are matched by their pictures.
    for split, count in (("train", 40), ("validation", 20)):
        source = made.as_data_source(split=split)
        assert len(source) == count
        read = {example["image"].tobytes(): example for example in source}
        for index in range(count):
            drawn = scenes.draw(builder.SEED, split, index)
            example = read[drawn.image.tobytes()]
            assert example["label"] == drawn.label
            np.testing.assert_array_equal(example["mask"][..., 0], drawn.mask)
            for name, box in drawn.parts.items():
                # Boxes are stored as float32.
                np.testing.assert_allclose(example["parts"][name], box, atol=1e-6)
    # Random access: an index holds the same example, in any order.
    source = made.as_data_source(split="train")
    forward, backward = source[7], [source[i] for i in (30, 7)][1]
    np.testing.assert_array_equal(forward["image"], backward["image"])
