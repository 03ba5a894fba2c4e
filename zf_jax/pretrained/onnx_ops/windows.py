"""Where windows that slide over an image stand: padding, strides, dilations."""

from typing import NamedTuple

from zf_jax.errors import BadInput
from zf_jax.pretrained.onnx_ops.table import Node


class Windows(NamedTuple):
    """Windows along the axes after [N, C], one entry an axis.

    Attributes:
      size, strides, dilations: in entries.
      padding: (before, after), as the graph gives it.
      extra: what `ceil_mode` adds after the end, so that a last, partial window counts.
    """

    size: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    extra: tuple[int, ...]

    @property
    def all_padding(self) -> tuple[tuple[int, int], ...]:
        """The padding with that of `ceil_mode`."""
        pairs = zip(self.padding, self.extra, strict=True)
        return tuple((before, after + extra) for (before, after), extra in pairs)


def windows(node: Node, lengths: tuple[int, ...], size: tuple[int, ...]) -> Windows:
    """The windows of this size over axes of these lengths, by the node's attributes.

    Raises:
      BadInput: the attributes are not those of ONNX.
    """
    axes = len(lengths)
    strides = tuple(node.get("strides", (1,) * axes))
    dilations = tuple(node.get("dilations", (1,) * axes))
    pads = tuple(node.get("pads", (0,) * 2 * axes))
    if not len(size) == len(strides) == len(dilations) == len(pads) / 2 == axes:
        raise BadInput(
            f"has windows {size}, strides {strides}, dilations {dilations} and pads "
            f"{pads} for {axes} axes"
        )
    padding, extra = [], []
    for axis, length in enumerate(lengths):
        extent = (size[axis] - 1) * dilations[axis] + 1
        stride = strides[axis]
        auto_pad = node.get("auto_pad", "NOTSET")
        match auto_pad:
            case "SAME_UPPER" | "SAME_LOWER":
                total = max((-(-length // stride) - 1) * stride + extent - length, 0)
                small, large = total // 2, total - total // 2
                lower = auto_pad == "SAME_LOWER"
                padding.append((large, small) if lower else (small, large))
            case "VALID":
                padding.append((0, 0))
            case "NOTSET" | "":
                padding.append((pads[axis], pads[axis + axes]))
            case _:
                raise BadInput(f"has auto_pad {auto_pad!r}")
        extra.append(0)
        if node.get("ceil_mode", 0):
            extra[-1] = _ceil_padding(length, extent, stride, *padding[-1])
    return Windows(tuple(size), strides, dilations, tuple(padding), tuple(extra))


def _ceil_padding(length: int, extent: int, step: int, before: int, after: int) -> int:
    rest = (length + before + after - extent) % step
    begin = length + before + after - extent - rest + step
    # A window that would begin beyond the input and its padding is none.
    return step - rest if rest and begin < length + before else 0
