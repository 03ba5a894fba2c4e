"""The forward and the backward pass of units, compiled for batches of them.

They are two compiled calls: in a single one, XLA would recompute the switches for every
position of their windows rather than keep them. Weights are arguments, so that one
program serves all weights; so are positions and channels.
"""

import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from zf_jax import xla
from zf_jax.transforms import closure, gates, jaxpr
from zf_jax.transforms.crop import Crop
from zf_jax.transforms.saved import Key, Saved, save_whole

# Changes what a unit is projected from (`controls.py`):
# (crop, saved, column, offsets, channel, seed) -> (saved, seed).
Control = Callable[..., tuple[dict, jax.Array]]


class UnitPasses:
    """The passes of units of one layer, for images of one shape.

    Attributes:
      crop: what a unit needs.
    """

    def __init__(self, traced: jaxpr.TracedFunction, result):
        """Units of `result`, a variable of the function."""
        platform = jax.default_backend()
        self.crop = found = Crop(traced, result, platform)

        def forward(with_columns, weights, crops, offsets):
            run = functools.partial(found.forward, found.prepare(weights))
            saved, columns = jax.vmap(run)(crops, offsets)
            saved = {key: saved[key] for key in found.reads}
            # What is not returned is not computed.
            return saved, columns if with_columns else columns[:, :0]

        def cut(wholes, offsets):
            stacked = {
                key: jnp.stack([whole[key] for whole in wholes]) for key in found.reads
            }
            return jax.vmap(found.cut)(stacked, offsets)

        def backward(weights, saved, columns, offsets, channels, values, control):
            prepared = found.prepare(weights)

            def project(saved, column, offsets, channel, value):
                value = column[channel] if value is None else value
                seed = jnp.zeros(found.channels).at[channel].set(value)
                if control is not None:
                    given = saved, column, offsets, channel, seed
                    saved, seed = control(found, *given)
                return found.backward(prepared, saved, offsets, seed)

            return jax.vmap(project)(saved, columns, offsets, channels, values)

        self._forward = {
            each: _Compiled(functools.partial(forward, each)) for each in (False, True)
        }
        self._cut, self._backward = _Compiled(cut), _Compiled(backward)

    def forward(
        self, weights, crops: np.ndarray, positions: np.ndarray, with_columns: bool
    ) -> tuple:
        """Computes units from what they see, as far as the backward pass reads it.

        Args:
          weights: of the function.
          crops: [N, *size, C] float, cut out of their images at `crop.firsts`.
          positions: [N, 2] int, of the units.
          with_columns: also gives all channels at the positions.

        Returns:
          The saved values by key, [N, ...], and the channels, [N, C] or [N, 0].
        """
        offsets = self._offsets(positions)
        return self._forward[with_columns](weights, crops[:, None], offsets)

    @staticmethod
    def nothing(count: int) -> tuple:
        """What `forward` gives of units whose backward pass reads nothing."""
        return {}, np.zeros((count, 0), np.float32)

    def cut(self, wholes: Sequence[Mapping], positions: np.ndarray) -> tuple:
        """As `forward`, from what `WholePass` gave for each unit's image.

        Nothing is told of the channels.
        """
        _, columns = self.nothing(len(wholes))
        return self._cut(list(wholes), self._offsets(positions)), columns

    def backward(
        self, weights, forward: tuple, positions, channels, values, control
    ) -> jax.Array:
        """Projects units back to what they see, [N, *size, C].

        Args:
          weights: of the function.
          forward: from `forward` or `cut`.
          positions: [N, 2] int, of the units.
          channels: [N] int.
          values: [N] float, of the seeds; None takes those that `forward` found.
          control: changes saved values and seeds; or None.
        """
        given = self._offsets(positions), channels, values, control
        return self._backward(weights, *forward, *given)

    def _offsets(self, positions: np.ndarray) -> np.ndarray:
        return self.crop.offsets[self.crop.index(positions)]


class _Compiled:
    """A function of pytrees, compiled; once for all functions of the same program.

    Images of several sizes have functions of their own, since borders lie elsewhere.
    Where borders are arguments alone, they are one program.
    """

    def __init__(self, function: Callable):
        self._function, self._programs = function, {}

    def __call__(self, *arguments):
        # NumPy's 64 bits become the 32 that JAX computes with.
        arguments = jax.tree.map(jnp.asarray, arguments)
        leaves, structure = jax.tree.flatten(arguments)
        examples = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in leaves]
        key = structure, *((each.shape, each.dtype) for each in examples)
        if key not in self._programs:

            def flat(*leaves):
                return self._function(*jax.tree.unflatten(structure, leaves))

            self._programs[key] = closure.hoist(flat, *examples)
        program = self._programs[key]
        return closure.run(program.apply, program.weights, *leaves)


class WholePass:
    """The forward pass of whole images of one shape, as far as crops read it.

    Attributes:
      bytes: of what it saves of one image.
      work: what it costs, as `costs` counts.
    """

    def __init__(self, traced: jaxpr.TracedFunction, crops: Sequence[Crop]):
        """For crops of the traced function."""
        saved: dict[Key, Saved] = {}
        for each in crops:
            saved |= {s.key: s for s in each.saved if s.key in each.reads}
        self.bytes = sum(s.whole.size * s.whole.dtype.itemsize for s in saved.values())
        self.work = max((each.forward_work(whole=True) for each in crops), default=0)

        @xla.jit
        def run(weights, images):
            def save(image):
                given = traced, list(saved.values()), weights, image
                return save_whole(*given, jax.default_backend())

            return jax.vmap(save)(images[:, None])

        self._run = run

    def __call__(self, weights, images: np.ndarray) -> list[dict]:
        """What is saved of each image of [N, H, W, C]."""
        found = self._run(weights, images)
        return [{k: each[n] for k, each in found.items()} for n in range(len(images))]


@functools.lru_cache(maxsize=64)
def trace(apply, weights: tuple, image: jax.ShapeDtypeStruct) -> tuple:
    """A function of weights and images, traced for one; and its results by layer."""
    traced = jaxpr.trace(apply, weights, image, keep=gates.is_closed)
    shapes = jax.eval_shape(apply, list(weights), image)
    structure = jax.tree.structure(shapes)
    return traced, jax.tree.unflatten(structure, traced.results)


@functools.lru_cache(maxsize=128)
def unit_passes(apply, weights: tuple, image, layer: str) -> UnitPasses:
    """The passes of a layer; the same ones for the same program."""
    traced, results = trace(apply, weights, image)
    return UnitPasses(traced, results[layer])


@functools.lru_cache(maxsize=64)
def whole_pass(apply, weights: tuple, image, layers: tuple[str, ...]) -> WholePass:
    """The forward pass of whole images for the units of several layers."""
    traced, _ = trace(apply, weights, image)
    crops = [unit_passes(apply, weights, image, layer).crop for layer in layers]
    return WholePass(traced, crops)
