"""The services of an application in a process of their own."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from cqrs_ddd_core import ConfigError
from cqrs_ddd_core.application.__main__ import load_application, main

MODULE = "tests.core.service_application"


def start(reference: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cqrs_ddd_core.application", reference]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def stop_running(reference: str, number: signal.Signals) -> tuple[int, str]:
    """Run the services, send a signal once they run, and return the exit status and the log."""
    process = start(reference)
    assert process.stderr is not None
    lines = [process.stderr.readline()]
    process.send_signal(number)
    _, rest = process.communicate(timeout=60)
    return process.returncode, "".join([*lines, rest])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_service_process_stops_its_services_at_a_signal(number: signal.Signals) -> None:
    status, log = stop_running(f"{MODULE}:app", number)

    assert "running: Loop" in log
    assert (status, log.count("\n")) == (0, 1)


def test_service_process_ends_although_a_service_ignores_its_cancellation() -> None:
    status, log = stop_running(f"{MODULE}:create_stuck", signal.SIGTERM)

    assert status == 3
    assert "IgnoringLoop is abandoned: it ignores its cancellation" in log
    assert "the process ends with" in log


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ("shop", "'shop' is not module:name, such as shop.app:app"),
        (
            "tests.core.shop:app",
            "there is no module tests.core.shop; start",
        ),
        (f"{MODULE}:missing", "is not an Application, but NoneType"),
        (f"{MODULE}:Loop", "is not an Application, but Loop"),
    ],
)
def test_reference_that_names_no_application_is_rejected(reference: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        load_application(reference)


def test_service_process_without_its_tables_ends_with_one_line() -> None:
    process = start(f"{MODULE}:create_without_tables")
    _, log = process.communicate(timeout=60)

    assert process.returncode == 1
    assert log.count("\n") == 1
    assert "the services cannot run: the table of orders is missing" in log


def test_command_reports_a_wrong_reference_in_its_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["shop"])

    assert ended.value.code == 2
    assert "'shop' is not module:name" in capsys.readouterr().err
