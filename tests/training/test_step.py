"""The step: what it computes does not depend on how many devices compute it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zf_jax import convnet
from zf_jax.data import batches
from zf_jax.errors import BadInput
from zf_jax.training import loop, objective, optimizer, step


def batch_of(source, count=8, real=None):
    """The first images; the mask is False from `real` on."""
    examples = source.examples[:count]
    images = np.stack([each["image"][1:17, 2:18] for each in examples])
    labels = np.array([each["label"] for each in examples], np.int32)
    return batches.Batch(images, labels, np.arange(count) < (real or count))


def onto_one(batch):
    """All of the batch for the first device."""
    return jax.tree.map(lambda part: part[None], batch)


def make(run):
    """A step, and a function that makes its first state: the step gives it up."""
    return _make(run.net, run.recipe)


@functools.cache
def _make(net, recipe):
    model = loop.make_model(net, recipe)
    optimize = optimizer.make_optimizer(recipe, 6)
    state = step.first_state(model, optimize, recipe.seed)
    train_step = step.make_train_step(model, optimize, accumulate=recipe.accumulate)
    return train_step, lambda: jax.tree.map(jnp.copy, state)


@pytest.mark.devices
@pytest.mark.parametrize("real", [8, 3])
def test_devices_and_parts_compute_the_same(toy, real):
    # With 3 of 8 images real, the devices hold 3 and none: a mean of the
    # devices' means would be wrong. Dropout and mirroring are on.
    assert jax.local_device_count() == 2
    batch = batch_of(toy.source(), real=real)
    states = []
    for accumulate in (1, 2):
        train_step, first = make(toy.run(weight_decay=0.01, accumulate=accumulate))
        for split in (onto_one, step.shard_batch):
            state = first()
            for _ in range(3):
                state = train_step(state, split(batch))
            states.append(state)
    want, *others = states
    assert float(want.seen.count) == 3 * real
    # The same sums of float32, divided among two or four: a few roundings of 6e-8 in
    # each of the three steps.
    for state in others:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
            state,
            want,
        )


def test_the_step_by_hand(toy):
    # Plain SGD, by jax.grad of the loss on all images at once.
    net = toy.without_dropout()
    run = toy.run(net, momentum=0.0, schedule="constant", learning_rate=0.1)
    train_step, first = make(run)
    batch, params = batch_of(toy.source(), real=7), first().params
    # Symmetric images: mirroring changes nothing.
    batch = batch._replace(images=np.maximum(batch.images, batch.images[:, :, ::-1]))

    def loss(params):
        images = convnet.prepare(jnp.asarray(batch.images[:7]), net.input)
        logits, _ = convnet.ConvNet(net).apply({"params": params}, images)
        return optax.softmax_cross_entropy_with_integer_labels(
            logits, jnp.asarray(batch.labels[:7])
        ).mean()

    value, gradient = jax.value_and_grad(loss)(params)
    want = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)
    state = train_step(first(), step.shard_batch(batch))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        state.params,
        want,
    )
    assert state.seen.means()["loss"] == pytest.approx(float(value), rel=1e-5)
    assert int(state.step) == 1


def test_the_state_is_not_replicated(toy):
    train_step, first = make(toy.run())
    before = jax.eval_shape(first)
    state = train_step(first(), step.shard_batch(batch_of(toy.source())))
    # No leaf has an axis of devices; each device sees the same.
    assert jax.tree.structure(state) == jax.tree.structure(before)
    for leaf, want in zip(jax.tree.leaves(state), jax.tree.leaves(before), strict=True):
        assert (leaf.shape, leaf.dtype) == (want.shape, want.dtype)
        assert leaf.sharding.is_fully_replicated


def test_a_placed_state_compiles_the_step_once(toy, compilations):
    train_step, first = make(toy.run(learning_rate=0.04))
    batch, state = step.shard_batch(batch_of(toy.source())), step.replicate(first())
    state = jax.block_until_ready(train_step(state, batch))
    with compilations() as later:
        jax.block_until_ready(train_step(state, batch))
    assert not later


def test_the_end_of_an_epoch(toy):
    train_step, first = make(toy.run())
    state = train_step(first(), step.shard_batch(batch_of(toy.source())))
    params = jax.tree.map(np.asarray, state.params)
    ended = step.end_epoch(state, 0.25)
    assert float(ended.error) == 0.25
    assert not any(float(part) for part in ended.seen)
    assert int(ended.step) == 1
    jax.tree.map(np.testing.assert_array_equal, ended.params, params)


def losses(toy, count):
    """The loss of each of some steps on one batch, with next to no learning."""
    train_step, first = make(toy.run(learning_rate=1e-30))
    batch, state, found = batch_of(toy.source()), first(), [0.0]
    for _ in range(count):
        state = train_step(state, step.shard_batch(batch))
        found.append(float(state.seen.loss))
    return np.diff(found)


def test_dropout_differs_from_step_to_step(toy):
    found = losses(toy, 4)
    assert len(set(found.round(4))) == 4


def test_images_are_mirrored(toy):
    # Without dropout a step's loss depends on which of the images are mirrored.
    train_step, first = make(toy.run(toy.without_dropout(), learning_rate=1e-30))
    batch = batch_of(toy.source())
    turned = batch._replace(images=batch.images[:, :, ::-1])
    one, same, other = (
        float(train_step(first(), step.shard_batch(each)).seen.loss)
        for each in (batch, batch, turned)
    )
    assert one == same
    assert one != other


def test_bfloat16_keeps_float32_parameters(toy):
    train_step, first = make(toy.run(dtype="bfloat16"))
    state = train_step(first(), step.shard_batch(batch_of(toy.source())))
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(state.params)} == {"float32"}
    assert np.isfinite(state.seen.means()["loss"])


def test_evaluation_counts_what_is_real(toy):
    run = toy.run()
    model, params = loop.make_model(run.net, run.recipe), make(run)[1]().params
    batch = batch_of(toy.source(), real=5)
    sums = step.make_eval_step(model)(params, step.shard_batch(batch))
    images = convnet.prepare(jnp.asarray(batch.images), run.net.input)
    logits, _ = model.apply({"params": params}, images)
    want = objective.score(logits, batch.labels, batch.mask)
    assert float(sums.count) == 5
    np.testing.assert_allclose(sums, want, rtol=1e-5)
    assert sums.loss.shape == ()


@pytest.mark.devices
def test_shard_batch():
    batch = batches.Batch(np.arange(24).reshape(8, 3), np.arange(8), np.ones(8, bool))
    images, labels, _ = step.shard_batch(batch)
    assert images.shape == (2, 4, 3)
    np.testing.assert_array_equal(labels, [[0, 1, 2, 3], [4, 5, 6, 7]])


@pytest.mark.devices
@pytest.mark.parametrize(("size", "advice"), [(7, "6 or 8"), (1, "2 or 2")])
def test_a_batch_that_the_devices_cannot_share(size, advice):
    with pytest.raises(BadInput, match=f"batch_size {size}: .*2 devices.*{advice}"):
        step.check_divisible(size)


@pytest.mark.devices
def test_a_batch_that_the_parts_cannot_share():
    step.check_divisible(12, accumulate=3)
    with pytest.raises(BadInput, match=r"batch_size 8: .*2 devices.*3 parts.*6 or 12"):
        step.check_divisible(8, accumulate=3)
