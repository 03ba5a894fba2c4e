"""An ONNX file as protobuf messages. Reading one runs no code of the file's."""

import math
import pathlib
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import Error as ProtobufError
from onnx import defs, helper, numpy_helper

from zf_jax.errors import BadInput

OPSETS = range(1, defs.onnx_opset_version() + 1)
# An ONNX file itself can hold no larger array than this many float32 (2 GiB).
MAX_ENTRIES = 2**29


def read(path: pathlib.Path) -> onnx.ModelProto:
    """The file's model, with its external data.

    Raises:
      BadInput: no such file, or no whole ONNX file with a net.
    """
    if not path.is_file():
        problem = "not a file" if path.exists() else "no such file"
        raise BadInput(f"{path}: {problem}")
    try:
        model = onnx.load(path, format="protobuf")
    except MemoryError:
        raise BadInput(f"{path}: larger than the memory") from None
    except onnx.checker.ValidationError as error:
        # The library checks nothing else here than where the weights are.
        raise BadInput(
            f"{path}: its weights are in files of their own, which must be in the same "
            f"folder ({one_line(error)})"
        ) from None
    except (ProtobufError, ValueError) as error:
        raise BadInput(f"{path}: not a whole ONNX file ({one_line(error)})") from None
    except OSError as error:
        # External data, too.
        raise BadInput(f"{path}: cannot be read ({one_line(error)})") from None
    if not model.graph.node:
        raise BadInput(f"{path}: not an ONNX file, or one without a net")
    return model


def opset(path: pathlib.Path, model: onnx.ModelProto) -> int:
    """The version of ONNX's operations that the model uses.

    Raises:
      BadInput: it is not one of `OPSETS`.
    """
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    found = versions[0] if versions else 1
    if found not in OPSETS:
        raise BadInput(
            f"{path}: of opset {found}, known are {OPSETS[0]} to {OPSETS[-1]}; "
            "onnx.version_converter converts it"
        )
    return found


def attributes(node: onnx.NodeProto, opset: int) -> dict[str, Any]:
    """The node's attributes as Python values, of the types that the opset defines.

    Raises:
      BadInput: the opset has no such operation or attribute, or fewer inputs.
    """
    if not defs.has(node.op_type, opset):
        raise BadInput(f"{describe(node)} is nothing that opset {opset} has")
    schema = defs.get_schema(node.op_type, opset)
    if len(node.input) > schema.max_input:
        raise BadInput(f"{describe(node)} takes {len(node.input)} inputs, too many")
    for each in node.attribute:
        defined = schema.attributes.get(each.name)
        if defined is None or defined.type.value != each.type:
            raise BadInput(
                f"{describe(node)} has an attribute {each.name!r} that opset {opset} "
                "has not, or of another type"
            )
    try:
        return {a.name: helper.get_attribute_value(a) for a in node.attribute}
    except (ValueError, TypeError) as error:
        raise BadInput(f"{describe(node)}: {one_line(error)}") from None


def array(tensor: onnx.TensorProto) -> np.ndarray:
    """The tensor's values.

    Raises:
      BadInput: it does not hold what its shape says.
    """
    if math.prod(tensor.dims) > MAX_ENTRIES or min(tensor.dims, default=0) < 0:
        raise BadInput(f"{tensor.name!r} of shape {list(tensor.dims)} cannot be")
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput(f"{tensor.name!r} is damaged ({one_line(error)})") from None


def describe(node: onnx.NodeProto) -> str:
    """The node for a message."""
    return f"node {name(node)!r} ({node.op_type})"


def name(node: onnx.NodeProto) -> str:
    """The node's name; its output's where it has none."""
    return node.name or (node.output[0] if node.output else "")


def one_line(text: object) -> str:
    """An error's message, or text of a file, as one line that a terminal can show."""
    line = "".join(c if c.isprintable() else " " for c in str(text)[:2000])
    return " ".join(line.split())[:400] or type(text).__name__
