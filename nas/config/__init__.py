"""The study file: YAML in, a checked and frozen `StudyConfig` out, and back."""

from nas.config.code import allow_given, check_code
from nas.config.files import find_study_file, load_config, parse_set, studies_folder, with_key
from nas.config.latency import TIMED
from nas.config.parse import check_study_name, config_from_plain
from nas.config.records import (
    BudgetConfig,
    FinalistsConfig,
    LatencyConfig,
    RecipeConfig,
    StopConfig,
    StudyConfig,
    TaskConfig,
    identity_diff,
)
from nas.config.tuning import TuningConfig, tuning_from_plain

__all__ = [
    "TIMED",
    "BudgetConfig",
    "FinalistsConfig",
    "LatencyConfig",
    "RecipeConfig",
    "StopConfig",
    "StudyConfig",
    "TaskConfig",
    "TuningConfig",
    "allow_given",
    "check_code",
    "check_study_name",
    "config_from_plain",
    "find_study_file",
    "identity_diff",
    "load_config",
    "parse_set",
    "studies_folder",
    "tuning_from_plain",
    "with_key",
]
