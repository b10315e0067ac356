"""CodeZero: programs smaller than ``clang -Oz`` makes them.

Names are imported when they are first used, so that ``import codezero`` costs nothing.
"""

from __future__ import annotations

import importlib
import sys

TYPE_CHECKING = False  # typing's own takes longer to import than all else here
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    from codezero.compiler import Module as Module
    from codezero.compiler import Objective as Objective
    from codezero.compiler import PassSpace as PassSpace
    from codezero.compiler import Protocol as Protocol
    from codezero.compiler import load_space as load_space
    from codezero.compiler.program import Program as Program
    from codezero.env import PhaseOrderingEnv as PhaseOrderingEnv
    from codezero.env import PhaseOrderingVectorEnv as PhaseOrderingVectorEnv
    from codezero.errors import CodeZeroError as CodeZeroError
    from codezero.optimize import Optimized as Optimized
    from codezero.optimize import Optimizer as Optimizer
    from codezero.programs.load import ProgramLoader as ProgramLoader
    from codezero.search.policy import parse_policy as parse_policy

__version__ = "0.1.0"

_MODULES = {
    "CodeZeroError": "codezero.errors",
    "Module": "codezero.compiler",
    "Objective": "codezero.compiler",
    "Optimized": "codezero.optimize",
    "Optimizer": "codezero.optimize",
    "PassSpace": "codezero.compiler",
    "PhaseOrderingEnv": "codezero.env",
    "PhaseOrderingVectorEnv": "codezero.env",
    "Program": "codezero.compiler.program",
    "ProgramLoader": "codezero.programs.load",
    "Protocol": "codezero.compiler",
    "load_space": "codezero.compiler",
    "parse_policy": "codezero.search.policy",
}

__all__ = [*sorted(_MODULES), "__version__"]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'codezero' has no attribute '{name}'")


class _RegisterAfterGymnasium:
    """Registers the environment as soon as Gymnasium has been imported, by whomever.

    Importing it here would make ``import codezero`` five times slower for those who never use it,
    and Gymnasium has stopped looking for plugins.
    """

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != "gymnasium":
            return None
        from importlib.machinery import PathFinder

        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                if cls in sys.meta_path:
                    sys.meta_path.remove(cls)
                    _register()

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def _register() -> None:
    importlib.import_module("codezero.env.registration").register()


if "gymnasium" in sys.modules:
    _register()
else:
    sys.meta_path.insert(0, _RegisterAfterGymnasium)
