"""What most experiments are told."""

import dataclasses

from experiments.common.dataset import DataConfig
from experiments.common.model import ModelConfig
from experiments.common.output import OutputConfig


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """A net, the images that it sees, and where the experiment writes."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    output: OutputConfig = OutputConfig()
