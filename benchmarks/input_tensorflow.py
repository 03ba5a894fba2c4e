"""The tf.data side of `input.py`: a script for a Python that has TensorFlow.

    python input_tensorflow.py FOLDER bicubic|bilinear BATCH_SIZE

Prints the seconds of one pass over the JPEG files of a folder, on one thread. Only the
crop is decoded and resized (`decode_and_crop_jpeg`), the fastest that tf.data does.
"""

import os
import pathlib
import sys
import time

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}

import tensorflow as tf


def main(folder: str, method: str, batch_size: str) -> None:
    """Reads the files twice; the second time, when all is compiled, counts."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    files = sorted(map(str, pathlib.Path(folder).glob("*.jpg")))
    dataset = tf.data.Dataset.from_tensor_slices(files).shuffle(len(files))
    dataset = dataset.map(lambda path: _crop(path, method))
    dataset = dataset.batch(int(batch_size), drop_remainder=True).with_options(options)
    for _ in range(2):
        began = time.perf_counter()
        for _ in dataset:
            pass
        seconds = time.perf_counter() - began
    print(seconds)


def _crop(path, method: str):
    content = tf.io.read_file(path)
    shape = tf.io.extract_jpeg_shape(content)
    shorter = tf.cast(tf.minimum(shape[0], shape[1]), tf.float32)
    side = tf.cast(tf.round(shorter * 224 / 256), tf.int32)
    row = tf.random.uniform([], 0, shape[0] - side + 1, tf.int32)
    column = tf.random.uniform([], 0, shape[1] - side + 1, tf.int32)
    window = tf.stack([row, column, side, side])
    image = tf.io.decode_and_crop_jpeg(content, window, channels=3)
    image = tf.image.resize(
        image, (224, 224), method=method, antialias=method == "bicubic"
    )
    return tf.cast(tf.clip_by_value(image, 0, 255), tf.uint8)


if __name__ == "__main__":
    main(*sys.argv[1:])
