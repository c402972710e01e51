"""Every option of a run with its default, its type and the rules between options."""

from tfft.config.fit_config import FitConfig, option_names, option_types

__all__ = ["FitConfig", "option_names", "option_types"]
