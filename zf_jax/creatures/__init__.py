"""How the creatures are drawn, from the inside out.

dice, noise          random numbers, 1/f fields, fur
shapes, strokes      signed distances of filled shapes and of lines
painting, palette    antialiased, shaded shapes on a canvas; colours
skulls, faces        the parts that the kinds share
heads                the anatomy of the ten kinds
clutter              loose parts, plants, and what covers a head
scenes               one example as a function of (seed, split, index)
easel                many examples on all cores, as PNG files
"""
