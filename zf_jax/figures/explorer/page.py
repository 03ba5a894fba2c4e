"""The page: the HTML that opens, and the data files that it loads."""

import functools
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import jinja2

from zf_jax.figures.explorer import content

_HERE = pathlib.Path(__file__).parent
# The files beside the page: the script and the style sheet.
STATIC = _HERE / "static"


def render(
    explorer: content.Explorer,
    *,
    styles: str | None = None,
    scripts: Sequence[str] = (),
) -> str:
    """The page, which its style sheet and scripts stand in or, without, beside."""
    template = _environment().get_template("index.html")
    return template.render(explorer=explorer, styles=styles, scripts=scripts)


def data_script(name: str, said: Any) -> str:
    """A data file, which calls `explorer.add(name, said)`.

    A page that is opened from the disk may not fetch files, but may load scripts.
    """
    text = json.dumps(said, allow_nan=False, separators=(",", ":"))
    # Within a page "</script>" in a name would end the script.
    return f"explorer.add({json.dumps(name)},{text});\n".replace("<", "\\u003c")


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
