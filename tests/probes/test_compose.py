"""The probes that are functions of arrays, within the transforms of JAX.

What is compared with is the same probe called without a transform, image by image, or
JAX's derivative of a loop over the occluder's positions.
"""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax
from jax.sharding import Mesh, PartitionSpec

from zf_jax.probes import occlusion, topk

# Sums of some hundred float32 in another order.
CLOSE = {"rtol": 2e-5, "atol": 2e-5}
GRID = {"side": 4, "stride": 4}
METHODS = pytest.mark.parametrize(
    "method", ["incremental", pytest.param("full", marks=pytest.mark.slow)]
)


def normal(*shape, seed=0):
    values = np.random.default_rng(seed).normal(size=shape)
    return jnp.asarray(values, jnp.float32)


IMAGES = normal(2, 16, 12, 3)
WEIGHTS = {"first": normal(3, 3, 3, 8, seed=1), "second": normal(3, 3, 8, 8, seed=2)}


def conv(x, kernel):
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)


@jax.custom_vjp
def gated(x):
    return jnp.maximum(x, 0)


# A derivative that is no derivative: that of a deconvnet.
gated.defvjp(lambda x: (gated(x), None), lambda _, signal: (gated(signal),))


def outputs(weights, images, rectifier=jax.nn.relu):
    x = rectifier(conv(images, weights["first"]))
    x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    means = rectifier(conv(x, weights["second"])).mean(axis=(1, 2))
    return {"means": means, "best": means.argmax(axis=1)}


def sweep(weights, image, rectifier=jax.nn.relu, **options):
    def model_fn(images):
        return outputs(weights, images, rectifier)

    return occlusion.sweep(model_fn, image, **(GRID | options))


def loop(weights, image, rectifier, fill=0.0):
    """A sweep whose squares divide the image, position by position."""
    rows, columns, side = *image.shape[:2], GRID["side"]
    occluded = [
        image.at[row : row + side, column : column + side].set(fill)
        for row in range(0, rows, side)
        for column in range(0, columns, side)
    ]
    found = outputs(weights, jnp.stack(occluded), rectifier)["means"]
    return found.reshape(rows // side, columns // side, -1)


def assert_close(got, want):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **CLOSE), got, want)


@pytest.fixture(scope="module")
def expected():
    explained = occlusion.explain(lambda x: outputs(WEIGHTS, x), IMAGES, **GRID)
    # Or the incremental sweep would be the full one.
    assert explained.speed_up > 2
    return sweep(WEIGHTS, IMAGES)


@METHODS
def test_jit_of_images_weights_and_fill(expected, method):
    def run(weights, images, fill):
        return sweep(weights, images, fill=fill, method=method)

    with jax.checking_leaks():
        assert_close(jax.jit(run)(WEIGHTS, IMAGES, 0.0), expected)


@METHODS
def test_jit_of_no_arguments(expected, method):
    assert_close(jax.jit(lambda: sweep(WEIGHTS, IMAGES, method=method))(), expected)


@METHODS
def test_vmap_of_images_and_of_weights(expected, method):
    with jax.checking_leaks():
        got = jax.vmap(lambda image: sweep(WEIGHTS, image, method=method))(IMAGES)
    assert_close(got, expected)
    pair = jax.tree.map(lambda w: jnp.stack([w, -w]), WEIGHTS)
    got = jax.vmap(lambda weights: sweep(weights, IMAGES[0], method=method))(pair)
    assert_close(jax.tree.map(lambda leaf: leaf[0, :], got), by_image(expected, 0))


