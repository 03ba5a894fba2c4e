"""The net and the images that an experiment looks at: flags shared by experiments."""

from collections.abc import Iterator

import jax
import numpy as np
from absl import flags

from zf_jax import convnet
from zf_jax.data import batches, sources
from zf_jax.training import checkpoint

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "workdir of a training run")
_STEP = flags.DEFINE_integer("step", None, "which checkpoint; the newest by default")
_DATASET = flags.DEFINE_string(
    "dataset", None, "TFDS name; the training run's if unset"
)
_SPLIT = flags.DEFINE_string("split", "validation", "split of the data set")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "where TFDS keeps data sets")
_BATCH = flags.DEFINE_integer(
    "batch_size", 64, "images computed together", lower_bound=1
)


def load() -> checkpoint.Restored:
    """The trained net that the flags name, its parameters on the device."""
    known = checkpoint.load(_CHECKPOINT.value, _STEP.value)
    return known._replace(params=jax.device_put(known.params))


class Images:
    """A split's centre crops, by index as the net takes them, or in uint8 batches."""

    def __init__(self, source: sources.Source, about: checkpoint.About):
        self.name = f"{source.name}, {source.split}"
        self.labels = source.labels
        self._source = source
        self._given = about.net.input
        self._cut = {"size": about.net.input.size, "resize": about.resize}

    def __len__(self) -> int:
        return len(self._source.examples)

    def __getitem__(self, index: int) -> np.ndarray:
        """[H, W, 3] float32, prepared."""
        image = batches.image_at(self._source, index, **self._cut)
        return np.asarray(convnet.prepare(image, self._given))

    def label(self, index: int) -> int:
        """The class of an image."""
        return int(self._source.examples[index]["label"])

    def count_batches(self) -> int:
        """How many batches there are."""
        return -(-len(self) // _BATCH.value)

    def batches(self) -> Iterator[np.ndarray]:
        """[N, H, W, 3] uint8, in order, the last one as short as it is."""
        for batch in batches.evaluation(
            self._source, **self._cut, batch_size=_BATCH.value
        ):
            yield batch.images[: batch.mask.sum()]


def open_images(about: checkpoint.About) -> Images:
    """The images that the flags name; the training run's data set by default."""
    name = _DATASET.value or about.dataset
    return Images(
        sources.open_split(name, _SPLIT.value, data_dir=_DATA_DIR.value), about
    )
