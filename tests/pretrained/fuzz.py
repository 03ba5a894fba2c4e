"""Mutated ONNX files, read one after the other: `python -m tests.pretrained.fuzz`.

The arguments: how many; the importer, sequential or any (graph); a seed.
Prints what became of them as JSON. In a process of its own, so that its peak of memory
is theirs alone.
"""

import collections
import json
import pathlib
import resource
import signal
import sys
import tempfile
import time
import traceback

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.pretrained.graphs import Chain
from zf_jax.errors import BadInput
from zf_jax.pretrained import onnx as onnx_import
from zf_jax.pretrained import reader, sequential
from zf_jax.pretrained.onnx_ops import OPERATIONS

# Seconds after which a file counts as one that never ends.
_TIME_LIMIT = 10
# Bytes: a file that wants more than the machine has must not bring it down.
_MEMORY = 2**32


def _old():
    chain = Chain((1, 3, 9, 9), opset=6).conv(4, 3, (3, 3), auto_pad="SAME_UPPER")
    chain.add("Add", chain.weights(4), axis=1, broadcast=1, name="add")
    parts = (np.abs(chain.weights(4)) for _ in range(4))
    chain.add("BatchNormalization", *parts, is_test=1).add("Relu")
    chain.add("LRN", size=3, alpha=0.1)
    chain.add("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    chain.add("Dropout", ratio=0.25, is_test=1).add("Reshape", np.array([0, -1]))
    chain.add("Gemm", chain.weights(100, 3), chain.weights(3), broadcast=1)
    return chain.add("Softmax")


def _new():
    chain = Chain((1, 9, 8, 3), opset=21).add("Identity")
    chain.add("Transpose", perm=[0, 3, 1, 2])
    shape = chain.store(np.array([4, 3, 3, 3]))
    value = helper.make_tensor("v", TensorProto.FLOAT, [1], [0.25])
    kernel = chain.off_path("ConstantOfShape", shape, value=value)
    kernel = chain.off_path("Mul", kernel, chain.store(chain.weights(4, 1, 1, 1)))
    chain.add("Conv", kernel, strides=[2, 1], kernel_shape=[3, 3], pads=[1, 0, 0, 1])
    chain.add("Mul", chain.weights(4, 1, 1)).add("Relu")
    chain.add("MaxPool", kernel_shape=[2, 2], ceil_mode=1, auto_pad="NOTSET")
    half = chain.store(chain.weights(4, 2, 2, 2).astype(np.float16))
    half = chain.off_path("Cast", half, to=TensorProto.FLOAT)
    turned = chain.off_path("Transpose", half, perm=[0, 1, 3, 2])
    chain.add("Conv", turned, group=2).add("Dropout", np.float32(0.5), np.bool_(False))
    chain.add("Transpose", perm=[0, 2, 3, 1])
    rows = chain.off_path("Shape", chain.tensor)
    chain.add("Reshape", rows).add("Flatten")
    kernel = helper.make_tensor("k", TensorProto.DOUBLE, [64, 2], np.ones(128))
    chain.add("MatMul", chain.off_path("Constant", value=kernel))
    chain.add("Add", chain.weights(2))
    chain.add("Gemm", chain.weights(3, 2), chain.weights(1, 3), transB=1, alpha=0.5)
    return chain.add("LogSoftmax", axis=-1)


def _trunk():
    chain = Chain(("N", 3, None, None), opset=13).conv(2, 3, (3, 3), name="a/Conv")
    chain.add("Relu").conv(2, 2, (1, 1), name="b/Conv").add("Relu")
    return chain.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])


_NUMBERS = [0, 1, -1, 2, 3, 5, 22, 255, 2**16, 2**31 - 1, 2**40, 2**62, -(2**63)]
_FLOATS = [0.0, -1.0, 0.5, 1e-38, 3e38, float("nan"), float("inf"), -float("inf")]
_TEXTS = ["", "\n", "image", "über\x1b", "a/b/../c", "x" * 3000, "weight", "/"]
_OPS = sorted({*reader._METHODS, *OPERATIONS})


def _flip(rng, data):
    data = bytearray(data)
    for _ in range(rng.integers(1, 9)):
        data[rng.integers(len(data))] = rng.choice([0, 1, 127, 255, rng.integers(256)])
    return bytes(data)


