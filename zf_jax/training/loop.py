"""The training run: resume, train, evaluate, save, report; epoch by epoch."""

import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from zf_jax import convnet
from zf_jax.data import batches
from zf_jax.data.sources import Source
from zf_jax.errors import BadInput
from zf_jax.spec import Spec
from zf_jax.training import checkpoint, objective, optimizer, step
from zf_jax.training.recipe import Recipe, short_side

# How often the loss is looked at: each look waits for the devices.
_LOOK = 20


class Report(NamedTuple):
    """How an epoch went.

    Attributes:
      epoch: from 1.
      step: steps done.
      learning_rate: at the epoch's end.
      train_loss, train_top1: means over the epoch's images, while it learnt.
      loss, top1, top5: means over the validation images; top1 and top5 in 0..1.
      images_per_second: of training, this process's epoch, evaluation not counted.
    """

    epoch: int
    step: int
    learning_rate: float
    train_loss: float
    train_top1: float
    loss: float
    top1: float
    top5: float
    images_per_second: float


class Run(NamedTuple):
    """What is trained, on what, how."""

    net: Spec
    recipe: Recipe
    train: Source
    validation: Source
    workers: int = 0

    @property
    def share(self) -> batches.Share:
        """This host's part of the data."""
        return batches.Share(jax.process_index(), jax.process_count())

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in the training set."""
        return batches.steps_per_epoch(self.train, self._local_batch, self.share)

    @property
    def about(self) -> checkpoint.About:
        """What the checkpoints say of the run."""
        return checkpoint.About(
            self.net,
            self.train.labels,
            self.train.name,
            short_side(self.recipe, self.net),
            self.recipe.batch_size,
            self.recipe.seed,
            self.steps_per_epoch,
        )

    @property
    def cut(self) -> dict:
        """How the images are cut and batched."""
        return {
            "size": self.net.input.size,
            "resize": short_side(self.recipe, self.net),
            "batch_size": self._local_batch,
            "share": self.share,
        }

    @property
    def _local_batch(self) -> int:
        return self.recipe.batch_size // jax.process_count()


def check(run: Run) -> None:
    """Raises BadInput for what would fail later: classes, and batches over devices."""
    step.check_divisible(run.recipe.batch_size)
    if run.train.labels != run.validation.labels:
        raise BadInput(
            f"{run.validation.name}: its classes are not those of {run.train.name}"
        )


def epochs(
    run: Run,
    store: checkpoint.Store,
    *,
    on_step: Callable[[int, float | None], None] = lambda done, loss: None,
    stop: Callable[[], bool] = lambda: False,
    save_minutes: float = 30.0,
) -> Iterator[Report]:
    """Trains from the newest checkpoint on, to the recipe's last epoch.

    Args:
      run: what, on what, how.
      store: where checkpoints are kept: after every epoch, every `save_minutes`, and
        when stopped.
      on_step: called after each step with the steps done in all, and now and then
        with the epoch's mean loss so far, else None.
      stop: asked after each step; True saves and ends.
      save_minutes: between checkpoints within an epoch.

    Yields:
      A report after each epoch, when its checkpoint is on its way.

    Raises:
      BadInput: the loss is not a number; no checkpoint of it is made.
    """
    check(run)
    per_epoch = run.steps_per_epoch
    model = make_model(run.net, run.recipe)
    optimize = optimizer.make_optimizer(run.recipe, per_epoch)
    schedule = optimizer.make_schedule(run.recipe, per_epoch)
    like = step.first_state(model, optimize, run.recipe.seed)
    state = store.restore(like) or like
    train_step = step.make_train_step(model, optimize)
    eval_step = step.make_eval_step(model)
    done = int(state.step)
    if done >= run.recipe.epochs * per_epoch:
        return
    stream = batches.training(
        run.train, **run.cut, seed=run.recipe.seed, start=done, workers=run.workers
    )
    saved = time.monotonic()
    while done < run.recipe.epochs * per_epoch:
        began, first = time.monotonic(), done
        while True:
            state = train_step(state, step.split(next(stream)))
            done += 1
            last = done % per_epoch == 0
            loss = _look(state, done) if last or done % _LOOK == 0 else None
            on_step(done, loss)
            if last:
                break
            if stop() or time.monotonic() - saved > 60 * save_minutes:
                _look(state, done)
                store.save(state)
                saved = time.monotonic()
                if stop():
                    return
        speed = (done - first) * run.recipe.batch_size / (time.monotonic() - began)
        train, valid = (
            state.seen.means(),
            evaluate(run, eval_step, state.params).means(),
        )
        plateau = optax.tree.get(state.optimizer, "scale", 1.0)
        state = state._replace(
            error=jnp.float32(1.0 - valid["top1"]), seen=objective.zero()
        )
        store.save(state)
        saved = time.monotonic()
        yield Report(
            done // per_epoch,
            done,
            float(schedule(done - 1) * plateau),
            train["loss"],
            train["top1"],
            **valid,
            images_per_second=speed,
        )
        if stop():
            return


def make_model(net: Spec, recipe: Recipe) -> convnet.ConvNet:
    """The convnet as the recipe computes and starts it."""
    init = {
        "paper": jax.nn.initializers.normal(0.01),
        "he": jax.nn.initializers.he_normal(),
    }
    return convnet.ConvNet(net, jnp.dtype(recipe.dtype), init[recipe.init])


def evaluate(run: Run, eval_step, params) -> objective.Sums:
    """The sums over the whole validation set."""
    total = objective.zero()
    for batch in batches.evaluation(run.validation, **run.cut):
        total = jax.tree.map(jnp.add, total, eval_step(params, step.split(batch)))
    return total


def _look(state: step.State, done: int) -> float:
    """The epoch's mean loss so far; refuses one that is not a number."""
    loss = state.seen.means()["loss"]
    if not math.isfinite(loss):
        raise BadInput(
            f"loss {loss} by step {done}: the run diverged; lower --learning_rate (the "
            "checkpoints before it are untouched)"
        )
    return loss
