"""Whether a run diverged, and what its user is told then.

A run diverged when its loss, its validation loss or a weight is not a finite number, or
when a loss is a hundred times that of guessing, which is the logarithm of the number of
classes. A net that learns stays below ten times that.
"""

import math

import optax

from zf_jax.errors import BadInput
from zf_jax.training.step import State

# Losses of guessing, at least.
_EXPLODED = 100.0


class LossMonitor:
    """Reads the loss of a run now and then, and refuses one that diverged.

    Each method waits for the devices.
    """

    def __init__(self, classes: int, learning_rate: float, begin: int):
        """Starts to watch a run.

        Args:
          classes: that the net tells apart.
          learning_rate: of the recipe.
          begin: the step of the checkpoint that the run goes on from; 0 for none.
        """
        self._limit = _EXPLODED * max(1.0, math.log(classes))
        self._learning_rate, self._newest = learning_rate, begin
        # Sums of the epoch at the last reading.
        self._loss, self._count = 0.0, 0.0

    def read(self, state: State) -> float:
        """The epoch's mean loss so far.

        Raises:
          BadInput: the mean loss of the images since the last reading diverged.
        """
        loss, count = float(state.seen.loss), float(state.seen.count)
        if count < self._count:
            # A new epoch.
            self._loss, self._count = 0.0, 0.0
        recent = (loss - self._loss) / max(1.0, count - self._count)
        self._loss, self._count = loss, count
        self.check(recent, "loss", int(state.step))
        return loss / max(1.0, count)

    def check(self, loss: float, what: str, step: int) -> None:
        """Raises BadInput where a mean loss diverged."""
        if not math.isfinite(loss) or loss > self._limit:
            raise self._diverged(f"{what} {loss:.4g}", step)

    def check_weights(self, state: State) -> None:
        """Raises BadInput where the loss or a weight diverged, before it is saved.

        The last loss was taken before the weights' last change.
        """
        self.read(state)
        if not math.isfinite(optax.tree.norm(state.params)):
            raise self._diverged("weights that are not numbers", int(state.step))

    def saved(self, state: State) -> None:
        """Notes the last good checkpoint."""
        self._newest = int(state.step)

    def _diverged(self, what: str, step: int) -> BadInput:
        goes_on = "there is no checkpoint to go on from"
        if self._newest:
            goes_on = (
                "the same command then goes on from the last good checkpoint, of step "
                f"{self._newest}"
            )
        return BadInput(
            f"{what} by step {step}: the run diverged; try a --learning_rate below "
            f"{self._learning_rate:g}; {goes_on}"
        )
