"""Layers that are drawn already, kept for the run after one that was interrupted."""

import json
import os
import pathlib
import shutil


class KeptLayers:
    """A folder of drawn layers, each of them whole."""

    def __init__(self, folder: pathlib.Path, key: str):
        """Opens the folder; layers that were kept under another key are removed.

        Args:
          folder: of its own.
          key: tells what the layers are drawn from.
        """
        self._folder, said = folder, folder / "key.txt"
        if not said.is_file() or said.read_text("utf-8") != key:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            said.write_text(key, encoding="utf-8")

    def keep(self, pages: pathlib.Path, name: str, front: dict) -> None:
        """Keeps the layer that was written to PAGES/NAME.js and the folder PAGES/NAME.

        Args:
          pages: the folder.
          name: a number.
          front: what `take` returns with it.
        """
        fresh = self._folder / f"{name}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(pages / name, fresh / name, copy_function=_link)
        _link(pages / f"{name}.js", fresh / f"{name}.js")
        (fresh / "front.json").write_text(json.dumps(front), encoding="ascii")
        fresh.replace(self._folder / name)

    def take(self, pages: pathlib.Path, name: str) -> dict | None:
        """Puts a kept layer into the folder `pages`; None where it is not kept."""
        kept = self._folder / name
        if not kept.is_dir():
            return None
        shutil.copytree(kept / name, pages / name, copy_function=_link)
        _link(kept / f"{name}.js", pages / f"{name}.js")
        return json.loads((kept / "front.json").read_text("ascii"))


def _link(source, target) -> None:
    """A second name of a file, where the file system has such."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