def by_image(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


@pytest.mark.parametrize(
    ("method", "rectifier"),
    [
        ("incremental", jax.nn.relu),
        ("incremental", gated),
        pytest.param("full", gated, marks=pytest.mark.slow),
    ],
)
def test_gradient_by_the_functions_own_rules(method, rectifier):
    # Zeros beside the occluder, at which the rule of jax.nn.relu is 0, and that of
    # jnp.maximum is 1/2.
    image, seed = IMAGES[0, :8, :8].at[:3].set(0), normal(2, 2, 8, seed=3)

    def swept(weights, image, fill):
        found = sweep(weights, image, rectifier, fill=fill, method=method)
        return (found["means"] * seed).sum()

    def looped(weights, image, fill):
        return (loop(weights, image, rectifier, fill) * seed).sum()

    every = (0, 1, 2)
    got = jax.jit(jax.grad(swept, every))(WEIGHTS, image, 0.0)
    assert_close(got, jax.jit(jax.grad(looped, every))(WEIGHTS, image, 0.0))


# JAX looks for leaks among all objects of the process, which takes a minute late in a
# run of many tests.
@pytest.mark.slow
@pytest.mark.parametrize("rectifier", [jax.nn.relu, gated])
def test_gradients_leak_no_tracers(rectifier):
    def total(image):
        return sweep(WEIGHTS, image, rectifier)["means"].sum()

    with jax.checking_leaks():
        jax.jit(jax.grad(total))(IMAGES[0, :8, :8])


def test_functions_that_differ_in_their_derivative_alone():
    def total(rectifier, image):
        return sweep(WEIGHTS, image, rectifier)["means"].sum()

    true, ruled = (
        jax.jit(jax.grad(lambda x, each=each: total(each, x)))(IMAGES[0])
        for each in (lambda x: jnp.maximum(x, 0), gated)
    )
    assert np.abs(true - ruled).max() > 1e-3


def test_vmap_of_grad_under_jit():
    def total(image):
        return sweep(WEIGHTS, image)["means"].sum()

    got = jax.jit(jax.vmap(jax.grad(total)))(IMAGES)
    want = [jax.grad(lambda x: loop(WEIGHTS, x, jax.nn.relu).sum())(x) for x in IMAGES]
    assert_close(got, jnp.stack(want))


@pytest.mark.devices
@METHODS
@pytest.mark.parametrize("check_vma", [True, False])
def test_shard_map_of_images(expected, method, check_vma):
    mesh, by_device = Mesh(np.array(jax.devices()), ("x",)), PartitionSpec("x")
    run = jax.shard_map(
        lambda weights, images: sweep(weights, images, method=method),
        mesh=mesh,
        in_specs=(PartitionSpec(), by_device),
        out_specs=by_device,
        check_vma=check_vma,
    )
    assert_close(jax.jit(run)(WEIGHTS, IMAGES), expected)


@pytest.mark.devices
def test_devices_that_share_the_positions_under_jit(expected):
    run = jax.jit(lambda images: sweep(WEIGHTS, images, devices=jax.devices()))
    assert_close(run(IMAGES), expected)


def test_export(expected):
    exported = export.export(jax.jit(lambda x: sweep(WEIGHTS, x)))(IMAGES)
    again = export.deserialize(exported.serialize())
    assert_close(again.call(IMAGES), expected)


def test_explain_of_what_is_traced():
    found = []

    def explain(weights, image):
        found.append(
            occlusion.explain(lambda x: outputs(weights, x), image, **GRID).speed_up
        )
        return image

    with jax.checking_leaks():
        jax.jit(explain)(WEIGHTS, IMAGES)
    assert found[0] > 2


def test_checks_that_need_values_are_skipped():
    # Without a transform both are refused.
    mixed = jax.jit(
        lambda image: occlusion.sweep(lambda x: x.sum() + x[:, 0, 0, 0], image, **GRID)
    )
    assert np.isfinite(mixed(IMAGES[0])).all()
    assert np.isnan(
        jax.jit(lambda x: sweep(WEIGHTS, x))(IMAGES * jnp.nan)["means"]
    ).all()


def test_what_was_traced_is_forgotten():
    def trace_and_watch():
        def rectifier(x):
            return jnp.maximum(x, 0)

        jax.make_jaxpr(lambda x: sweep(WEIGHTS, x, rectifier))(IMAGES)
        return weakref.ref(rectifier)

    gone = trace_and_watch()
    jax.clear_caches()
    gc.collect()
    assert gone() is None


def test_attribution_within_transforms(expected):
    def attribution(images):
        clean, occluded = outputs(WEIGHTS, images)["means"], sweep(WEIGHTS, images)
        return jax.vmap(
            lambda one, other: occlusion.attribution(
                one, other, shape=images.shape[1:3], **GRID
            )
        )(clean, occluded["means"])

    got = jax.jit(attribution)(IMAGES)
    for index, image in enumerate(IMAGES):
        want = occlusion.attribution(
            outputs(WEIGHTS, image[None])["means"][0],
            expected["means"][index],
            shape=image.shape[:2],
            **GRID,
        )
        assert_close(got[index], want)
    total = jax.grad(lambda x: attribution(x)[:, 3, 4, 1].sum())
    assert np.any(total(IMAGES))


MAPS = {"a": normal(6, 4, 3, 5, seed=4), "b": normal(6, 7, seed=5)}
NUMBERS = jnp.arange(6)


def empty():
    return {"a": topk.empty(5, 2), "b": topk.empty(7, 2)}


@pytest.fixture(scope="module")
def best():
    """By one step, which NumPy's order of the maxima checks."""
    found = topk.step(empty(), MAPS, NUMBERS)
    strongest = np.asarray(MAPS["a"]).max(axis=(1, 2)).T
    np.testing.assert_array_equal(
        found["a"].images, np.argsort(-strongest, axis=1)[:, :2]
    )
    return found


def assert_same(got, want):
    jax.tree.map(np.testing.assert_array_equal, got, want)


def test_top_k_steps_under_jit_and_scan(best):
    step = jax.jit(topk.step)
    found = empty()
    for part in (slice(4, 6), slice(0, 2), slice(2, 4)):
        found = step(found, {n: m[part] for n, m in MAPS.items()}, NUMBERS[part])
    assert_same(found, best)
    parts = jax.tree.map(lambda x: x.reshape(3, 2, *x.shape[1:]), (MAPS, NUMBERS))
    scanned, _ = lax.scan(
        lambda found, part: (topk.step(found, *part), None), empty(), parts
    )
    assert_same(scanned, best)


def test_top_k_under_vmap(best):
    pair = jax.tree.map(lambda x: jnp.stack([x, -x]), MAPS)
    got = jax.vmap(topk.step, in_axes=(None, 0, None))(empty(), pair, NUMBERS)
    assert_same(by_image(got, 0), best)
    assert_same(by_image(got, 1), topk.step(empty(), by_image(pair, 1), NUMBERS))


def test_gradient_of_the_top_k_goes_to_the_maxima(best):
    def total(maps):
        return topk.step(empty(), maps, NUMBERS)["b"].values.sum()

    got = jax.grad(total)(MAPS)
    want = np.zeros((6, 7))
    np.put_along_axis(want, np.asarray(best["b"].images).T, 1, axis=0)
    assert_same(got, {"a": np.zeros_like(MAPS["a"]), "b": want})


@pytest.mark.devices
def test_top_k_under_shard_map(best):
    mesh, by_device = Mesh(np.array(jax.devices()), ("x",)), PartitionSpec("x")

    def run(maps, numbers):
        found = topk.step(empty(), maps, numbers)
        shares = lax.all_gather(found, "x")
        merged = [jax.tree.map(lambda x, i=i: x[i], shares) for i in range(2)]
        return {n: topk.merge(merged[0][n], merged[1][n], k=2) for n in MAPS}

    sharded = jax.shard_map(
        run, mesh=mesh, in_specs=by_device, out_specs=PartitionSpec(), check_vma=False
    )
    assert_same(jax.jit(sharded)(MAPS, NUMBERS), best)


def test_export_of_the_top_k_step(best):
    exported = export.export(jax.jit(topk.step))(empty(), MAPS, NUMBERS)
    assert_same(exported.call(empty(), MAPS, NUMBERS), best)
