"""The data set `creatures`: heads of ten kinds of animals, with their annotations.

A tensorflow-datasets builder that needs no TensorFlow: it draws its pictures itself,
hands encoded PNG files to the writer, and is read back as a random access source.

    builder = creatures.Creatures(config="64", data_dir=directory)
    builder.download_and_prepare(file_format="array_record")
    source = builder.as_data_source(split="train")

Preparing starts one process per core, so a script that prepares does so under
`if __name__ == "__main__":`, like everything that starts processes.
"""

import dataclasses
import io
from typing import ClassVar

import tensorflow_datasets as tfds

from zf_jax.creatures import render, scenes

# The data set is this seed's; another seed is another data set of the same classes.
SEED = 0

_DESCRIPTION = """\
Heads of ten kinds of animals seen from the front, drawn on natural-looking (1/f)
backgrounds among plants and loose parts of other classes. The class is told by the
shape of the parts (ears, muzzle or beak, eyes, whiskers, horns), never by colour or
position alone. Every example carries the silhouette of the animal and the boxes of its
eyes, nose, mouth and ears (left and right as the viewer sees them), and is a function
of (seed, split, index) alone.
"""


@dataclasses.dataclass(kw_only=True, eq=False)
class CreaturesConfig(tfds.core.BuilderConfig):
    """How large the pictures are and how many there are.

    Attributes:
      size: side in pixels, at least 64.
      train: number of training examples.
      validation: number of validation examples.
    """

    size: int = 64
    train: int = 12_000
    validation: int = 2_000


class Creatures(tfds.core.GeneratorBasedBuilder):
    """Builder of the data set `creatures`."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    BUILDER_CONFIGS: ClassVar = [
        CreaturesConfig(name="64", size=64, description="64 by 64 pixels."),
        CreaturesConfig(name="224", size=224, description="224 by 224 pixels."),
    ]
    # Nothing is downloaded, so there are no checksums to find beside this file. (TFDS
    # 4.9.10 would look with importlib_resources, which it does not install.)
    url_infos: ClassVar = {}

    def _info(self) -> tfds.core.DatasetInfo:
        """Features and description."""
        size = self.builder_config.size
        return self.dataset_info_from_configs(
            description=_DESCRIPTION,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(
                        shape=(size, size, 3), encoding_format="png"
                    ),
                    "label": tfds.features.ClassLabel(names=scenes.CLASSES),
                    "mask": tfds.features.Image(
                        shape=(size, size, 1), encoding_format="png"
                    ),
                    "parts": {
                        name: tfds.features.BBoxFeature() for name in scenes.PARTS
                    },
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager) -> dict:
        """The two splits; nothing is downloaded."""
        del dl_manager
        config = self.builder_config
        counts = {"train": config.train, "validation": config.validation}
        return {
            split: self._generate_examples(split, count)
            for split, count in counts.items()
        }

    def _generate_examples(self, split: str, count: int):
        """Yields (index, example) for all examples of the split."""
        drawn = render.draw_all(SEED, split, count, self.builder_config.size)
        for index, example in enumerate(drawn):
            # Files rather than arrays: TFDS encodes arrays with TensorFlow.
            yield (
                index,
                {
                    "image": io.BytesIO(example.image),
                    "label": example.label,
                    "mask": io.BytesIO(example.mask),
                    "parts": {
                        name: tfds.features.BBox(*box)
                        for name, box in example.parts.items()
                    },
                },
            )
