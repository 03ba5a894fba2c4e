"""The paper's own numbers, to stand beside ours where the data is the same."""

import pathlib

from zf_jax.data import class_folders

# Table 1: left eye, right eye, nose and random boxes of five dogs of ImageNet.
_TABLE_1 = {
    "left_eye": {"layer5": (0.069, 0.007), "layer7": (0.068, 0.013)},
    "right_eye": {"layer5": (0.067, 0.007), "layer7": (0.069, 0.015)},
    "nose": {"layer5": (0.079, 0.017), "layer7": (0.069, 0.011)},
    "random": {"layer5": (0.107, 0.017), "layer7": (0.073, 0.014)},
}
# Table 3: errors of ImageNet 2012 in percent, training, validation top-1 and top-5.
_TABLE_3 = {
    "alexnet-dense": (35.1, 40.5, 18.1),
    "alexnet-without34": (41.8, 45.4, 22.1),
    "alexnet-without7": (27.4, 40.0, 18.4),
    "alexnet-without67": (27.4, 44.8, 22.4),
    "alexnet-without3467": (71.1, 71.3, 50.1),
    "alexnet-2048": (40.3, 41.7, 18.8),
    "alexnet-8192": (26.8, 40.0, 18.1),
    "zfnet": (33.1, 38.4, 16.5),
    "zfnet-2048": (38.2, 40.2, 17.6),
    "zfnet-8192": (22.0, 38.8, 17.0),
    "zfnet-wide": (18.8, 37.5, 16.0),
    "zfnet-wide-8192": (10.0, 38.3, 16.9),
}
# Table 2: validation errors, top-1 and top-5, by the nets; a single one's as Table 3.
_TABLE_2 = {(name,): row[1:] for name, row in _TABLE_3.items()} | {
    ("alexnet",): (40.7, 18.2),
    ("alexnet",) * 5: (38.1, 16.4),
    ("zfnet",) * 5: (36.7, 15.3),
    (*("zfnet",) * 5, "zfnet-wide"): (36.0, 14.7),
}
# Table 7: mean per-class accuracy and standard deviation, percent, by classifier and
# layer, for 30 images a class of Caltech-101 and 60 of Caltech-256.
_TABLE_7 = {
    ("caltech101", 30): {
        ("svm", "layer1"): (44.8, 0.7),
        ("svm", "layer2"): (66.2, 0.5),
        ("svm", "layer3"): (72.3, 0.4),
        ("svm", "layer4"): (76.6, 0.4),
        ("svm", "layer5"): (86.2, 0.8),
        ("svm", "layer7"): (85.5, 0.4),
        ("softmax", "layer5"): (82.9, 0.4),
        ("softmax", "layer7"): (85.4, 0.4),
    },
    ("caltech256", 60): {
        ("svm", "layer1"): (24.6, 0.4),
        ("svm", "layer2"): (39.6, 0.3),
        ("svm", "layer3"): (46.0, 0.3),
        ("svm", "layer4"): (51.3, 0.1),
        ("svm", "layer5"): (65.6, 0.3),
        ("svm", "layer7"): (71.7, 0.2),
        ("softmax", "layer5"): (65.7, 0.5),
        ("softmax", "layer7"): (72.6, 0.1),
    },
}
# Tables 4 and 5, by images a class.
_TABLES_4_5 = {
    ("caltech101", "pretrained"): {15: (83.8, 0.5), 30: (86.5, 0.5)},
    ("caltech101", "scratch"): {15: (22.8, 1.5), 30: (46.5, 1.7)},
    ("caltech256", "pretrained"): {
        15: (65.7, 0.2),
        30: (70.6, 0.2),
        45: (72.7, 0.4),
        60: (74.2, 0.3),
    },
    ("caltech256", "scratch"): {
        15: (9.0, 1.4),
        30: (22.5, 0.7),
        45: (31.2, 0.5),
        60: (38.8, 1.4),
    },
}


def part_scores(dataset: str) -> dict[str, dict[str, tuple[float, float]]]:
    """Table 1's mean and standard deviation, by part and layer."""
    return _TABLE_1 if _base(dataset) == "imagenet2012" else {}


def variant_errors(
    dataset: str, split: str, net: str
) -> tuple[float, float, float] | None:
    """Table 3's training, validation top-1 and top-5 errors of a net, in percent.

    `split` is the one that our errors are measured on.
    """
    return _TABLE_3.get(net) if _is_validation(dataset, split) else None


def ensemble_errors(
    dataset: str, split: str, nets: tuple[str, ...]
) -> tuple[float, float] | None:
    """Table 2's top-1 and top-5 errors in percent of nets averaged, names in order.

    Not in the paper: with how many crops.
    """
    return _TABLE_2.get(nets) if _is_validation(dataset, split) else None


def accuracy_by_layer(
    dataset: str, images: int
) -> dict[tuple[str, str], tuple[float, float]]:
    """Table 7's column for so many images a class, by (classifier, layer)."""
    return _TABLE_7.get((_base(dataset), images), {})


def accuracy_by_images(dataset: str, start: str) -> dict[int, tuple[float, float]]:
    """Table 4's or 5's row, "pretrained" or "scratch", by images a class."""
    return _TABLES_4_5.get((_base(dataset), start), {})


def _is_validation(dataset: str, split: str) -> bool:
    """Whether the paper's errors are of this split, or of a larger one."""
    return _base(dataset) == "imagenet2012" and split.startswith("validation")


def _base(dataset: str) -> str:
    """`caltech101` of `caltech101:3.0.1`, whatever the version; a folder's own name."""
    if dataset.startswith(class_folders.PREFIX):
        return pathlib.PurePath(dataset.removeprefix(class_folders.PREFIX)).name
    return dataset.split(":")[0].split("/")[0]
