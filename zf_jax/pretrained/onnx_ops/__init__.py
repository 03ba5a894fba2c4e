"""ONNX's operations in JAX, by family; `table.OPERATIONS` has them all.

Each family is a module that enters its operations when it is imported here.
"""

from zf_jax.pretrained.onnx_ops import (
    convolution,
    elementwise,
    normalisation,
    pooling,
    products,
    quantisation,
    shapes,
)
from zf_jax.pretrained.onnx_ops.table import OPERATIONS, Node, Operation, operation

__all__ = [
    "OPERATIONS",
    "Node",
    "Operation",
    "convolution",
    "elementwise",
    "normalisation",
    "operation",
    "pooling",
    "products",
    "quantisation",
    "shapes",
]
