"""The pipeline's stages, in order."""

from nexus_final.config import RunConfig
from nexus_final.stage import Stage
from nexus_final.stages.evaluation import EvaluationStage
from nexus_final.stages.extraction import ExtractionStage
from nexus_final.stages.profiling import ProfilingStage
from nexus_final.stages.release import ReleaseStage
from nexus_final.stages.router import RouterStage
from nexus_final.stages.training import TrainingStage


def build_stages(config: RunConfig) -> list[Stage]:
    """All stages of a run, each after what it needs."""
    return [ProfilingStage(), ExtractionStage(), TrainingStage(), EvaluationStage(), RouterStage(), ReleaseStage()]
