"""SGD as the paper has it: filters clipped by hand, rates by step, plateaus."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zf_jax.training import optimizer, recipe


def kernels(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "layer1": {
            "kernel": jnp.asarray(rng.normal(size=(3, 3, 2, 4)), jnp.float32),
            "bias": jnp.asarray(rng.normal(size=4), jnp.float32),
        },
        "layer2": {"kernel": jnp.asarray(rng.normal(size=(8, 5)), jnp.float32)},
    }


def clipped(params, updates, rms=0.1):
    transform = optimizer.clip_filters(rms)
    changes, _ = transform.update(updates, transform.init(params), params)
    return optax.apply_updates(params, changes)


def root_mean_square(kernel):
    """Of each filter: over its rows, columns and input maps."""
    return np.sqrt((np.asarray(kernel, np.float64) ** 2).mean(axis=(0, 1, 2)))


def test_clip_by_hand():
    # Two filters of one weight each of 0.3 and -0.05, changed by 0.1 and 0.01: 0.4 is
    # above 0.1 and comes back to it; -0.04 stays.
    params = {"kernel": jnp.array([0.3, -0.05]).reshape(1, 1, 1, 2)}
    updates = {"kernel": jnp.array([0.1, 0.01]).reshape(1, 1, 1, 2)}
    new = clipped(params, updates)["kernel"].ravel()
    np.testing.assert_allclose(new, [0.1, -0.04], rtol=1e-6)


def test_only_convolutions():
    params, updates = kernels(), kernels(1)
    free, new = optax.apply_updates(params, updates), clipped(params, updates)
    np.testing.assert_array_equal(new["layer1"]["bias"], free["layer1"]["bias"])
    np.testing.assert_array_equal(new["layer2"]["kernel"], free["layer2"]["kernel"])


def test_a_filter_of_zeros_stays():
    params = {"kernel": jnp.zeros((3, 3, 2, 4))}
    new = clipped(params, params)["kernel"]
    np.testing.assert_array_equal(new, np.zeros((3, 3, 2, 4)))


def test_clip_is_the_last_of_the_recipes_chain():
    # Whatever momentum and rate do, the filters end at 0.1.
    how = recipe.Recipe(learning_rate=5.0, weight_decay=0.01)
    transform = optimizer.make_optimizer(how, 4)
    params, state = kernels(), None
    state = transform.init(params)
    for seed in range(3):
        updates, state = transform.update(
            kernels(seed), state, params, value=jnp.float32(1)
        )
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(
        root_mean_square(params["layer1"]["kernel"]), 0.1, rtol=1e-5
    )
    assert np.abs(params["layer2"]["kernel"]).max() > 1


def steps(how, errors, per_epoch=1):
    """The size of each step for a gradient of one; errors: one an epoch."""
    transform = optimizer.make_optimizer(how, per_epoch)
    params = {"layer": {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}}
    gradient, state = jax.tree.map(jnp.ones_like, params), transform.init(params)
    update, found = jax.jit(transform.update), []
    for error in errors:
        for _ in range(per_epoch):
            updates, state = update(gradient, state, params, value=jnp.float32(error))
            found.append(-float(updates["layer"]["bias"][0]))
    return np.array(found)


PLAIN = {"momentum": 0.0, "filter_rms": 0.0, "learning_rate": 0.5}


def test_momentum_by_hand():
    how = recipe.Recipe(**PLAIN | {"momentum": 0.9, "schedule": "constant"})
    # Velocities 1, 1.9, 2.71, times the rate.
    np.testing.assert_allclose(steps(how, [1, 1, 1]), [0.5, 0.95, 1.355], rtol=1e-6)


def test_weight_decay_on_weights_alone():
    how = recipe.Recipe(**PLAIN, schedule="constant", weight_decay=0.2)
    transform = optimizer.make_optimizer(how, 1)
    params = kernels()
    none = jax.tree.map(jnp.zeros_like, params)
    updates, _ = transform.update(
        none, transform.init(params), params, value=jnp.float32(1)
    )
    for layer in params:
        np.testing.assert_allclose(
            updates[layer]["kernel"], -0.5 * 0.2 * params[layer]["kernel"], rtol=1e-6
        )
    assert not np.asarray(updates["layer1"]["bias"]).any()


def test_constant():
    how = recipe.Recipe(**PLAIN, schedule="constant")
    np.testing.assert_array_equal(steps(how, [0.5] * 20), [0.5] * 20)


@pytest.mark.parametrize("per_epoch", [1, 3])
def test_plateau_lowers_after_patience_epochs_without_a_better_error(per_epoch):
    how = recipe.Recipe(**PLAIN, schedule="plateau", patience=3)
    # What each epoch is told; the best is 0.4, and stays it for three epochs.
    errors = [1.0, 0.6, 0.4, 0.4, 0.5, 0.41, 0.4, 0.4]
    rates = steps(how, errors, per_epoch).reshape(len(errors), per_epoch)
    # Before its third epoch without a better error ends nothing changes ...
    np.testing.assert_allclose(rates[:5], 0.5, rtol=1e-6)
    # ... and from there on the rate is a tenth.
    np.testing.assert_allclose(rates[6:], 0.05, rtol=1e-5)


def test_a_better_error_starts_the_count_anew():
    how = recipe.Recipe(**PLAIN, schedule="plateau", patience=2)
    rates = steps(how, [1.0, 0.6, 0.6, 0.5, 0.5, 0.4, 0.4, 0.3], 2)
    np.testing.assert_allclose(rates, 0.5, rtol=1e-6)


def test_a_plateau_after_a_plateau():
    how = recipe.Recipe(**PLAIN, schedule="plateau", patience=2, factor=0.5)
    rates = steps(how, [0.5] * 8)
    # By hand: the first epoch sets the best; the second after it without a better one
    # halves the rate, and so does every second one.
    assert sorted(set(rates.round(6)), reverse=True)[:3] == [0.5, 0.25, 0.125]
    assert (np.diff(rates) <= 0).all()
    assert (rates[:2] == 0.5).all()


def test_cosine_by_hand():
    how = recipe.Recipe(**PLAIN, schedule="cosine", epochs=5)
    rates = steps(how, [1.0] * 5, per_epoch=10)
    # One epoch of ten steps up from 0, then half a cosine down to 0 in forty.
    up = 0.5 * np.arange(10) / 10
    down = 0.5 * (1 + np.cos(np.pi * np.arange(40) / 40)) / 2
    np.testing.assert_allclose(rates, np.concatenate([up, down]), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("epochs", "per_epoch"), [(1, 1), (1, 2), (2, 1), (1, 7)])
def test_cosine_of_very_short_runs(epochs, per_epoch):
    how = recipe.Recipe(**PLAIN, schedule="cosine", epochs=epochs)
    rates = steps(how, [1.0] * epochs, per_epoch=per_epoch)
    assert np.isfinite(rates).all()
    assert (rates >= 0).all()
    assert rates.max() <= 0.5


def test_the_schedule_is_the_rate_that_is_reported():
    how = recipe.Recipe(**PLAIN, schedule="cosine", epochs=3)
    schedule = optimizer.make_schedule(how, 4)
    want = [float(schedule(step)) for step in range(12)]
    np.testing.assert_allclose(steps(how, [1.0] * 3, per_epoch=4), want, rtol=1e-5)
