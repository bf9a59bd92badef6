# SPDX-License-Identifier: Apache-2.0
"""Modules that stand in their place unexecuted until somebody asks them for a name.

Python's own LazyLoader executes a module when it is imported a second time, and a package
when a part of it is. Nobody but who looks at the memory can tell such a module from another.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from typing import Any, Final

ITS_OWN: Final = frozenset({"__all__", "__version__"})
"""Of the names between underscores, all others are Python's questions about any module."""


def postpone(name: str) -> Callable[[], None]:
    """Put a module in its place; from the call of what is returned it is executed when asked.

    Until then its parts can be imported, and nothing else is there. Nothing happens to a
    module that was imported before, or that does not exist.
    """
    spec = None if name in sys.modules else importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        return lambda: None
    module, loader = importlib.util.module_from_spec(spec), spec.loader

    def execute_for(asked: str) -> Any:
        if asked.startswith("__") and asked not in ITS_OWN:
            raise AttributeError(f"module {name!r} has no attribute {asked!r}")
        if vars(module).pop("__getattr__", None) is not None:
            loader.exec_module(module)
        return getattr(module, asked)

    sys.modules[name] = module
    return lambda: vars(module).update(__getattr__=execute_for)
