"""Writes an explorer: arrays to a folder of HTML that opens from the disk.

A layer's pictures come block by block, so that memory is bounded by one block:

    with writer.replacing(explorer, out) as pages:
        for units, pictures in layers:
            pages.add_layer(units, pictures)
        pages.add_images(images)
"""

import contextlib
import dataclasses
import itertools
import pathlib
import shutil
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from zf_jax import io
from zf_jax.errors import BadInput
from zf_jax.figures.explorer import block_sheets, content, page, sheets, tables
from zf_jax.figures.explorer.kept_layers import KeptLayers

# Units of a layer that the overview shows.
_SAMPLES = 8


@contextlib.contextmanager
def replacing(
    explorer: content.Explorer, out: pathlib.Path, kept: KeptLayers | None = None
) -> Iterator["Writer"]:
    """A writer whose folder takes the place of `out` when all went well.

    Args:
      explorer: the whole net.
      out: the folder. An explorer that is there stays as it is until then.
      kept: keeps the layers that are written, for a run after an interruption.

    Yields:
      What takes the layers and images.

    Raises:
      BadInput: `out` is something else than an explorer, or a layer was not added.
    """
    refuse_other_files(out)
    with io.atomic_folder(out) as fresh:
        writer = Writer(explorer, fresh, kept)
        yield writer
        writer.finish()


def refuse_other_files(out: pathlib.Path) -> None:
    """Raises BadInput if replacing `out` would delete what is no explorer."""
    if out.is_dir():
        replaceable = not any(out.iterdir()) or (out / "explorer.js").is_file()
    else:
        replaceable = not out.exists()
    if not replaceable:
        raise BadInput(f"{out}: is there and is no explorer; give a new folder")


class Writer:
    """Writes layers and images into a folder, a block of pictures at a time."""

    def __init__(
        self,
        explorer: content.Explorer,
        folder: pathlib.Path,
        kept: KeptLayers | None = None,
    ):
        self._explorer, self._folder, self._kept = explorer, folder, kept
        self._layers = {each.name: n for n, each in enumerate(explorer.layers)}
        # What the index says of each layer that was added.
        self._fronts: dict[str, dict] = {}
        self._images = 0

    def add_layer(
        self, units: content.LayerUnits, pictures: Iterable[content.Pictures]
    ) -> None:
        """Writes a layer.

        Args:
          units: the layer's.
          pictures: of each block of its units, in order.

        Raises:
          BadInput: the pictures are of fewer units than there are, or of more.
        """
        name = f"layers/{self._layers[units.name]:03d}"
        count, layout, block = 0, {}, None
        for number, block in enumerate(pictures):
            end = count + len(block.patches)
            where = None if units.where is None else units.where[count:end]
            layout = self._write_sheets(
                f"{name}/{number:04d}", block_sheets.of_units(block, where)
            )
            said = [
                tables.unit(units, index, self._layers)
                for index in range(count, min(end, len(units.dead)))
            ]
            self._write(f"{name}/{number:04d}", said)
            count = end
        if block is None or count != len(units.dead):
            raise BadInput(
                f"layer {units.name}: has {len(units.dead)} units, but there are "
                f"pictures of {count}"
            )
        rules = {rule: list(each) for rule, each in block.projections.items()}
        live = np.flatnonzero(~units.dead)[:_SAMPLES].tolist()
        self._fronts[units.name] = {"front": layout["front"], "samples": live}
        self._write(name, tables.layer(units, rules=rules, sheets=layout))
        if self._kept:
            front = self._fronts[units.name]
            self._kept.keep(self._folder / "layers", name.rpartition("/")[2], front)

    def take_kept(self, layer: str) -> bool:
        """Takes over a layer that is kept; whether there is one."""
        if self._kept is None:
            return False
        pages = self._folder / "layers"
        pages.mkdir(exist_ok=True)
        front = self._kept.take(pages, f"{self._layers[layer]:03d}")
        if front is not None:
            self._fronts[layer] = front
        return front is not None

    def add_images(self, images: Iterable[content.ImageView]) -> None:
        """Writes the images that examples refer to; to be called once."""
        rows, images = [], iter(images)
        while block := list(itertools.islice(images, content.BLOCK)):
            name = f"images/{self._images // content.BLOCK:04d}"
            layout = self._write_sheets(name, block_sheets.of_images(block))
            said = [tables.image(view, self._layers) for view in block]
            self._write(name, {"images": said, "sheets": layout})
            rows += map(tables.image_row, block)
            self._images += len(block)
        self._write("images", rows)

    def finish(self) -> None:
        """Writes what opens first.

        Raises:
          BadInput: a layer was not added.
        """
        missing = [name for name in self._layers if name not in self._fronts]
        if missing:
            raise BadInput(f"layers {', '.join(missing)}: were not added")
        if not self._images:
            self.add_images(())
        layers = [
            dataclasses.asdict(each)
            | {"inputs": [self._layers[name] for name in each.inputs]}
            | self._fronts[each.name]
            for each in self._explorer.layers
        ]
        index = {
            "classes": self._explorer.classes,
            "layers": layers,
            "images": self._images,
            "block": content.BLOCK,
        }
        self._write("index", index)
        for path in page.STATIC.iterdir():
            shutil.copyfile(path, self._folder / path.name)
        html = page.render(self._explorer)
        (self._folder / "index.html").write_text(html, encoding="utf-8")

    def _write_sheets(self, name: str, drawn: dict[str, np.ndarray]) -> dict[str, dict]:
        """Writes sheets as NAME-SHEET.webp; where their pictures lie, by sheet."""
        written = {}
        for sheet, pictures in drawn.items():
            path = self._folder / f"{name}-{sheet}.webp"
            written[sheet] = dataclasses.asdict(sheets.write(path, pictures))
        return written

    def _write(self, name: str, said: Any) -> None:
        path = self._folder / f"{name}.js"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page.data_script(name, said), encoding="ascii")
