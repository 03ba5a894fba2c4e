"""The occlusion sweep against a loop in NumPy, and its promises about compilation."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zf_jax.errors import BadInput
from zf_jax.probes import occlusion

# float32 sums of some hundred terms near 1, added in another order: a few hundred
# roundings of 6e-8.
CLOSE = {"rtol": 2e-5, "atol": 2e-5}


def pictures(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def make_model_fn(shape, seed=1):
    """A function that is neither linear nor the same for all pixels; two leaves."""
    weights = jnp.asarray(pictures(*shape, 4, seed=seed) / 10)

    def model_fn(images):
        hidden = jnp.maximum(jnp.einsum("nhwc,hwcd->nd", images, weights), 0)
        return {"hidden": hidden, "brightest": images.max(axis=(1, 2, 3))}

    return model_fn


def starts(length, side, stride):
    """Captum's rule, by walking: step until the whole length is covered."""
    found = [0]
    while found[-1] + side < length:
        found.append(found[-1] + stride)
    return found


def loop(model_fn, image, side, stride, fill):
    """One occluded image at a time, cut and filled by NumPy."""
    rows = starts(image.shape[0], side[0], stride[0])
    columns = starts(image.shape[1], side[1], stride[1])
    fill = np.broadcast_to(np.asarray(fill, np.float32), image.shape)
    grid = []
    for row in rows:
        for column in columns:
            occluded = image.copy()
            at = slice(row, row + side[0]), slice(column, column + side[1])
            occluded[at] = fill[at]
            grid.append(jax.tree.map(np.asarray, model_fn(occluded[None])))
    return jax.tree.map(
        lambda *leaves: np.stack([leaf[0] for leaf in leaves]).reshape(
            len(rows), len(columns), *leaves[0].shape[1:]
        ),
        *grid,
    )


def assert_close(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **CLOSE), got, want)


@pytest.mark.parametrize(
    ("shape", "side", "stride"),
    [
        pytest.param((8, 8, 3), 4, 4, marks=pytest.mark.slow),
        ((8, 8, 3), 4, 3),  # 3 does not divide 8 - 4: the last square is cropped
        # An odd rectangle, cropped down and across.
        pytest.param((9, 7, 3), 2, 2, marks=pytest.mark.slow),
        ((9, 7, 1), (3, 5), (2, 4)),
        # As high as the image.
        pytest.param((7, 10, 2), (7, 1), (1, 3), marks=pytest.mark.slow),
        ((6, 5, 3), (6, 5), 3),  # the whole image: one position
        ((11, 6, 3), 2, 5),  # gaps between the squares
        pytest.param((5, 5, 3), 1, 1, marks=pytest.mark.slow),
    ],
)
def test_sweep_equals_a_loop(shape, side, stride):
    model_fn, image = make_model_fn(shape), pictures(*shape)
    got = occlusion.sweep(model_fn, image, side=side, stride=stride, fill=0.3)
    pair = [(x, x) if isinstance(x, int) else x for x in (side, stride)]
    assert_close(got, loop(model_fn, image, *pair, 0.3))


@pytest.mark.parametrize(
    ("length", "side", "stride", "positions"),
    # By hand: ceil((length - side) / stride) + 1.
    [
        (224, 32, 8, 25),
        (64, 20, 4, 12),
        (10, 3, 4, 3),
        (10, 4, 4, 3),
        (3, 2, 2, 2),
        (5, 5, 1, 1),
        (7, 2, 6, 2),
    ],
)
def test_grid_covers_the_image(length, side, stride, positions):
    grid = occlusion.grid((length, length), side, stride)
    assert len(grid.rows) == positions == len(starts(length, side, stride))
    assert list(grid.rows) == list(grid.columns) == starts(length, side, stride)
    # The last square reaches the border, and no square before it does.
    assert grid.rows[-1] + side >= length > grid.rows[-1]
    assert all(row + side < length for row in grid.rows[:-1])


def test_a_square_may_be_cropped_to_nothing():
    # The formula's second square stands at 5, where a 5-pixel image has ended: the
    # output there is that of the image itself.
    image = jnp.arange(1.0, 6.0).reshape(5, 1, 1)
    got = occlusion.sweep(
        lambda x: x.sum(axis=(1, 2, 3)), image, side=(4, 1), stride=(5, 1)
    )
    # Of 1 + 2 + 3 + 4 + 5, the first square leaves 5.
    np.testing.assert_array_equal(got, [[5], [15]])


