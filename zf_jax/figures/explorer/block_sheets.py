"""The sheets of a block of units, and of a block of images."""

from collections.abc import Sequence

import numpy as np

from zf_jax.errors import BadInput
from zf_jax.figures.explorer import content, sheets


def of_units(
    pictures: content.Pictures, where: np.ndarray | None
) -> dict[str, np.ndarray]:
    """The pictures of each sheet, [units, columns, h, w, 3], by the sheet's name.

    "front" is what a grid shows of a unit: its strongest projection, and the patch that
    it comes from. "R-C" are the projections by rule number R under control number C.

    Args:
      pictures: of the block.
      where: [u, h, w] in 0..1, the block's mean maps.

    Raises:
      BadInput: there is no true projection.
    """
    drawn = {"patches": pictures.patches}
    for r, controls in enumerate(pictures.projections.values()):
        if next(iter(controls), None) != "":
            raise BadInput('projections of a rule: begin with the true ones, ""')
        for c, projections in enumerate(controls.values()):
            drawn[f"{r}-{c}"] = projections
    drawn["front"] = np.stack([drawn["0-0"][:, 0], pictures.patches[:, 0]], axis=1)
    if pictures.quantile_patches is not None:
        drawn["quantiles"] = pictures.quantile_patches
    if where is not None:
        drawn["where"] = sheets.heat(where)[:, None]
    if pictures.occlusion is not None:
        drawn["occlusion"] = sheets.heat(pictures.occlusion / 255)[:, None]
    if pictures.evolution is not None:
        drawn["evolution"] = pictures.evolution
    return {name: sheets.shrink(each) for name, each in drawn.items()}


def of_images(views: Sequence[content.ImageView]) -> dict[str, np.ndarray]:
    """The pictures of each sheet, [images, columns, h, w, 3], by the sheet's name.

    Images may have different sizes; each is in the top left corner of its place.
    """
    drawn = {"thumbnails": _in_corners([[view.thumbnail] for view in views])}
    panels = [[picture for _, picture in view.occlusion] for view in views]
    if any(panels):
        drawn["panels"] = _in_corners(panels)
    return drawn


def _in_corners(rows: list[list[np.ndarray]]) -> np.ndarray:
    shapes = [picture.shape[:2] for row in rows for picture in row]
    height, width = np.max(shapes, axis=0)
    sheet = np.zeros((len(rows), max(map(len, rows)), height, width, 3), np.uint8)
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            sheet[row, column, : picture.shape[0], : picture.shape[1]] = picture
    return sheet
