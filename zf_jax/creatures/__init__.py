"""How the creatures are drawn; each module uses those above it.

fast_rng, noise      random numbers, 1/f fields, fur
shapes, strokes      signed distances of filled shapes and of lines
painting, palette    antialiased, shaded shapes on a canvas; colours
skulls, faces        the parts that the classes share
heads                the anatomy of the ten classes
clutter              loose parts, plants, and what covers a head
scenes               one example as a function of (seed, split, index)
render               many examples on all cores, as PNG files
builder              the data set, as TFDS builds it
"""