FILLS = {
    "number": 0.7,
    "image": pictures(6, 7, 3, seed=6),
    "grey image": pictures(6, 7, 1, seed=7),
}


@pytest.mark.parametrize("fill", FILLS.values(), ids=FILLS)
def test_fill(fill):
    model_fn, image = make_model_fn((6, 7, 3)), pictures(6, 7, 3)
    got = occlusion.sweep(model_fn, image, side=3, stride=2, fill=fill)
    assert_close(got, loop(model_fn, image, (3, 3), (2, 2), fill))


@pytest.mark.parametrize("many_fills", [False, True])
def test_a_batch_of_images_is_each_image(many_fills):
    model_fn, images = make_model_fn((6, 7, 3)), pictures(3, 6, 7, 3)
    fills = pictures(3, 6, 7, 3, seed=8)
    got = occlusion.sweep(
        model_fn, images, side=(2, 3), stride=(3, 2), fill=fills if many_fills else 0.1
    )
    for i, image in enumerate(images):
        want = loop(model_fn, image, (2, 3), (3, 2), fills[i] if many_fills else 0.1)
        assert_close(jax.tree.map(lambda leaf, i=i: leaf[i], got), want)


@pytest.mark.parametrize("batch_size", [None, 7, 1000])
def test_batch_size_does_not_matter(batch_size):
    # 24 positions for each of two images: 48, which 7 does not divide.
    model_fn, images = make_model_fn((8, 6, 3)), pictures(2, 8, 6, 3)
    got = occlusion.sweep(model_fn, images, side=3, stride=1, batch_size=batch_size)
    for i, image in enumerate(images):
        want = loop(model_fn, image, (3, 3), (1, 1), 0.0)
        assert_close(jax.tree.map(lambda leaf, i=i: leaf[i], got), want)


def test_results_keep_the_structure_and_dtypes():
    def model_fn(images):
        total = images.sum(axis=(1, 2, 3))
        return (total.astype(jnp.bfloat16), [jnp.argmax(images[:, 0, :, 0], axis=1)])

    half, (label,) = occlusion.sweep(model_fn, pictures(6, 5, 1), side=2, stride=2)
    assert half.shape == label.shape == (3, 3)
    assert (half.dtype, label.dtype) == (jnp.bfloat16, jnp.int32)


def test_a_second_call_compiles_nothing(compilations):
    model_fn = make_model_fn((9, 8, 3))
    images = [jnp.asarray(pictures(9, 8, 3, seed=i)) for i in range(3)]
    fills = [jnp.float32(0.0), jnp.float32(1.0), jnp.float32(2.0)]
    with compilations() as first:
        occlusion.sweep(model_fn, images[0], side=4, stride=3, fill=fills[0])
    with compilations() as second:
        for image, fill in zip(images[1:], fills[1:], strict=True):
            jax.block_until_ready(
                occlusion.sweep(model_fn, image, side=4, stride=3, fill=fill)
            )
    assert first
    assert not second


def test_the_sweep_is_one_compiled_call(compilations):
    # Not one a chunk, nor one for the last chunk: 21 positions by 4.
    model_fn, image = make_model_fn((9, 5, 3)), jnp.asarray(pictures(9, 5, 3))
    fill = jnp.float32(0)
    occlusion.sweep(model_fn, image, side=3, stride=1, fill=fill, batch_size=21)
    with compilations() as found:
        occlusion.sweep(model_fn, image, side=3, stride=1, fill=fill, batch_size=4)
    # The sweep, and at most the slices that jax dispatches around it.
    assert 1 <= len(found) <= 3


@pytest.mark.parametrize("jitted", [False, True])
def test_weights_are_freed_with_the_model(jitted):
    # Weights over which only the function closes; the compiled programs may stay.
    def make():
        weights = jnp.asarray(pictures(4 * 4 * 3, 10))

        def model_fn(images):
            return images.reshape(len(images), -1) @ weights

        return jax.jit(model_fn) if jitted else model_fn, weakref.ref(weights)

    model_fn, gone = make()
    occlusion.sweep(model_fn, pictures(4, 4, 3), side=2, stride=2)
    assert gone() is not None
    del model_fn
    gc.collect()
    assert gone() is None


