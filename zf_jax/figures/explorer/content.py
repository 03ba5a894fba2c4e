"""What an explorer shows: plain values and arrays.

Pictures are uint8 [..., h, w, 3]. U is the number of a layer's units (its channels), k
how many examples a unit has. A field that is None is one that the net or the data do
not have; the page says so and shows the rest. NaN says the same of a single number.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

# Units that share a sheet of pictures, and images that share one of thumbnails.
BLOCK = 16


@dataclasses.dataclass(frozen=True)
class About:
    """Where the numbers and pictures come from.

    Attributes:
      command: the command that made the explorer.
      facts: what else can be told of it, as (name, text): the net, the data, versions,
        seeds.
    """

    command: str
    facts: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class LayerSummary:
    """What the overview tells of a layer.

    Attributes:
      name: of the layer, which links carry.
      size: of its maps (h, w); () where a unit has one value an image.
      units: how many there are.
      dead: how many of them no image excites.
      receptive_field: (h, w) in pixels, or None where it is unknown.
      inputs: names of the layers whose values reach it without passing another layer
        of the explorer.
    """

    name: str
    size: tuple[int, ...]
    units: int
    dead: int = 0
    receptive_field: tuple[int, int] | None = None
    inputs: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Explorer:
    """A whole net.

    Attributes:
      title: of the page.
      about: where it comes from.
      layers: in the order of the forward pass.
      classes: names of the data's classes, which class numbers count; () without.
    """

    title: str
    about: About
    layers: tuple[LayerSummary, ...]
    classes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Examples:
    """Images that excite the units of a layer, and where.

    Attributes:
      image: [U, k] int, `ImageView.index`; -1 where a unit has no such example.
      value: [U, k] float, the activation.
      position: [U, k, 2] int, the row and column in the map; None where a unit has one
        value an image.
      box: [U, k, 4] int, the receptive field in the image's pixels (top, left, bottom,
        right), which may reach outside; None where it is unknown.
    """

    image: np.ndarray
    value: np.ndarray
    position: np.ndarray | None = None
    box: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Histogram:
    """How often the units of a layer take which values.

    Attributes:
      edges: [B + 1] float of all units, or [U, B + 1].
      counts: [U, B] int.
      of: what is counted, such as "strongest activation of each image".
    """

    edges: np.ndarray
    counts: np.ndarray
    of: str


@dataclasses.dataclass(frozen=True)
class Weight:
    """A strong connection of a unit to one of another layer of the explorer."""

    layer: str
    unit: int
    weight: float


@dataclasses.dataclass(frozen=True)
class LayerUnits:
    """The units of one layer, without their pictures.

    Attributes:
      name: the layer's, as in its `LayerSummary`.
      strength: [U] float, the strongest activation.
      dead: [U] bool.
      examples: the strongest first.
      firing_rate: [U] float, the share of images that excite it.
      selectivity: [U] float in 0..1 for its best class.
      best_class: [U] int, the class with the largest mean activation; -1 without.
      control_similarity: [U] float, how similar the strongest projection is to the same
        under its controls, the mean over them: 1 where the control changes nothing.
      histogram: of its activations.
      class_means: [U, L] float, mean activation by class.
      where: [U, h, w] float in 0..1, where in the image it fires: the mean map.
      quantiles: examples at quantiles of the activations over images.
      quantile: [q] float in 0..1, the quantile of each of them.
      weights_below: per unit its strongest weights from the layer before.
      weights_above: per unit its strongest weights to the layer after.
      alike: per unit others of this layer as (unit, correlation of activations).
      epochs: of the kept checkpoints that `Pictures.evolution` shows.
    """

    name: str
    strength: np.ndarray
    dead: np.ndarray
    examples: Examples
    firing_rate: np.ndarray | None = None
    selectivity: np.ndarray | None = None
    best_class: np.ndarray | None = None
    control_similarity: np.ndarray | None = None
    histogram: Histogram | None = None
    class_means: np.ndarray | None = None
    where: np.ndarray | None = None
    quantiles: Examples | None = None
    quantile: np.ndarray | None = None
    weights_below: tuple[tuple[Weight, ...], ...] | None = None
    weights_above: tuple[tuple[Weight, ...], ...] | None = None
    alike: tuple[tuple[tuple[int, float], ...], ...] | None = None
    epochs: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Pictures:
    """The pictures of the next `BLOCK` units of a layer (the last may be fewer: u).

    A unit without an example has whatever picture, which is not shown.

    Attributes:
      patches: [u, k, h, w, 3] of `LayerUnits.examples`.
      projections: by rule, the first of which the page opens with; then by control, ""
        being the true projection: [u, k', h, w, 3] of the first k' examples.
      quantile_patches: [u, q, h, w, 3] of `LayerUnits.quantiles`.
      occlusion: [u, h, w] uint8 over the whole of the strongest example's image: 255
        where covering leaves the activation as it is, 0 where nothing is left of it.
      evolution: [u, E, h, w, 3] the strongest projection at each of the epochs.
    """

    patches: np.ndarray
    projections: Mapping[str, Mapping[str, np.ndarray]]
    quantile_patches: np.ndarray | None = None
    occlusion: np.ndarray | None = None
    evolution: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class ImageView:
    """An image of the data set that examples refer to.

    Attributes:
      index: in the data set.
      thumbnail: [h, w, 3] uint8 of what the net saw, at most 224 pixels a side.
      size: (h, w) of what the net saw, in the pixels that boxes count.
      name: its file's, or None.
      label: its class's name, or None.
      predictions: (class's name, probability), the most probable first; () without.
      occlusion: panels of fig. 7 as (caption, picture [h, w, 3]); () without.
      most_active: the units that it excites most, as (layer, unit, activation).
    """

    index: int
    thumbnail: np.ndarray
    size: tuple[int, int]
    name: str | None = None
    label: str | None = None
    predictions: tuple[tuple[str, float], ...] = ()
    occlusion: tuple[tuple[str, np.ndarray], ...] = ()
    most_active: tuple[tuple[str, int, float], ...] = ()
