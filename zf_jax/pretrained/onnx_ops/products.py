"""Matrix products."""

from zf_jax.pretrained.onnx_ops.table import Array, Node, numpy_of, operation


@operation("MatMul")
def matmul(node: Node, a: Array, b: Array) -> Array:
    """As numpy.matmul."""
    return numpy_of(a, b).matmul(a, b)


@operation("Gemm")
def gemm(node: Node, a: Array, b: Array, c: Array | None = None) -> Array:
    """alpha * a @ b + beta * c; a and b may be transposed first."""
    a = a.T if node.get("transA", 0) else a
    b = b.T if node.get("transB", 0) else b
    out = numpy_of(a, b).matmul(a, b)
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    out = out if alpha == 1 else (alpha * out).astype(out.dtype)
    if c is None:
        return out
    return out + (c if beta == 1 else (beta * c).astype(c.dtype))
