"""Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks", in JAX.

Where to look (section numbers are the paper's, arXiv 1311.2901v3):

    layers.py, spec.py   what a net is: frozen data; the nets of the paper
    geometry.py          map sizes, parameters, receptive fields, without running
    ops/                 filtering, pooling, contrast: the way up and its transpose
    convnet.py           images -> logits, Trace                       section 2
    deconvnet.py         a unit -> pixels                              section 2.1
    transforms/          JAX function -> JAX function, by its jaxpr
    probes/              gallery (fig. 2) and its controls, occlusion (fig. 7),
                         invariance (fig. 5), filters (fig. 6), errors (Table 2),
                         correspondence (Table 1), transfer (Tables 4, 5 and 7);
                         scores of saliency maps
    data/                creatures and the truth about them, any TFDS set, batches
    training/            section 3: recipe, pmap step, checkpoints, loop
    pretrained/          ONNX file -> Spec and parameters
    figures/             arrays -> PNG

Shapes are written [N, H, W, C]: N images, H W rows and columns, C maps or colours,
K kept, D devices or units, R S grid rows and columns, L classes.
"""
