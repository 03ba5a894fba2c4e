"""A model with what it learned taken away, weight by weight from the top.

The cascade of Adebayo et al. (2018), for any model: a picture that stays what it was
while ever more of the weights are random is no finding about what the model learned.
The order of the weights is read off the function's jaxpr, whatever their names are.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zf_jax.errors import BadInput
from zf_jax.transforms import jaxpr


def cascade(
    apply: Callable[[Any, jax.Array], Any],
    params: Any,
    images: jax.Array | jax.ShapeDtypeStruct,
    key: jax.Array,
) -> list[tuple[str, Any]]:
    """Parameters of which ever more are random, from the top of a function down.

    A step takes one array of two axes or more, a kernel, with the vectors that follow
    it: its bias, the normalisation's statistics. Where a function has a hidden value as
    its result, `capture.maps` of a model, the first step is the layer of that value;
    what lies above it does not change.

    Not in the paper: an array's values are put into a random order. So each keeps its
    distribution: maps keep their scale, and variances stay above zero.

    Args:
      apply: (params, images) -> arrays.
      params: a pytree of arrays.
      images: [N, H, W, C], or their shape and dtype.
      key: of the orders; an array has the same one in all steps.

    Returns:
      (name, params) by step: the name is the kernel's path in `params`; random are this
      kernel and those of the steps before.

    Raises:
      BadInput: the function uses none of the parameters.
    """
    paths, structure = jax.tree_util.tree_flatten_with_path(params)
    names = [
        jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths
    ]
    leaves, steps = [leaf for _, leaf in paths], []
    for index in _in_order(apply, params, images):
        is_kernel = sum(length > 1 for length in np.shape(leaves[index])) > 1
        if is_kernel or not steps:
            steps.append([])
        steps[-1].append(index)
    if not steps:
        raise BadInput(
            "params: the function uses none of them; a model whose weights are closed "
            "over cannot have them drawn anew"
        )
    found, drawn = [], list(leaves)
    for step in reversed(steps):
        for index in step:
            drawn[index] = _shuffled(jax.random.fold_in(key, index), leaves[index])
        found.append((names[step[0]], jax.tree.unflatten(structure, drawn)))
    return found


def _in_order(apply: Callable, params, images) -> list[int]:
    """The leaves of `params` in the order in which they meet what the images became."""
    traced, _ = jaxpr.inlined(apply, params, images)
    program = traced.jaxpr
    *weights, image = program.invars
    made_of = {variable: {index} for index, variable in enumerate(weights)}
    of_images, first = {image}, {}
    for position, equation in enumerate(jaxpr.live_equations(program)):
        atoms = [a for a in equation.invars if not isinstance(a, jaxpr.Literal)]
        used = set().union(*(made_of.get(atom, ()) for atom in atoms))
        if of_images.isdisjoint(atoms):
            made_of.update((variable, used) for variable in equation.outvars)
            continue
        of_images.update(equation.outvars)
        for index in used:
            first.setdefault(index, position)
    floats = [
        index
        for index in first
        if jnp.issubdtype(weights[index].aval.dtype, jnp.floating)
    ]
    return sorted(floats, key=lambda index: (first[index], index))


def _shuffled(key: jax.Array, leaf: jax.Array) -> jax.Array:
    return jax.random.permutation(key, jnp.ravel(leaf)).reshape(np.shape(leaf))
