"""An ONNX graph: nodes and constants, cut, folded and evaluated.

What does not depend on the image is computed once, when the graph is read, and what
depends on the image's shape alone when it is traced; both stay NumPy.
"""

import dataclasses
from collections.abc import Mapping, Sequence, Set
from fractions import Fraction

import numpy as np
from jax.ad_checkpoint import checkpoint_name

from zf_jax.pretrained import onnx_node
from zf_jax.pretrained.onnx_ops.table import OPERATIONS, Array, Node

# Their results differ from call to call.
_RANDOM = {"RandomNormal", "RandomUniform", "Bernoulli", "Multinomial"}
_RANDOM |= {"RandomNormalLike", "RandomUniformLike"}


@dataclasses.dataclass(frozen=True)
class Graph:
    """Nodes in an order in which they can be computed, and what they are given.

    Attributes:
      nodes: those that are not constant.
      constants: values by name, stored or computed.
      inputs: names of the values that are given.
      outputs: names of the values that are asked for.
    """

    nodes: tuple[Node, ...]
    constants: dict[str, np.ndarray]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def needs(self) -> set[str]:
        """Names of values that the nodes take, those of their own graphs included."""
        names = set(self.outputs)
        for node in self.nodes:
            names.update(_taken(node))
        return names - {""}

    def cut(self, outputs: Sequence[str]) -> "Graph":
        """The graph with other outputs, without the nodes that they do not need."""
        wanted, kept = set(outputs), []
        for node in reversed(self.nodes):
            if wanted & set(node.outputs):
                kept.append(node)
                wanted.update(_taken(node))
        cut = dataclasses.replace(
            self, nodes=tuple(reversed(kept)), outputs=tuple(outputs)
        )
        needed = cut.needs()
        constants = {n: v for n, v in self.constants.items() if n in needed}
        return dataclasses.replace(cut, constants=constants)

    def folded(self) -> "Graph":
        """The graph with everything that is constant computed."""
        known, left = dict(self.constants), []
        todo = list(reversed(self.nodes))
        while todo:
            node = todo.pop()
            constant = node.op not in _RANDOM and _taken(node) <= {"", *known}
            condition = known.get(node.inputs[0]) if node.inputs else None
            if node.op == "If" and condition is not None:
                nodes, stored = _inlined(node, condition)
                todo += reversed(nodes)
                known |= stored
            elif constant and node.op in OPERATIONS:
                onnx_node.compute(node, known, known)
            else:
                left.append(node)
        return dataclasses.replace(self, nodes=tuple(left), constants=known)

    def evaluate(
        self,
        given: Mapping[str, Array],
        *,
        repeats: Fraction = onnx_node.ONE,
        tag: onnx_node.Tag = checkpoint_name,
    ) -> tuple[Array, ...]:
        """The outputs.

        Args:
          given: by name, the inputs, and what stands in the place of constants.
          repeats: images that are given over images that the graph is written for.
          tag: names the values that are not NumPy: (value, name) -> value.

        Raises:
          BadInput: a node cannot be computed; it is named.
        """
        values = self.constants | dict(given)
        for node in self.nodes:
            # A constant that was given another value keeps its own for shapes.
            onnx_node.compute(node, values, self.constants, repeats, tag)
        return tuple(values[name] for name in self.outputs)

    def missing(self) -> list[Node]:
        """The nodes whose operation is not in the table.

        Which branch an `If` takes that is left here is known when it is computed.
        """
        known = {"If", *OPERATIONS}
        return [node for node in self.nodes if node.op not in known]


def graphs(node: Node) -> list[Graph]:
    """The graphs that the node holds, as an `If` does."""
    return [each for each in node.attributes.values() if isinstance(each, Graph)]


def _taken(node: Node) -> Set[str]:
    """Names of what the node takes, from outside of its own graphs."""
    names = set(node.inputs)
    for graph in graphs(node):
        made = {output for each in graph.nodes for output in each.outputs}
        names |= graph.needs() - made - set(graph.constants)
    return names


def _inlined(node: Node, condition: Array) -> tuple[list[Node], dict[str, np.ndarray]]:
    """The nodes and the constants of the branch that an `If` takes."""
    branch = onnx_node.branch(node, condition)
    renamed = [
        node._replace(op="Identity", attributes={}, inputs=(inner,), outputs=(outer,))
        for inner, outer in zip(branch.outputs, node.outputs, strict=True)
    ]
    return [*branch.nodes, *renamed], branch.constants
