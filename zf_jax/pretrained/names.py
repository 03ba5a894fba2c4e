"""What the layers of an imported net are called."""

import re

from zf_jax.layers import Conv, Dense
from zf_jax.pretrained.graph import Node

# What exporters append to a layer's name to call its weights.
_WEIGHT = re.compile(
    r"[./_](weight|kernel|w|W)(_\d+)?(:0)?$"
    r"|/[^/]+/(ReadVariableOp|Read)(_\d+)?(:0)?$"
)


def candidates(node: Node) -> list[str]:
    """Names for the layer of a filter's node, the best first: its weights', its own."""
    weights, found = node.names[1], []
    if _WEIGHT.search(weights):
        found.append(_WEIGHT.sub("", weights).split("/")[-1])
    *path, leaf = [part for part in node.name.split("/") if part] or [node.op]
    found.append(path[-1] if path else leaf)
    # Fit for files, flags and parameters.
    return [re.sub(r"[^\w.-]", "_", name) for name in found if name]


def choose(filters: list[Conv | Dense], candidates: list[list[str]]) -> list[str]:
    """A name for each layer, all different.

    Args:
      filters: each layer's filter.
      candidates: each layer's possible names, the best first.
    """
    types = "".join("c" if isinstance(each, Conv) else "d" for each in filters)
    if types == "cccccddd":
        # The paper's net.
        return [f"layer{i}" for i in range(1, 9)]
    best = [each[0] for each in candidates]
    names = best if _distinct(best) else [each[-1] for each in candidates]
    # Keras appends a number to a layer's name when it exports the net.
    shorter = [re.sub(r"(?<!^)_\d+$", "", name) for name in names]
    if all(a != b for a, b in zip(names, shorter, strict=True)) and _distinct(shorter):
        names = shorter
    if not _distinct(names):
        names = [f"{name}-{i}" for i, name in enumerate(names, 1)]
    # Flax takes parameters of that name for the whole collection.
    return ["params_" if name == "params" else name for name in names]


def _distinct(names: list[str]) -> bool:
    return len(set(names)) == len(names)
