"""Plugin that distributes the tests to the worker processes of pytest-xdist.

``-n auto`` starts the workers; without ``-n`` the tests run in one process and in their own order.
"""

from __future__ import annotations

import os

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from tests.faults.sizes import FORM
from tests.processes import WORKER

LONGEST = ("tests/faults/", "tests/docs/")
"""Folders with the longest tests, which start first, so that all workers end at about one time.

Pages come last: the default event registry finds their classes for as long as the process lives.
"""
EXTRA_WORKERS = 2
"""Workers beyond the number of cores, because tests wait for servers and processes."""


class FileScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Distribution of one file at a time, and of one test at a time in the folder of the faults.

    The blocks of a page depend on one another, and tests share the fixtures of their module.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return nodeid if file.startswith("tests/faults/") else file

    def remove_node(self, node: WorkerController) -> str | None:
        """Return the test that ended its worker, and give only the other tests to another worker.

        The base class would repeat that test until too many workers have ended.
        """
        units = self.assigned_work.pop(node)
        pending = [
            (tests, name)
            for tests in units.values()
            for name, has_run in tests.items()
            if not has_run
        ]
        if not pending:
            return None
        tests, crashed = pending[0]
        tests[crashed] = True
        self.workqueue.update(
            {scope: tests for scope, tests in units.items() if not all(tests.values())}
        )
        for other in self.assigned_work:
            self._reschedule(other)
        return str(crashed)


@pytest.hookimpl(tryfirst=True)  # The plugin of pytest-xdist answers too.
def pytest_xdist_auto_num_workers() -> int:
    return (os.cpu_count() or 1) + EXTRA_WORKERS


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FileScheduling:
    config.option.loadscopereorder = False  # Else the files with the most tests start first.
    return FileScheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if FORM == "short":
        full = [item for item in items if item.get_closest_marker("full")]
        items[:] = [item for item in items if not item.get_closest_marker("full")]
        config.hook.pytest_deselected(items=full)
    if WORKER is not None:
        items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))
