"""Runs every Python block of the README files and of docs as a test; a pytest plugin.

The blocks of a document share one module and one event loop, and may `await` outside a function.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, SkipParser

ROOT = Path(__file__).parents[2]
MODULE = "the module that the blocks of a document share"
LOOP = "the event loop that the blocks of a document share"


def run_block(example: Example) -> None:
    tree = ast.parse(example.parsed, example.path)
    ast.increment_lineno(tree, example.line + example.parsed.line_offset)
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(tree, example.path, "exec", flags=flags, dont_inherit=True)
    # A real module: what reads annotations looks the module of a class up in `sys.modules`.
    module = example.namespace.setdefault(MODULE, ModuleType(f"blocks of {example.path}"))
    sys.modules[module.__name__] = module
    outcome = eval(code, vars(module))  # noqa: S307 - running the documentation is the purpose
    if inspect.iscoroutine(outcome):
        loop = example.namespace.get(LOOP) or asyncio.new_event_loop()
        example.namespace[LOOP] = loop
        loop.run_until_complete(outcome)


def close_document(namespace: dict[str, Any]) -> None:
    if module := namespace.pop(MODULE, None):
        sys.modules.pop(module.__name__, None)
    if loop := namespace.pop(LOOP, None):
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


sybil = Sybil(
    parsers=[CodeBlockParser(language="python", evaluator=run_block), SkipParser()],
    path=str(ROOT),
    patterns=["*.md"],
    teardown=close_document,
)
pytest_collect_file = sybil.pytest()