def mean_attribution(clean, occluded, side, stride, shape):
    """Per pixel, the mean loss over the squares on it: the definition, as a loop."""
    lost, counts = np.zeros((*shape, *np.shape(clean))), np.zeros(shape)
    for r, row in enumerate(starts(shape[0], side[0], stride[0])):
        for c, column in enumerate(starts(shape[1], side[1], stride[1])):
            at = slice(row, row + side[0]), slice(column, column + side[1])
            lost[at] += np.asarray(clean) - occluded[r, c]
            counts[at] += 1
    return lost / counts.reshape(*shape, *[1] * np.ndim(clean))


@pytest.mark.parametrize(
    ("shape", "side", "stride"),
    [
        ((7, 5), (3, 2), (2, 1)),
        ((9, 4), (4, 3), (3, 3)),
    ],
)
@pytest.mark.parametrize("leaf", [(), (3,)])
def test_attribution_equals_a_loop(shape, side, stride, leaf):
    grid = occlusion.grid(shape, side, stride).shape
    clean, occluded = pictures(*leaf), pictures(*grid, *leaf, seed=3)
    got = occlusion.attribution(
        jnp.asarray(clean), jnp.asarray(occluded), side=side, stride=stride, shape=shape
    )
    want = mean_attribution(clean, occluded, side, stride, shape)
    assert got.shape == (*shape, *leaf)
    np.testing.assert_allclose(got, want, **CLOSE)


def test_attribution_by_hand():
    # Captum's case of a cut-off patch: 3 x 3, window 2, stride 2, the sum as output.
    # Each pixel lies under one square, and gets what that square took away.
    image = jnp.arange(9.0).reshape(3, 3, 1)

    def model_fn(images):
        return images.sum(axis=(1, 2, 3))

    occluded = occlusion.sweep(model_fn, image, side=2, stride=2)
    got = occlusion.attribution(
        model_fn(image[None])[0], occluded, side=2, stride=2, shape=(3, 3)
    )
    # Squares over {0, 1, 3, 4}, {2, 5}, {6, 7}, {8}.
    np.testing.assert_array_equal(got, [[8, 8, 7], [8, 8, 7], [13, 13, 8]])


def total(images):
    return images.sum(axis=(1, 2, 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"side": 0}, "side"),
        ({"side": (3, 0)}, "side"),
        ({"side": -2}, "side"),
        ({"stride": 0}, "stride"),
        ({"stride": (0, 2)}, "stride"),
        ({"stride": (9, 1)}, r"stride .*larger than the image of 8x6"),
        ({"side": 9}, "larger than the image of 8x6"),
        ({"side": (3, 7)}, "larger than the image of 8x6"),
        ({"fill": np.zeros(2)}, "fill of shape"),
        ({"fill": np.zeros((4, 4, 3))}, "fill of shape"),
        ({"fill": np.zeros((2, 8, 6, 3))}, "fill of shape"),
        ({"method": "quick"}, "method 'quick'"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"batch_size": -1}, "batch_size -1"),
        ({"image": np.zeros((8, 6), np.float32)}, "image of shape"),
        ({"image": np.zeros((1, 1, 8, 6, 3), np.float32)}, "image of shape"),
        ({"image": np.zeros((0, 8, 6, 3), np.float32)}, "image of shape"),
        ({"image": np.zeros((8, 6, 3), np.uint8)}, "image of uint8: give floats"),
        ({"image": np.zeros((8, 6, 3), bool)}, "image of bool: give floats"),
        ({"model_fn": lambda images: images.sum()}, "axis of images"),
        ({"model_fn": lambda images: {"a": total(images), "b": images[0]}}, "axis of"),
    ],
)
def test_sweep_refuses(change, message):
    given = {"model_fn": total, "image": pictures(8, 6, 3), "side": 3, "stride": 2}
    given |= change
    with pytest.raises(BadInput, match=message) as error:
        occlusion.sweep(given.pop("model_fn"), given.pop("image"), **given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("stride", "grid", "message"),
    [(3, (3, 3), "leaves gaps"), (2, (3, 4), "the grid is"), (0, (4, 4), "stride")],
)
def test_attribution_refuses(stride, grid, message):
    with pytest.raises(BadInput, match=message):
        occlusion.attribution(
            jnp.float32(0), jnp.zeros(grid), side=2, stride=stride, shape=(8, 8)
        )
