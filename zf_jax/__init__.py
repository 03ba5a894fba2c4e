"""Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks", in JAX.

Map of the package (section numbers are the paper's, arXiv 1311.2901v3):

    layers.py            operations and layers, as frozen data
    net_spec.py, spec.py a sequence of layers; the nets of the paper
    geometry.py          map sizes, parameters, receptive fields: nothing runs
    ops/                 convolution, pooling with switches, LRN: forward and transpose
    kernels/             forms of convolutions that a CPU computes faster than XLA's
    convnet.py           images -> logits and Trace                    section 2
    deconvnet.py         one activation -> pixels                      section 2.1
    model.py             Model: function, parameters, input; of a Spec, a file, ONNX
    transforms/          JAX function -> JAX function, by its jaxpr
    probes/              top-k and projections (fig. 2) with their controls, occlusion
                         (fig. 7), invariance (fig. 5), filters (fig. 6), top-k error
                         (Table 2), correspondence (Table 1), transfer (Tables 4, 5
                         and 7); saliency maps and their metrics
    data/                image folders and files, any TFDS set, annotations, batches
    creatures/           the built-in data set: its drawing and its TFDS builder
    training/            section 3: recipe, pmap step, checkpoints, loop
    pretrained/          ONNX file -> Spec and parameters
    figures/             arrays -> PNG
    cli.py, io.py        commands from dataclasses; files written atomically
    parallel.py          devices of one process
    hosts.py             several processes: how they agree and share
    xla.py               what JAX compiles with

A new operation of layers starts in `layers.py`, whose docstring names the other files.

Shapes are written [N, H, W, C]: N images, H W rows and columns, C channels, K images
kept of each channel, D devices or units, R S rows and columns of a grid, L classes.
"""
