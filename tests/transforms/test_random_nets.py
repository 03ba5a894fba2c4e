"""Incremental sweeps of random nets equal what NumPy's occluded images give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from tests.transforms import random_maps
from tests.transforms.test_incremental import (
    ONE,
    assert_same,
    compiled_quickly,
    normal,
)
from zf_jax.probes import model_functions, occluder_grid, occlusion, occlusion_engine

OPERATIONS = ("conv", "conv", "pool", "lrn", "tanh", "pad", "slice", "scale")


@st.composite
def nets(draw):
    """An image's shape and a sequence of operations that it can go through."""
    shape = draw(st.tuples(st.integers(7, 24), st.integers(7, 24), st.just(2)))
    sizes, maps, steps = list(shape[:2]), 2, []
    for name in draw(st.lists(st.sampled_from(OPERATIONS), min_size=1, max_size=4)):
        options = {}
        if name in ("conv", "pool"):
            size = draw(_pair(1, 4))
            stride, dilation = draw(_pair(1, 3)), draw(_pair(1, 2))
            pads = tuple(draw(_pair(0, s - 1)) for s in size)
            reach = [(s - 1) * d + 1 for s, d in zip(size, dilation, strict=True)]
            after = [
                (n + sum(p) - r) // s + 1
                for n, p, r, s in zip(sizes, pads, reach, stride, strict=True)
            ]
            options = {"size": size, "stride": stride, "pads": pads}
            options |= {"dilation": dilation}
            if name == "conv":
                # 16 channels and more take Winograd's form on a CPU.
                options["maps"] = draw(st.sampled_from([4, 16]))
                options["groups"] = draw(st.sampled_from([1, 2]))
                options["before"] = maps
            else:
                options["kind"] = draw(st.sampled_from(["max", "mean", "min"]))
        elif name == "pad":
            pads = tuple(draw(_pair(0, 3)) for _ in range(2))
            options = {"pads": pads, "value": draw(st.sampled_from([0.0, -2.0]))}
            after = [n + sum(p) for n, p in zip(sizes, pads, strict=True)]
        elif name == "slice":
            begin, step = draw(_pair(0, 3)), draw(_pair(1, 2))
            options = {"begin": begin, "step": step}
            after = [
                -(-(n - b) // t) for n, b, t in zip(sizes, begin, step, strict=True)
            ]
        else:
            after = sizes
        # What leaves nothing of the map is left out.
        if min(after) >= 1 and (name != "pool" or _all_see_something(options, sizes)):
            sizes, maps = after, options.get("maps", maps)
            steps.append((name, options))
    return shape, steps


def _pair(least, most):
    return st.tuples(st.integers(least, most), st.integers(least, most))


def _all_see_something(options, sizes):
    """A dilated window may see padding alone, whose maximum is not finite."""
    ones = np.ones((1, *sizes, 1), np.float32)
    return np.isfinite(_pool(ones, **options | {"kind": "max"})).all()


def _pool(x, kind, size, stride, pads, dilation):
    start, function = {
        "max": (-jnp.inf, lax.max),
        "min": (jnp.inf, lax.min),
        "mean": (0.0, lax.add),
    }[kind]
    return lax.reduce_window(
        x,
        start,
        function,
        (1, *size, 1),
        (1, *stride, 1),
        ((0, 0), *pads, (0, 0)),
        window_dilation=(1, *dilation, 1),
    )


def _make_net(steps, seed):
    rng = np.random.default_rng(seed)
    kernels = {
        i: rng.normal(size=(*o["size"], o["before"] // o["groups"], o["maps"])) / 3
        for i, (name, o) in enumerate(steps)
        if name == "conv"
    }

    def model_fn(images):
        x = images
        for i, (name, options) in enumerate(steps):
            if name == "conv":
                x = lax.conv_general_dilated(
                    x,
                    jnp.asarray(kernels[i], jnp.float32),
                    options["stride"],
                    options["pads"],
                    rhs_dilation=options["dilation"],
                    feature_group_count=options["groups"],
                    dimension_numbers=("NHWC", "HWIO", "NHWC"),
                )
            elif name == "pool":
                x = _pool(x, **options)
            elif name == "lrn":
                power = lax.reduce_window(
                    x**2, 0.0, lax.add, (1, 1, 1, 3), (1, 1, 1, 1), "SAME"
                )
                x = x / (1 + power) ** 0.75
            elif name == "tanh":
                x = jnp.tanh(x)
            elif name == "pad":
                pads = ((0, 0), *options["pads"], (0, 0))
                x = jnp.pad(x, pads, constant_values=options["value"])
            elif name == "slice":
                (top, left), (down, across) = options["begin"], options["step"]
                x = x[:, top::down, left::across]
            else:
                # A factor a position, the same in all maps.
                x = x * jnp.linspace(1, 2, x.shape[1])[:, None, None][None]
        return x, x.sum(axis=(1, 2)), x[:, -1:, :1].max(axis=-1)

    return model_fn


@st.composite
def grids(draw, shape):
    """Occluders of every size up to the image's, at every stride."""
    side = [draw(st.one_of(st.just(n), st.integers(1, n))) for n in shape]
    # Few positions an axis: they share what is compiled.
    stride = [
        draw(st.integers(max(1, (n - s) // 4), max(1, n - s)))
        for n, s in zip(shape, side, strict=True)
    ]
    return occlusion.grid(tuple(shape), tuple(side), tuple(stride))


def _fill(draw, shape):
    size = draw(st.sampled_from([(1, 1, 1, 1), (1, 1, 1, 2), (1, *shape)]))
    return normal(*size, seed=7)


def _occluded(image, fill, positions: occluder_grid.Grid):
    """All occluded images, cut and filled by NumPy."""
    fill, found = np.broadcast_to(fill[0], image.shape), []
    for row in positions.rows:
        for column in positions.columns:
            copy = np.array(image)
            at = (
                slice(row, row + positions.side[0]),
                slice(column, column + positions.side[1]),
            )
            copy[at] = fill[at]
            found.append(copy)
    return np.stack(found)


def assert_incremental(model_fn, image, fill, positions, chunk):
    """The incremental sweep gives what the function gives of the occluded images."""
    program = model_functions.prepare(model_fn, 1, image.shape, image.dtype)
    got, clean = occlusion_engine.incremental(
        program.apply,
        program.weights,
        image[None],
        fill,
        grid=positions,
        chunk=chunk,
        devices=tuple(ONE),
    )
    images = _occluded(image, fill, positions)
    # The clean image is the last.
    want = jax.jit(model_fn)(np.concatenate([images, image[None]]))
    assert_same(
        [leaf.reshape(-1, *leaf.shape[3:]) for leaf in got],
        [leaf[:-1] for leaf in want],
    )
    assert_same(list(clean), [leaf[-1:] for leaf in want])


@pytest.mark.slow
@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.data(), nets(), st.integers(0, 3), st.sampled_from([None, 1, 3]))
def test_random_nets(data, net, seed, chunk):
    shape, steps = net
    positions, fill = data.draw(grids(shape[:2])), _fill(data.draw, shape)
    with compiled_quickly():
        assert_incremental(
            _make_net(steps, seed), normal(*shape), fill, positions, chunk
        )


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.data(),
    st.lists(st.sampled_from([*random_maps.OPERATIONS]), min_size=1, max_size=5),
    st.tuples(st.integers(9, 24), st.integers(9, 24), st.just(3)),
    st.integers(0, 1000),
)
def test_random_maps(data, names, shape, seed):
    positions, fill = data.draw(grids(shape[:2])), normal(1, 1, 1, 3, seed=7)
    net = random_maps.make(names, seed)
    with compiled_quickly():
        assert_incremental(
            lambda images: [net(images)], normal(*shape), fill, positions, None
        )
