"""The recommended list of middlewares, and the order of a list."""

from ..cqrs.pipeline import ensure_middlewares
from ..middleware import EventStorePersistenceMiddleware, IdempotencyMiddleware, LoggingMiddleware
from ..ports.middleware import IMiddleware, Placement


def standard_middlewares(*extra: IMiddleware) -> list[IMiddleware]:
    """Return the recommended middlewares, and others, in the order in which they have to run.

    The recommended ones log each message, handle each command once, and append the events of a
    command to the event store.

    Args:
        extra: further middlewares; one of a recommended class replaces the recommended one.

    Raises:
        MiddlewareError: one is not a middleware, such as a class.
    """
    recommended = (LoggingMiddleware, IdempotencyMiddleware, EventStorePersistenceMiddleware)
    ensure_middlewares(extra)
    given = {type(each) for each in extra}
    return sort_middlewares(*extra, *(each() for each in recommended if each not in given))


def sort_middlewares(*middlewares: IMiddleware) -> list[IMiddleware]:
    """Return the middlewares by placement and ``order``, else in the order in which they came."""
    return sorted(middlewares, key=lambda each: (each.placement is Placement.INSIDE, each.order))
