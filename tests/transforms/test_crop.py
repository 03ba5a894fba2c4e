"""What one unit sees, of random functions: values and pixels of the whole image."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transforms import random_maps, third_party_nets
from tests.transforms.test_incremental import compiled_quickly
from zf_jax.transforms import capture, closure, crop, gates, jaxpr, rectify
from zf_jax.transforms.saved import save_whole

# Convolutions in the forms of a CPU.
PLATFORM = "cpu"


def positions_of(found, rng):
    """Corners, and two positions anywhere."""
    rows, columns = found.positions
    corners = [(r, c) for r in {0, rows - 1} for c in {0, columns - 1}]
    others = rng.integers(0, found.positions, (2, 2))
    return np.array([*corners, *map(tuple, others)])


def seen(image, first, size):
    """The pixels [*size, C] from `first` on, no number beyond the border; and where."""
    inside = np.zeros(size, bool)
    shown = np.full((*size, image.shape[-1]), np.nan, np.float32)
    for row, column in np.ndindex(*size):
        at = first[0] + row, first[1] + column
        if 0 <= at[0] < image.shape[0] and 0 <= at[1] < image.shape[1]:
            inside[row, column] = True
            shown[row, column] = image[at]
    return shown, inside


def framed(pixels, inside, first, shape):
    """What a crop's pixels are in the whole image's frame."""
    whole = np.zeros(shape, np.float32)
    for row, column in np.argwhere(inside):
        whole[first[0] + row, first[1] + column] = pixels[row, column]
    return whole


def plan(function, image):
    """The crop of a function's only result, its weights, and the traced function."""
    one = jax.ShapeDtypeStruct((1, *image.shape), np.float32)
    program = closure.hoist(function, one)
    weights = [jax.ShapeDtypeStruct(w.shape, w.dtype) for w in program.weights]
    traced = jaxpr.trace(program.apply, weights, one, keep=gates.is_closed)
    return crop.Crop(traced, traced.results[0], PLATFORM), program.weights, traced


def assert_cropped(net, image, rule, rng, positions=None):
    """Values and pixels of units are those of the whole function; gives the crop."""
    function = rectify.rectify(net, rule, nonlinear="gradient")
    found, weights, traced = plan(function, image)
    at = positions_of(found, rng) if positions is None else np.array(positions)
    offsets, firsts = found.offsets[found.index(at)], found.firsts(at)
    crops, inside = zip(*(seen(image, f, found.size) for f in firsts), strict=True)
    entries = np.arange(len(at)), 0, *at.T

    @jax.jit
    def whole(image):
        values, pull = jax.vjp(function, image[None])
        active = values[entries[1:]] > 0
        # Where it is closed, a unit's own rectifier passes its seed all the same.
        seeds = jnp.asarray(rng.uniform(1, 2, active.shape), jnp.float32) * active
        seeds = seeds.at[-1].set(0)
        placed = jnp.zeros((len(at), *values.shape)).at[entries].set(seeds)
        (pixels,) = jax.vmap(pull)(placed)
        return values[0], seeds, pixels[:, 0]

    @jax.jit
    def cropped(weights, image, crops, seeds):
        prepared = found.prepare(weights)
        saved, columns = jax.vmap(functools.partial(found.forward, prepared))(
            crops, offsets
        )
        kept = [each for each in found.saved if each.key in found.reads]
        of_whole = save_whole(traced, kept, weights, image[None], PLATFORM)
        cut = jax.vmap(lambda o: found.cut(of_whole, o))(offsets)
        backward = jax.vmap(functools.partial(found.backward, prepared))
        return columns, [backward(each, offsets, seeds) for each in (saved, cut)]

    values, seeds, wanted = map(np.asarray, whole(image))
    columns, both = cropped(weights, image, np.stack(crops)[:, None], seeds)
    want = values[tuple(at.T)]
    np.testing.assert_allclose(
        columns, want, rtol=1e-4, atol=1e-5 * np.abs(values).max()
    )
    scale = np.abs(wanted).max()
    for pixels in map(np.asarray, both):
        for part, within, first, want in zip(
            pixels, inside, firsts, wanted, strict=True
        ):
            # Nothing is said of pixels that are not there.
            assert not part[~within].any()
            got = framed(part, within, first, image.shape)
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * scale)
        assert not pixels[-1].any()
    return found


def picture(rng, *size):
    return rng.normal(size=(*size, 3)).astype(np.float32)


@settings(deadline=None, derandomize=True, max_examples=80)
@given(
    names=st.lists(st.sampled_from([*random_maps.OPERATIONS]), min_size=1, max_size=5),
    size=st.tuples(st.integers(9, 26), st.integers(9, 26)),
    rule=st.sampled_from(gates.RULES),
    seed=st.integers(0, 1000),
)
@pytest.mark.slow
def test_random_nets(names, size, rule, seed):
    rng = np.random.default_rng(seed)
    with compiled_quickly():
        assert_cropped(random_maps.make(names, seed), picture(rng, *size), rule, rng)


