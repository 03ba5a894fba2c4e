"""The training run: resume, train, evaluate, save, report; epoch by epoch."""

import contextlib
import dataclasses
import functools
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
from zf_jax.training import (
    checkpoint,
    objective,
    optimizer,
    run_metadata,
    step,
)
from zf_jax.training.divergence import LossMonitor
from zf_jax.training.keeper import Keeper
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
      images_per_second: of training since this process began or resumed the epoch; 0 if
        only the evaluation was left to do.
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


def restore(run: Run, store: checkpoint.Store) -> step.State:
    """The state that training goes on from: of the newest checkpoint, or the first."""
    check(run)
    model = make_model(run.net, run.recipe)
    tx = optimizer.make_optimizer(run.recipe, run.steps_per_epoch)
    first = step.first_state(model, tx, run.recipe.seed)
    return step.replicate(store.restore(first) or first)


def train_epochs(
    run: Run,
    store: checkpoint.Store,
    state: step.State,
    *,
    on_step: Callable[[int, float | None], None] = lambda done, loss: None,
    stop: Callable[[], bool] = lambda: False,
    save_minutes: float = 30.0,
) -> Iterator[Report]:
    """Trains to the recipe's last epoch.

    Args:
      run: what, on what, how.
      store: where checkpoints are kept: after every epoch, every `save_minutes`, and
        when stopped.
      state: to go on from, of `restore`; it is given up. At the end of an epoch that
        was not evaluated before, the evaluation comes first.
      on_step: called after each step with the steps done in all, and now and then
        with the epoch's mean loss so far, else None.
      stop: asked after each step and each batch of an evaluation. Where one of several
        hosts is asked to stop, all of them do.
      save_minutes: between checkpoints within an epoch and its evaluation.

    Yields:
      A report after each epoch, before its checkpoint is written: a run that is killed
      in between reports the epoch again.

    Raises:
      Stopped: as `stop` asked for; the run is saved.
      BadInput: the run diverged (`divergence`), of which no checkpoint is made; or a
        checkpoint could not be written.
    """
    done, speed = int(state.step), 0.0
    monitor = LossMonitor(len(run.train.labels), run.recipe.learning_rate, done)
    keeper = Keeper(store, monitor, stop, save_minutes)
    model = make_model(run.net, run.recipe)
    tx = optimizer.make_optimizer(run.recipe, run.steps_per_epoch)
    train_step = step.make_train_step(model, tx, accumulate=run.recipe.accumulate)
    eval_step = step.make_eval_step(model)
    read = batches.training(
        run.train, **run.batch_settings, seed=run.recipe.seed, start=done
    )
    with contextlib.closing(prefetch(read, step.shard_batch)) as stream:
        while True:
            if done % run.steps_per_epoch == 0 and state.seen.count > 0:
                on_batch = functools.partial(keeper.stop_if_asked, state)
                validation = evaluate(run, eval_step, state.params, on_batch)
                monitor.check(validation["loss"], "validation loss", done)
                report = _report(run, state, validation, speed)
                state = step.end_epoch(state, 1.0 - report.top1)
                yield report
                keeper.save(state)
                keeper.stop_if_asked(state)
            if done >= run.steps:
                return
            began, done_before, ended = time.monotonic(), done, False
            while not ended:
                state = train_step(state, next(stream))
                done += 1
                ended = done % run.steps_per_epoch == 0
                read_loss = ended or done % _LOSS_EVERY == 0
                on_step(done, monitor.read(state) if read_loss else None)
                keeper.stop_if_asked(state)
            images = (done - done_before) * run.recipe.batch_size
            speed = images / (time.monotonic() - began)


def _report(run: Run, state: step.State, validation: dict, speed: float) -> Report:
    done, train = int(state.step), state.seen.means()
    schedule = optimizer.make_schedule(run.recipe, run.steps_per_epoch)
    plateau = optax.tree.get(state.optimizer, "scale", 1.0)
    return Report(
        done // run.steps_per_epoch,
        done,
        float(schedule(done - 1) * plateau),
        train["loss"],
        train["top1"],
        **validation,
        images_per_second=speed,
    )


def make_model(net: Spec, recipe: Recipe) -> convnet.ConvNet:
    """The convnet as the recipe computes and starts it."""
    init = {
        "paper": jax.nn.initializers.normal(0.01),
        "he": jax.nn.initializers.he_normal(),
    }
    return convnet.ConvNet(net, jnp.dtype(recipe.dtype), init[recipe.init])


def evaluate(
    run: Run, eval_step, params, on_batch: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """Loss, top1 and top5 over the whole validation set; `on_batch` after each batch.

    An exception of `on_batch` ends the evaluation.
    """
    total = objective.zero()
    read = batches.evaluation(run.validation, **run.batch_settings)
    with contextlib.closing(prefetch(read, step.shard_batch)) as stream:
        for batch in stream:
            total = jax.tree.map(jnp.add, total, eval_step(params, batch))
            on_batch()
    return total.means()
