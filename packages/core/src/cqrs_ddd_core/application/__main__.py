"""Process for the services of an application: ``python -m cqrs_ddd_core.application shop.app:app``.

SIGTERM and SIGINT stop the services within the grace period of the application. Work that ignores
its cancellation, because a database does not answer, ends with the process.
"""

import argparse
import asyncio
import logging
import os
from importlib import import_module

from ..primitives.exceptions import ConfigError, CQRSDDDError
from .application import Application

logger = logging.getLogger(__name__)

_ABANDONED = 3
"""Exit status of a process that ended before all of its work had."""


def load_application(reference: str) -> Application:
    """Import the application that ``module:name`` names, or call the function that creates it.

    Raises:
        ConfigError: the reference is malformed, or names neither an application nor a function
            that returns one.
    """
    path, _, name = reference.partition(":")
    if not path or not name.isidentifier():
        raise ConfigError(f"{reference!r} is not module:name, such as shop.app:app")
    try:
        module = import_module(path)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise  # A dependency of the module is missing.
        raise ConfigError(
            f"there is no module {error.name}; start the process in the folder that contains it, "
            "or add that folder to PYTHONPATH"
        ) from None
    found = getattr(module, name, None)
    app = found() if callable(found) else found
    if not isinstance(app, Application):
        raise ConfigError(
            f"{reference} is not an Application, but {type(app).__name__}; name an application or "
            "a function without parameters that returns one"
        )
    return app


async def run(app: Application) -> None:
    """Run the services until a signal stops them; end the process even if tasks are left over."""
    await app.run_services()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        logger.error("the process ends with %d tasks that ignore their cancellation", len(left))
        logging.shutdown()
        os._exit(_ABANDONED)


def main(arguments: list[str] | None = None) -> int:
    """Run the services of the application that the command line names."""
    parser = argparse.ArgumentParser(
        "python -m cqrs_ddd_core.application",
        description="Run the relay and the services of an application until SIGTERM or SIGINT.",
    )
    parser.add_argument("application", help="module:name of an Application, such as shop.app:app")
    reference = parser.parse_args(arguments).application
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        app = load_application(reference)
    except ConfigError as error:
        parser.error(str(error))
    try:
        asyncio.run(run(app))
    except CQRSDDDError as error:
        logger.error("the services cannot run: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
