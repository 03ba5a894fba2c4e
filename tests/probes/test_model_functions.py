"""Which functions are models, and which are refused in one line."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from zf_jax.errors import BadInput
from zf_jax.probes import batched, model_functions, occlusion, topk

SHAPE = (9, 8, 3)


def pictures(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def sweep(model_fn, image=None, **options):
    image = pictures(*SHAPE) if image is None else image
    given = {"side": 4, "stride": 3, "devices": jax.devices()[:1]} | options
    return occlusion.sweep(model_fn, image, **given)


def total(images):
    return images.sum(axis=(1, 2, 3))


UNTRACEABLE = {
    "NumPy within": lambda images: np.asarray(images).sum(axis=(1, 2, 3)),
    "a function of NumPy's": lambda images: np.sin(images).sum(axis=(1, 2, 3)),
    "if": lambda images: total(images) if images.max() > 0 else -total(images),
    "a float of a value": lambda images: total(images) * float(images.max()),
    "an index of values": lambda images: images[:, int(images.max())].sum((1, 2)),
    "a mask as an index": lambda images: images[images > 0].sum()[None],
    "where without a size": lambda images: total(images)[jnp.nonzero(images)[0]],
}


@pytest.mark.parametrize("model_fn", UNTRACEABLE.values(), ids=UNTRACEABLE)
@pytest.mark.parametrize("call", [sweep, occlusion.explain])
def test_what_cannot_be_traced(model_fn, call):
    with pytest.raises(BadInput, match="model_fn cannot be traced by JAX") as error:
        call(model_fn, image=pictures(40, 40, 3))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("model_fn", "message"),
    [
        (lambda images: images.sum(), r"model_fn gives \(\) for 1 images"),
        (lambda images: images.mean(axis=0), r"model_fn gives \(9, 8, 3\) for 1"),
        # Of one image that would pass: it is seen with two.
        (lambda images: images.mean(axis=0, keepdims=True), "for 2 images"),
        (
            lambda images: {"a": total(images), "b": jnp.ones(4)},
            r"model_fn gives \(4,\)",
        ),
        (lambda images: {}, "model_fn gives nothing"),
        (lambda images: None, "model_fn gives nothing"),
        ([1, 2], "model_fn is a list"),
    ],
)
def test_results_that_are_none(model_fn, message):
    with pytest.raises(BadInput, match=message) as error:
        sweep(model_fn)
    assert "\n" not in str(error.value)


class _Linen(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(4, (3, 3))(x)
        return nn.BatchNorm(use_running_average=not train)(x).max(axis=(1, 2))


def linen(train):
    model = _Linen()
    variables = model.init(jax.random.key(0), jnp.zeros((1, *SHAPE)), train=False)
    return lambda images: model.apply(
        variables, images, train=train, mutable=["batch_stats"]
    )[0]


def relative(images):
    """0 for images of zeros, whatever joins the batch."""
    size = jnp.abs(images).mean(axis=(0, 1, 2, 3), keepdims=True)
    return (images / (1 + size)).sum(axis=(1, 2, 3))


MIXING = {
    "batch normalisation of linen": linen(train=True),
    "less the mean of the batch": lambda x: total(x - x.mean(axis=0, keepdims=True)),
    "the batch's rank": lambda x: jnp.argsort(total(x)).astype(jnp.float32),
    "by the size of the batch": relative,
    "in one leaf of many": lambda x: {"a": total(x), "b": total(x) / len(x)},
    "a number that is NaN in a larger batch": lambda x: total(x) / (2 - len(x)) ** 0.5,
}


@pytest.mark.parametrize("model_fn", MIXING.values(), ids=MIXING)
@pytest.mark.parametrize("image", [pictures(*SHAPE), jnp.zeros(SHAPE)])
def test_what_mixes_images(model_fn, image):
    with pytest.raises(BadInput, match="model_fn mixes the images of a batch") as error:
        sweep(model_fn, image)
    assert "\n" not in str(error.value)


def test_a_module_that_is_being_trained():
    class Model(nnx.Module):
        def __init__(self):
            self.norm = nnx.BatchNorm(3, rngs=nnx.Rngs(0))

        def __call__(self, images):
            return self.norm(images).max(axis=(1, 2))

    model = Model()
    with pytest.raises(BadInput, match=r"changes its own state .*eval") as error:
        sweep(model)
    assert "\n" not in str(error.value)
    # As the message advises.
    model.eval()
    assert sweep(model).shape == (3, 3, 3)


def test_batch_normalisation_after_training_is_read():
    assert sweep(linen(train=False)).shape == (3, 3, 4)


def test_an_output_near_zero_does_not_mix():
    # The change from the clean image: of that image, nothing but roundings, which may
    # change when another image joins.
    image = pictures(*SHAPE)
    clean = total(image[None])

    def change(images):
        return total(images) - clean + 1e-6 * (len(images) > 1)

    # Sums of 216 numbers near 1, in float32.
    want = sweep(total, image) - clean[0]
    np.testing.assert_allclose(sweep(change, image), want, atol=2e-5)


def test_half_precision_within_does_not_mix():
    # A change of the last bit of bfloat16, 1 in 256, as another batch may bring about.
    def model_fn(images):
        last = 1 + (len(images) > 1) / 256
        return total(images.astype(jnp.bfloat16)).astype(jnp.float32) * last

    assert sweep(model_fn).shape == (3, 3)


def test_what_mixes_is_found_once(monkeypatch):
    calls = []

    def model_fn(images):
        calls.append(len(images))
        # A program of its own: what no other test has asked for.
        return 1.375 * total(images)

    sweep(model_fn)
    sweep(model_fn, pictures(*SHAPE, seed=1))
    assert calls.count(2) == 1
    # Another shape is another program.
    one = model_functions.prepare(model_fn, 1, (5, 5, 3), jnp.float32)
    model_functions.check_independent(model_fn, one, pictures(5, 5, 3))
    assert calls.count(2) == 2


class _Changing(nnx.Module):
    def __init__(self):
        self.head = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
        self.scale = 1.0

    def __call__(self, images):
        return self.scale * jax.nn.relu(self.head(images)).mean(axis=(1, 2))


def _double_weights(model):
    model.head.kernel[...] = 2 * model.head.kernel[...] + 1


def _change_number(model):
    model.scale = 3.0


@pytest.mark.parametrize("change", [_double_weights, _change_number])
def test_a_model_changed_in_place_gives_its_new_outputs(change, compilations):
    model, image = _Changing(), pictures(*SHAPE)
    jitted = jax.jit(lambda images: model(images))
    probes = {
        "sweep": lambda: sweep(model, image),
        "jitted": lambda: sweep(jitted, image),
        "topk": lambda: topk.scan(lambda x: {"y": model(x)}, [image[None]])["y"].values,
        "map_batches": lambda: next(iter(batched.map_batches(model, [image[None]]))),
    }
    for probe in probes.values():
        probe()
    change(model)
    with compilations() as compiled:
        found = {name: probe() for name, probe in probes.items()}
    if change is _double_weights:
        assert compiled == []
    # A model that was never seen before.
    fresh = _Changing()
    change(fresh)
    np.testing.assert_allclose(found["sweep"], sweep(fresh, image), atol=1e-6)
    np.testing.assert_array_equal(found["jitted"], found["sweep"])
    want = fresh(image[None])
    np.testing.assert_allclose(found["map_batches"], want, atol=1e-6)
    np.testing.assert_allclose(found["topk"][:, 0], want[0], atol=1e-6)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((24, 24), np.float32), r"\(24, 24\): give \[H, W, C\]"),
        (np.zeros((3, 24, 24), np.float32), r"\(3, 24, 24\): the channels come last"),
        (np.zeros((24, 24, 4), np.float32), r"fails on float32\[1, 24, 24, 4\]"),
        (np.zeros((24, 24, 3), np.uint8), "image of uint8: give floats"),
    ],
)
def test_images_that_the_model_does_not_take(image, message):
    with pytest.raises(BadInput, match=message) as error:
        occlusion.sweep(_Changing(), image, side=8, stride=8)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("method", ["incremental", "full"])
@pytest.mark.parametrize(
    ("model_fn", "image", "name"),
    [
        (total, pictures(*SHAPE).at[3, 4, 1].set(jnp.nan), "output is NaN"),
        (
            lambda x: {"good": total(x), "bad": jnp.log(x - 99).sum(axis=(1, 2))},
            pictures(*SHAPE),
            r"output\['bad'\] is NaN",
        ),
        (lambda x: [total(x), total(x) * jnp.nan], pictures(*SHAPE), r"output\[1\]"),
    ],
)
def test_outputs_that_are_nan(model_fn, image, name, method):
    with pytest.raises(BadInput, match=f"the clean image's {name}") as error:
        sweep(model_fn, image, method=method)
    assert "\n" not in str(error.value)


def test_infinite_outputs_are_numbers():
    # A logarithm of a probability of 0.
    got = sweep(lambda images: jnp.log(jnp.minimum(total(images), 0) * 0))
    assert (got == -jnp.inf).all()