def _fields(rng, data):
    model = onnx.ModelProto.FromString(data)
    for _ in range(rng.integers(1, 4)):
        _change(rng, _somewhere(rng, model))
    return model.SerializeToString()


def _somewhere(rng, message):
    """A message within the message: each node or tensor as likely as the next."""
    found, todo = [], [message]
    while todo:
        each = todo.pop()
        found.append(each)
        for field, value in each.ListFields():
            if field.type == field.TYPE_MESSAGE:
                todo += list(value) if hasattr(value, "extend") else [value]
    return found[rng.integers(len(found))]


def _change(rng, message):
    """One field of the message, at random."""
    fields = message.ListFields()
    if rng.random() < 0.1 or not fields:
        fields = [(field, None) for field in message.DESCRIPTOR.fields]
    field, _ = fields[rng.integers(len(fields))]
    values = getattr(message, field.name)
    if hasattr(values, "extend"):
        kept = list(values)
        if field.type != field.TYPE_MESSAGE and kept and rng.random() < 0.6:
            index = rng.integers(len(kept))
            kept[index] = _value(rng, field, kept[index])
        else:
            index = rng.integers(len(kept) + 1)
            action = rng.integers(3)
            if action == 0:
                kept = kept[:index] + kept[index + 1 :]
            elif action == 1:
                kept += kept[:index]
            else:
                rng.shuffle(kept)
        del values[:]
        values.extend(kept)
    elif field.type == field.TYPE_MESSAGE:
        message.ClearField(field.name)
    else:
        value = _value(rng, field, getattr(message, field.name))
        setattr(message, field.name, value)


def _value(rng, field, old):
    def pick(values):
        return values[rng.integers(len(values))]

    match field.cpp_type:
        case field.CPPTYPE_STRING if field.type == field.TYPE_BYTES:
            return pick([b"", old[:-1], old + b"\0" * 5, b"SAME_UPPER", rng.bytes(16)])
        case field.CPPTYPE_STRING:
            ops = _OPS if field.name == "op_type" else [old, old + "x"]
            return pick(_TEXTS + ops * 3)
        case field.CPPTYPE_FLOAT | field.CPPTYPE_DOUBLE:
            return pick(_FLOATS)
        case field.CPPTYPE_ENUM:
            return pick(field.enum_type.values).number
        case field.CPPTYPE_INT32:
            return pick([n for n in _NUMBERS if abs(n) < 2**31])
        case field.CPPTYPE_UINT64:
            return pick([n for n in _NUMBERS if n >= 0])
        case _:
            return pick([*_NUMBERS, old // 2, old % 2**62 + 1, old * 2 % 2**62])


def mutants(count, seed):
    """(number, file) of the mutated files."""
    whole = [make().model().SerializeToString() for make in (_old, _new, _trunk)]
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        data = whole[rng.integers(len(whole))]
        mutate = _flip if rng.random() < 0.3 else _fields
        yield number, mutate(rng, data)


_IMPORTERS = {
    "sequential": lambda path: sequential.read(path, mean=0.0),
    "any": lambda path: onnx_import.load(path, mean=0.0, size=(9, 9)),
}


def read(path, importer):
    """What becomes of the file: a word, or a fault's traceback."""
    try:
        _IMPORTERS[importer](path)
    except BadInput as error:
        message = str(error)
        fit = message.isprintable() and len(message) < 2000
        return "refused" if fit else f"said {message!r}"
    except Exception:
        return traceback.format_exc()
    return "loaded"


def _too_long(*_):
    raise TimeoutError


def main(count=3000, importer="sequential", seed=0):
    outcomes, faults, slowest = collections.Counter(), {}, 0.0
    signal.signal(signal.SIGALRM, _too_long)
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "net.onnx"
        path.write_bytes(_trunk().model().SerializeToString())
        read(path, importer)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number, data in mutants(count, seed):
            path.write_bytes(data)
            signal.alarm(_TIME_LIMIT)
            start = time.monotonic()
            outcome = read(path, importer)
            signal.alarm(0)
            slowest = max(slowest, time.monotonic() - start)
            if outcome not in ("loaded", "refused"):
                faults[number], outcome = outcome, "fault"
            outcomes[outcome] += 1
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    summary = {
        "faults": faults,
        "slowest": slowest,
        "grown_mb": (after - before) / 1024,
    }
    print(json.dumps(summary | outcomes))


if __name__ == "__main__":
    main(*(int(each) if each.isdigit() else each for each in sys.argv[1:]))
