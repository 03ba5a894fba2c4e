"""An explorer's folder as one HTML file, which can be mailed; for small nets."""

import base64
import json
import pathlib

from zf_jax import io
from zf_jax.figures.explorer import content, page


def write(
    explorer: content.Explorer, folder: pathlib.Path, path: pathlib.Path
) -> pathlib.Path:
    """Packs a written explorer. A browser reads the file as a whole before it opens.

    Args:
      explorer: what the folder shows.
      folder: where it was written.
      path: of the HTML file.
    """
    pictures = {
        file.relative_to(folder).as_posix(): _data_url(file)
        for file in sorted(folder.rglob("*.webp"))
    }
    data = [file for file in sorted(folder.rglob("*.js")) if file.name != "explorer.js"]
    scripts = [
        (folder / "explorer.js").read_text("utf-8"),
        f"explorer.pictures = {json.dumps(pictures)};",
        *(file.read_text("utf-8") for file in data),
    ]
    styles = (folder / "explorer.css").read_text("utf-8")
    with io.atomic_write(path) as fresh:
        html = page.render(explorer, styles=styles, scripts=scripts)
        fresh.write_text(html, encoding="utf-8")
    return path


def _data_url(file: pathlib.Path) -> str:
    text = base64.b64encode(file.read_bytes()).decode("ascii")
    return f"data:image/webp;base64,{text}"