@pytest.mark.parametrize(
    ("names", "rule"),
    [
        (["conv", "max_pool", "residual", "depthwise", "joined_channels"], "deconvnet"),
        (["max_pool", "padded", "resized", "conv_transposed", "placed"], "guided"),
        (["depth_to_space", "flipped", "gated", "across_channels"], "gradient"),
        (["joined_rows", "mean_pool", "taken", "excited"], "guided"),
    ],
)
def test_nets(names, rule):
    rng = np.random.default_rng(2)
    with compiled_quickly():
        net = random_maps.make(names, 5)
        found = assert_cropped(net, picture(rng, 23, 19), rule, rng)
    assert found.channels == 4


def two_layers(images):
    """A unit of it sees 3 + 2 * 2 rows, and 3 + 2 columns."""
    rng = np.random.default_rng(3)
    x = jax.nn.relu(random_maps.convolved(images, random_maps.weights(rng, 3, 3, 3, 5)))
    kernel = random_maps.weights(rng, 3, 2, 5, 6)
    x = random_maps.convolved(x, kernel, padding="VALID", rhs_dilation=(2, 2))
    return jax.nn.relu(x)


def test_no_more_than_a_unit_sees():
    rng = np.random.default_rng(0)
    image = picture(rng, 40, 30)
    found = assert_cropped(two_layers, image, "guided", rng)
    assert found.positions == (36, 28)
    assert found.size == (7, 5)
    # The first layer is padded by one.
    at = np.array([[0, 0], [35, 27], [99, -4]])
    assert found.firsts(at).tolist() == [[-1, -1], [34, 26], [34, -1]]
    # Of the first map a unit reads 5 x 3 places (and lies at one of the second).
    share = 15 / (40 * 30)
    whole = found.forward_work(whole=True)
    np.testing.assert_allclose(found.forward_work(whole=False), share * whole)
    values = 15 * 5
    # Float32: the image's crop is none of them.
    assert 4 * 2 * values < found.bytes() < 4 * 5 * values


def test_a_field_that_is_nearly_the_image():
    # Four filters of 3 see 9 of 10 pixels, as `capture.layers` says.
    kernel = np.ones((3, 3, 1, 1), np.float32)

    def four_layers(x):
        x = jax.nn.relu(x)
        for _ in range(4):
            x = jax.nn.relu(third_party_nets.conv(x, kernel))
        return x

    rng = np.random.default_rng(1)
    found = assert_cropped(four_layers, picture(rng, 10, 10)[..., :1], "guided", rng)
    assert found.size == (9, 9)
    image = jax.ShapeDtypeStruct((1, 10, 10, 1), np.float32)
    assert capture.layers(four_layers, image)[-1].receptive_field == (9, 9)


@pytest.mark.parametrize(
    ("rule", "reads"), [("deconvnet", 0), ("guided", 1), ("gradient", 1)]
)
def test_what_the_backward_pass_reads(rule, reads):
    # Of the rectifiers below the unit's own the masks, where the rule asks for them.
    image = np.zeros((12, 11, 3), np.float32)
    found, *_ = plan(rectify.rectify(two_layers, rule), image)
    assert len(found.reads) == reads
    assert {each.part.dtype for each in found.saved if each.key in found.reads} <= {
        np.dtype(bool)
    }


def test_a_vector_sees_the_whole_image():
    def dense(images):
        x = two_layers(images)
        rng = np.random.default_rng(1)
        x = x.reshape(len(x), -1)
        return jax.nn.relu(x @ random_maps.weights(rng, x.shape[1], 7))

    rng = np.random.default_rng(0)
    image = picture(rng, 9, 8)
    function = rectify.rectify(dense, "guided")
    found, weights, _ = plan(function, image)
    assert found.positions == (1, 1)
    assert found.size == (9, 8)
    assert found.index(np.array([[0, 0], [3, 2]])).tolist() == [0, 0]
    prepared, (offsets,) = found.prepare(weights), found.offsets
    saved, column = found.forward(prepared, jnp.asarray(image[None]), offsets)
    want, pull = jax.vjp(function, jnp.asarray(image[None]))
    np.testing.assert_allclose(column, want[0], rtol=1e-4, atol=1e-6)
    seed = jnp.where(column > 0, 1.5, 0)
    (wanted,) = pull(seed[None])
    pixels = found.backward(prepared, saved, offsets, seed)
    np.testing.assert_allclose(pixels, wanted[0], rtol=1e-4, atol=1e-6)
    assert wanted.any()


def test_a_seed_passes_its_own_rectifier():
    # Where it is closed: the second unit of an image of zeros and a negative bias.
    def net(images):
        return jax.nn.relu(images @ jnp.eye(3) - 1)

    image = np.zeros((5, 5, 3), np.float32)
    found, weights, _ = plan(rectify.rectify(net, "guided"), image)
    assert found.size == (1, 1)
    seed = jnp.array([0.0, 2.0, -3.0])
    pixels = found.backward(found.prepare(weights), {}, found.offsets[7], seed)
    np.testing.assert_array_equal(pixels, [[seed]])
