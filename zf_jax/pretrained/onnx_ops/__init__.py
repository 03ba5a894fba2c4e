"""ONNX's operations in JAX, by family; `table.OPERATIONS` has them all.

Each family is a module that enters its operations when it is imported here.
"""

from zf_jax.pretrained.onnx_ops import (
    activations,
    convolution,
    elementwise,
    normalisation,
    padding,
    pooling,
    positions,
    products,
    quantisation,
    reductions,
    resizing,
    shapes,
)
from zf_jax.pretrained.onnx_ops.table import OPERATIONS, Node, Operation, operation

__all__ = [
    "OPERATIONS",
    "Node",
    "Operation",
    "activations",
    "convolution",
    "elementwise",
    "normalisation",
    "operation",
    "padding",
    "pooling",
    "positions",
    "products",
    "quantisation",
    "reductions",
    "resizing",
    "shapes",
]
