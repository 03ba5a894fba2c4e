"""README.md is the site's first page: one text, read in two places."""

import pathlib

from mkdocs.structure.files import File


def on_files(files, config):
    """Adds the README as index.md, its links seen from docs/."""
    readme = pathlib.Path(config.config_file_path).parent / "README.md"
    text = readme.read_text(encoding="utf-8").replace("](docs/", "](")
    files.append(File.generated(config, "index.md", content=text))
    return files
