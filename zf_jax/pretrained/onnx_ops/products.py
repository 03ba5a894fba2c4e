"""Matrix products and sums of products."""

import jax.numpy as jnp

from zf_jax.pretrained.onnx_ops.broadcasting import same_rank
from zf_jax.pretrained.onnx_ops.table import Array, Node, numpy_of, operation


@operation("MatMul")
def matmul(node: Node, a: Array, b: Array) -> Array:
    """As numpy.matmul."""
    # NumPy alone makes float32 of bfloat16.
    return numpy_of(a, b).matmul(a, b).astype(a.dtype)


@operation("Gemm")
def gemm(node: Node, a: Array, b: Array, c: Array | None = None) -> Array:
    """alpha * a @ b + beta * c; a and b may be transposed first."""
    a = a.T if node.get("transA", 0) else a
    b = b.T if node.get("transB", 0) else b
    out = matmul(node, a, b)
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    out = out if alpha == 1 else (alpha * out).astype(out.dtype)
    if c is None or beta == 0:
        return out
    out, c = same_rank(out, c if beta == 1 else (beta * c).astype(c.dtype))
    return out + c


@operation("Einsum")
def einsum(node: Node, *inputs: Array) -> Array:
    """The sum of products that the equation tells, in Einstein's notation."""
    equation = node.get("equation").replace(" ", "")
    return jnp.einsum(equation, *inputs)
