"""Nets that somebody else trained, as Specs and parameters.

onnx.py        an ONNX file -> Spec, parameters, output activation
reader.py      its nodes, one after the other -> layers
arithmetic.py  nodes that are one multiplication and one addition a channel
attributes.py  a node's weights, strides and padding
names.py       what the layers are called
graph.py       the chain of nodes from the image to the output
constants.py   weights that the graph computes from what it stores
protobuf.py    the file itself
"""
