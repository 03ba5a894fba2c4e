"""The training run: resume, train, evaluate, save, report; epoch by epoch."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from zf_jax import convnet
from zf_jax.data import batches, sources
from zf_jax.data.damaged import DamagedImages
from zf_jax.data.prefetch import prefetch
from zf_jax.data.sources import Source
from zf_jax.errors import BadInput
from zf_jax.spec import Spec
from zf_jax.training import checkpoint, objective, optimizer, run_metadata, step
from zf_jax.training.recipe import Recipe, short_side

# Steps between two readings of the loss: each reading waits for the devices.
_LOSS_EVERY = 20


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
    """What is trained, on what, how; `workers` processes decode the images.

    Images that `damaged` counts are skipped; None refuses the first.
    """

    net: Spec
    recipe: Recipe
    train: Source
    validation: Source
    workers: int = 0
    damaged: DamagedImages | None = None

    @property
    def shard(self) -> batches.HostShard:
        """This host's part of every batch."""
        return batches.HostShard(jax.process_index(), jax.process_count())

    @property
    def batch_settings(self) -> dict:
        """How the images are cropped, batched and decoded: arguments of `batches`."""
        return {
            "size": self.net.input.size,
            "resize": short_side(self.recipe, self.net),
            "batch_size": self.recipe.batch_size,
            "workers": self.workers,
            "shard": self.shard,
            "damaged": self.damaged,
        }

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in the training set."""
        return batches.steps_per_epoch(self.train, self.recipe.batch_size)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.recipe.epochs * self.steps_per_epoch

    @property
    def metadata(self) -> run_metadata.RunMetadata:
        """What the checkpoints say of the run."""
        return run_metadata.RunMetadata(
            self.net,
            self.train.labels,
            self.train.name,
            self.batch_settings["resize"],
            self.steps_per_epoch,
            dataclasses.asdict(self.recipe),
            self.train.data_dir,
        )


def check(run: Run) -> None:
    """Raises BadInput for what would fail later: classes, and batches over devices."""
    step.check_divisible(run.recipe.batch_size, run.recipe.accumulate)
    train, validation = run.train, run.validation
    if differ := sources.first_difference(validation.labels, train.labels):
        raise BadInput(
            f"{validation.name}: its classes are not those of {train.name}: {differ}"
        )


def train_epochs(
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
      A report after each epoch, when its checkpoint is written.

    Raises:
      BadInput: the loss or a weight is not a number, of which no checkpoint is made;
        or a checkpoint could not be written.
    """
    check(run)
    model = make_model(run.net, run.recipe)
    tx = optimizer.make_optimizer(run.recipe, run.steps_per_epoch)
    schedule = optimizer.make_schedule(run.recipe, run.steps_per_epoch)
    template = step.first_state(model, tx, run.recipe.seed)
    state = step.replicate(store.restore(template) or template)
    train_step = step.make_train_step(model, tx, accumulate=run.recipe.accumulate)
    eval_step = step.make_eval_step(model)
    done = int(state.step)
    stream = prefetch(
        batches.training(
            run.train, **run.batch_settings, seed=run.recipe.seed, start=done
        ),
        step.shard_batch,
    )
    saved = time.monotonic()
    while done < run.steps:
        began, done_before, ended = time.monotonic(), done, False
        while not ended:
            state = train_step(state, next(stream))
            done += 1
            ended = done % run.steps_per_epoch == 0
            read_loss = ended or done % _LOSS_EVERY == 0
            on_step(done, _mean_loss(state, done) if read_loss else None)
            save_due = time.monotonic() - saved > 60 * save_minutes
            if not ended and (stop() or save_due):
                _save(store, state)
                saved = time.monotonic()
                if stop():
                    return
        images = (done - done_before) * run.recipe.batch_size
        speed = images / (time.monotonic() - began)
        state, report = _end_epoch(run, state, eval_step, schedule, speed)
        _save(store, state)
        saved = time.monotonic()
        yield report
        if stop():
            return


def _end_epoch(
    run: Run, state: step.State, eval_step, schedule: optax.Schedule, speed: float
) -> tuple[step.State, Report]:
    """Validates the weights: the state that the next epoch begins with, the report."""
    done = int(state.step)
    train, validation = state.seen.means(), evaluate(run, eval_step, state.params)
    if not math.isfinite(validation["loss"]):
        raise _diverged(f"validation loss {validation['loss']}", done)
    plateau = optax.tree.get(state.optimizer, "scale", 1.0)
    report = Report(
        done // run.steps_per_epoch,
        done,
        float(schedule(done - 1) * plateau),
        train["loss"],
        train["top1"],
        **validation,
        images_per_second=speed,
    )
    return step.end_epoch(state, 1.0 - validation["top1"]), report


def make_model(net: Spec, recipe: Recipe) -> convnet.ConvNet:
    """The convnet as the recipe computes and starts it."""
    init = {
        "paper": jax.nn.initializers.normal(0.01),
        "he": jax.nn.initializers.he_normal(),
    }
    return convnet.ConvNet(net, jnp.dtype(recipe.dtype), init[recipe.init])


def evaluate(run: Run, eval_step, params) -> dict[str, float]:
    """Loss, top1 and top5 over the whole validation set."""
    total = objective.zero()
    images = batches.evaluation(run.validation, **run.batch_settings)
    for batch in prefetch(images, step.shard_batch):
        total = jax.tree.map(jnp.add, total, eval_step(params, batch))
    return total.means()


def _mean_loss(state: step.State, done: int) -> float:
    """The epoch's mean loss so far; refuses one that is not a number."""
    loss = state.seen.means()["loss"]
    if not math.isfinite(loss):
        raise _diverged(f"loss {loss}", done)
    return loss


def _save(store: checkpoint.Store, state: step.State) -> None:
    """Saves weights that are numbers: the loss was taken before their last change."""
    if not math.isfinite(optax.tree.norm(state.params)):
        raise _diverged("weights that are no numbers", int(state.step))
    store.save(state)


def _diverged(what: str, done: int) -> BadInput:
    return BadInput(
        f"{what} by step {done}: the run diverged; lower --learning_rate (the "
        "checkpoints before it are untouched)"
    )
