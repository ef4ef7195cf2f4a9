"""Finding the demo's strategy: it is an example, and no part of the engine."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

from trade_engine.resources import examples_dir

_NAME = "trade_engine_example_moving_average"


def moving_average() -> ModuleType:
    """Load examples/moving_average.py, from the checkout or from the installed wheel."""
    path = examples_dir() / "moving_average.py"
    spec = spec_from_file_location(_NAME, path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = module_from_spec(spec)
    sys.modules[_NAME] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module
