"""Which constants of an ONNX graph are parameters of the model."""

import dataclasses
from collections.abc import Collection

import jax.numpy as jnp
import numpy as np

from zf_jax.pretrained import onnx_graph
from zf_jax.pretrained.onnx_graph import Graph
from zf_jax.pretrained.onnx_ops import OPERATIONS


def weights(graph: Graph) -> dict[str, np.ndarray]:
    """The constants of the graph that are parameters of the model, float32.

    What decides a shape in one node and is a number in another is a parameter too.
    """
    found = {}
    for node in graph.nodes:
        static = OPERATIONS[node.op].static if node.op in OPERATIONS else ()
        for i, name in enumerate(node.inputs):
            value = graph.constants.get(name)
            if value is not None and i not in static and _is_weight(value):
                with np.errstate(over="ignore"):
                    found[name] = np.asarray(value, np.float32)
        for inner in onnx_graph.graphs(node):
            own = {**graph.constants, **inner.constants}
            found |= weights(dataclasses.replace(inner, constants=own))
    return found


def without(graph: Graph, names: Collection[str]) -> Graph:
    """The graph without these constants, which are to be given.

    Those that decide shapes stay, too.
    """
    kept = _static(graph)
    constants = {
        name: value
        for name, value in graph.constants.items()
        if name not in names or name in kept
    }
    return dataclasses.replace(graph, constants=constants)


def _is_weight(value: np.ndarray) -> bool:
    """Whether the constant may be a parameter: floats, more than one."""
    return value.size > 1 and jnp.issubdtype(value.dtype, jnp.floating)


def _static(graph: Graph) -> set[str]:
    """Names of the values that decide shapes."""
    found = set()
    for node in graph.nodes:
        static = OPERATIONS[node.op].static if node.op in OPERATIONS else ()
        found.update(node.inputs[i] for i in static if i < len(node.inputs))
        found = found.union(*map(_static, onnx_graph.graphs(node)))
    return found
