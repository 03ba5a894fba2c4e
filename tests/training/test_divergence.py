"""A run that diverged is told from one that learns."""

import jax.numpy as jnp
import pytest

from zf_jax.errors import BadInput
from zf_jax.training import divergence, objective, step


def seen(loss, count, weight=1.0):
    """A state whose epoch has had `count` images, of `loss` in all."""
    sums = objective.Sums(*(jnp.float32(x) for x in (loss, 0, 0, count)))
    params = {"layer1": {"bias": jnp.full(3, weight)}}
    return step.State(params, (), jnp.int32(40), (), (), sums)


def monitor(begin=0):
    # Guessing among 1000 classes costs log(1000) = 6.9 an image.
    return divergence.LossMonitor(1000, 0.01, begin)


def test_a_loss_that_exploded_while_the_epochs_mean_is_small():
    watch = monitor()
    assert watch.read(seen(7_000.0, 1_000)) == 7
    # Of the next ten images: (14,000 - 7,000) / 10 = 700, above 100 x 6.9 = 690.8.
    with pytest.raises(BadInput, match=r"^loss 700 by step 40: the run diverged"):
        watch.read(seen(14_000.0, 1_010))


def test_a_loss_that_is_large_but_learns():
    watch = monitor()
    # Below the limit: 68 of guessing's 6.9. Then an epoch that begins anew.
    assert watch.read(seen(4_700.0, 10)) == 470
    assert watch.read(seen(35.0, 5)) == 7


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number(loss):
    with pytest.raises(BadInput, match=r"below 0\.01; there is no checkpoint"):
        monitor().check(loss, "validation loss", 40)


def test_weights_that_are_no_numbers():
    watch = monitor(begin=20)
    watch.check_weights(seen(7.0, 1))
    watch.saved(seen(7.0, 1)._replace(step=jnp.int32(30)))
    with pytest.raises(BadInput, match="last good checkpoint, of step 30"):
        watch.check_weights(seen(14.0, 2, weight=jnp.nan))
