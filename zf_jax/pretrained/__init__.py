"""Nets that somebody else trained.

onnx.py         any ONNX graph of a vision net -> model.Model
onnx_reader.py  the graph of the file
onnx_graph.py   nodes and constants: cut, folded and evaluated
onnx_node.py    one node, computed in JAX or NumPy
onnx_ops/       ONNX's operations, by family
onnx_params.py  which constants are parameters of the model
batch.py        graphs written for a fixed number of images
image_input.py  the image that a graph takes
protobuf.py     the file itself

sequential.py   a graph whose layers follow one another -> Spec, parameters
reader.py       its nodes, one after the other -> layers
arithmetic.py   nodes that are one multiplication and one addition a channel
attributes.py   a node's weights, strides and padding
names.py        what the layers are called
graph.py        the chain of nodes from the image to the output
constants.py    weights that the graph computes from what it stores
"""
