"""Two nets side by side. Flag of the experiments that compare: --beside."""

import itertools
import pathlib

from absl import flags

from experiments.common import model
from zf_jax.errors import BadInput
from zf_jax.training import checkpoint

flags.adopt_module_key_flags(model)
_BESIDE = flags.DEFINE_string(
    "beside",
    None,
    "the second net: workdir of another run; if unset, the first net after the first "
    "epoch that its run keeps",
)


def load() -> dict[str, model.LoadedModel]:
    """The two nets by what tells them apart.

    Raises:
      BadInput: there is no second net, or it is the first; and as `trained.load`.
    """
    one, step = model.load(), flags.FLAGS.step
    after = ""
    if _BESIDE.value:
        other = model.of_run(_BESIDE.value)
    elif one.run is None:
        raise BadInput("--beside: give the training run to compare the ONNX net with")
    else:
        kept = checkpoint.epochs(one.run)
        epoch = min(kept, default=None)
        if len(kept) < 2 or step == kept[epoch]:
            raise BadInput(
                f"--beside: give another run; {one.run.name} keeps no earlier epoch"
            )
        other, after = model.of_run(one.run, kept[epoch]), f", epoch {epoch}"
    paths = [each.run or pathlib.Path(each.net.name) for each in (one, other)]
    newest = _BESIDE.value and one.run == other.run
    if newest and step in (None, checkpoint.load(one.run).step):
        raise BadInput(f"--beside={_BESIDE.value}: is --checkpoint itself")
    more = "" if step is None else f", step {step}", after
    # Runs of one name are told apart by their folders.
    for parts in itertools.count(1):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        names = [name + note for name, note in zip(names, more, strict=True)]
        if len(set(names)) == 2:
            return dict(zip(names, (one, other), strict=True))
