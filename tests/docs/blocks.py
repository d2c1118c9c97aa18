"""Pytest plugin that runs every Python block of the README files and of docs as a test.

The blocks of a document share one module and one event loop, and may `await` outside a function.
A document that mentions REDIS_URL gets a Redis server of its own, with its URL in this variable.
A block that begins with a comment with a path, such as `# shop/domain.py`, is written to that
file instead, in a folder of this document. There the console blocks that begin with
`$ ` are run, and their output is compared with the text after the command.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from sybil import Document, Example, Region, Sybil
from sybil.parsers.markdown import CodeBlockParser, SkipParser

from cqrs_ddd_core.domain.events import defined_events
from tests.docs.reader_folder import FILE, PROMPT, ReaderFolder
from tests.services import Redis, running

ROOT = Path(__file__).parents[2]
MODULE = "module that the blocks of a document share"
LOOP = "event loop that the blocks of a document share"
SERVER = "server that the blocks of a document share"
FOLDER = "folder that the files and commands of a document share"


@contextmanager
def without_events_of_tests() -> Iterator[None]:
    """Hide the event classes of test modules, whose names a reader may use."""
    hidden = [
        (classes, path, classes.pop(path))
        for classes in defined_events.values()
        for path in list(classes)
        if path.startswith("tests.")
    ]
    try:
        yield
    finally:
        for classes, path, event in hidden:
            classes[path] = event


def run_block(example: Example) -> None:
    if file := FILE.match(example.parsed):
        _folder_of(example).write(file[1], example.parsed)
        return
    if "REDIS_URL" in example.document.text and SERVER not in example.namespace:
        example.namespace[SERVER] = servers = ExitStack()
        os.environ["REDIS_URL"] = servers.enter_context(running(Redis())).url
    tree = ast.parse(example.parsed, example.path)
    ast.increment_lineno(tree, example.line + example.parsed.line_offset)
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(tree, example.path, "exec", flags=flags, dont_inherit=True)
    # A real module, since readers of annotations look up the module of a class in `sys.modules`.
    module = example.namespace.setdefault(MODULE, ModuleType(f"blocks of {example.path}"))
    sys.modules[module.__name__] = module
    with without_events_of_tests():
        outcome = eval(code, vars(module))  # noqa: S307 - running the documentation is the purpose
        if inspect.iscoroutine(outcome):
            loop = example.namespace.get(LOOP) or asyncio.new_event_loop()
            example.namespace[LOOP] = loop
            loop.run_until_complete(outcome)


def remove_events_of(module: ModuleType) -> None:
    """Let the next document define an event of the same name."""
    for by_path in defined_events.values():
        for path in [each for each in by_path if each.startswith(f"{module.__name__}.")]:
            del by_path[path]


def run_console(example: Example) -> None:
    _folder_of(example).run(example.parsed)


def _folder_of(example: Example) -> ReaderFolder:
    if FOLDER not in example.namespace:
        example.namespace[FOLDER] = ReaderFolder()
    folder: ReaderFolder = example.namespace[FOLDER]
    return folder


class CommandParser(CodeBlockParser):
    """Parser of the console blocks that begin with a prompt; other blocks are not run."""

    def __init__(self) -> None:
        super().__init__(language="console", evaluator=run_console)

    def __call__(self, document: Document) -> Iterable[Region]:
        return (each for each in super().__call__(document) if each.parsed.startswith(PROMPT))


def close_document(namespace: dict[str, Any]) -> None:
    try:
        if module := namespace.pop(MODULE, None):
            sys.modules.pop(module.__name__, None)
            remove_events_of(module)
        if loop := namespace.pop(LOOP, None):
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
    finally:
        if server := namespace.pop(SERVER, None):
            del os.environ["REDIS_URL"]
            server.close()
        if folder := namespace.pop(FOLDER, None):
            folder.close()


sybil = Sybil(
    parsers=[
        CodeBlockParser(language="python", evaluator=run_block),
        CommandParser(),
        SkipParser(),
    ],
    path=str(ROOT),
    patterns=["*.md"],
    teardown=close_document,
)
pytest_collect_file = sybil.pytest()
