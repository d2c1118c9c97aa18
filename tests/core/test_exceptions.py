from __future__ import annotations

import inspect
import pickle
import re

import pydantic
import pytest

from cqrs_ddd_core.primitives import exceptions
from cqrs_ddd_core.primitives.exceptions import (
    BusinessRuleError,
    CommitOutcomeUnknownError,
    ConcealedError,
    ConcurrencyError,
    ConfigError,
    CQRSDDDError,
    DomainError,
    DuplicateCommandError,
    DuplicateEventError,
    ErrorClass,
    InvalidOperationError,
    LeaseLostError,
    LockAcquisitionError,
    OptimisticConcurrencyError,
    PermanentCommandError,
    PersistenceError,
    SerializationError,
    TransientCommandError,
    ValidationError,
    classify_error,
)

ERRORS = [
    error
    for _, error in inspect.getmembers(exceptions, inspect.isclass)
    if issubclass(error, CQRSDDDError)
]


def _read_error_tree() -> dict[str, str | None]:
    """Read the tree in the docstring: the name of each error and of its parent."""
    parents: dict[str, str | None] = {}
    path: list[str] = []
    for line in (exceptions.__doc__ or "").splitlines():
        found = re.match(r"^    ((?:│   |    |├── |└── )*)(\w+Error)\b", line)
        if found:
            depth = len(found[1]) // 4
            del path[depth:]
            parents[found[2]] = path[-1] if path else None
            path.append(found[2])
    return parents


def test_error_tree_in_the_docstring_matches_the_classes() -> None:
    actual = {
        error.__name__: None if error is CQRSDDDError else error.__mro__[1].__name__
        for error in ERRORS
    }

    assert _read_error_tree() == actual


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_each_error_carries_its_facts_and_survives_pickling(
    error: type[CQRSDDDError],
) -> None:
    facts = {
        name: f"some {name}"
        for name, parameter in inspect.signature(error.__init__).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name != "errors"
    }
    made = error("what was asked", **facts)

    copy = pickle.loads(pickle.dumps(made))

    assert str(copy) == "what was asked"
    assert type(copy) is error
    assert vars(copy) == vars(made)
    assert set(facts) <= set(vars(made))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DomainError("no"), ErrorClass.BUSINESS),
        (BusinessRuleError("no"), ErrorClass.BUSINESS),
        (ValidationError("no"), ErrorClass.BUSINESS),
        (PermanentCommandError("no"), ErrorClass.PERMANENT),
        (DuplicateCommandError("no"), ErrorClass.PERMANENT),
        (InvalidOperationError("no"), ErrorClass.PERMANENT),
        (ConfigError("no"), ErrorClass.PERMANENT),
        (SerializationError("no"), ErrorClass.PERMANENT),
        (TransientCommandError("no"), ErrorClass.TRANSIENT),
        (ConcurrencyError("no"), ErrorClass.TRANSIENT),
        (OptimisticConcurrencyError("no"), ErrorClass.TRANSIENT),
        (LockAcquisitionError("no"), ErrorClass.TRANSIENT),
        (PersistenceError("no"), ErrorClass.TRANSIENT),
        (CommitOutcomeUnknownError("no"), ErrorClass.TRANSIENT),
        (OSError("no"), ErrorClass.TRANSIENT),
        (KeyError("no"), ErrorClass.TRANSIENT),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.value,
)
def test_error_is_classified_as_business_permanent_or_transient(
    error: Exception, expected: ErrorClass
) -> None:
    assert classify_error(error) is expected


def test_validation_error_keeps_pydantic_errors_by_field() -> None:
    class Inner(pydantic.BaseModel):
        number: int

    class Outer(pydantic.BaseModel):
        inner: Inner
        name: str

    with pytest.raises(pydantic.ValidationError) as caught:
        Outer.model_validate({"inner": {"number": "x"}})

    error = ValidationError.from_pydantic("the data does not fit", caught.value)
    assert str(error) == "the data does not fit: inner.number, name"
    assert error.errors["name"] == ("Field required",)
    assert set(error.errors) == {"inner.number", "name"}


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OptimisticConcurrencyError.version_taken("Order o-1", 2, 3),
            "cannot append version 2 of Order o-1, which is at version 3; "
            "reload it and retry the command",
        ),
        (
            OptimisticConcurrencyError.stale_version("Order o-1", 2, None),
            "Order o-1 was loaded at version 2, but nothing is stored; "
            "reload it and retry the command",
        ),
        (
            LeaseLostError.lease_ended("outbox key", "o-1", 7),
            "the lease of outbox key o-1 (epoch 7) has ended: it expired, was released, or a later "
            "claim replaced it; claim it again",
        ),
        (
            DuplicateEventError.already_stored("OrderPlaced", "e-1"),
            "cannot append OrderPlaced: an event with id e-1 is already stored; give each event "
            "its own id",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_error_message_states_the_problem_and_the_next_step(
    error: CQRSDDDError, message: str
) -> None:
    assert str(error) == message


def test_stale_version_error_carries_expected_and_actual_version() -> None:
    error = OptimisticConcurrencyError.stale_version("Order o-1", 2, 5)

    assert (error.subject, error.expected, error.actual) == ("Order o-1", 2, 5)


def _list_causes(error: BaseException) -> list[BaseException]:
    causes = []
    while error.__cause__ is not None:
        error = error.__cause__
        causes.append(error)
    return causes


def test_concealed_error_copies_nine_causes_without_their_texts() -> None:
    def fail(number: int) -> None:
        try:
            if number:
                fail(number - 1)
        finally:
            raise ValueError(f"anna@example.org {number}")

    with pytest.raises(ValueError, match="anna") as caught:
        fail(20)
    concealed = ConcealedError(caught.value)
    causes = _list_causes(concealed)

    assert len(causes) == 9
    assert concealed.orig is caught.value
    for copy in (concealed, *causes):
        assert isinstance(copy, ConcealedError)
        assert "anna@" in str(copy.orig)
        assert re.fullmatch(r"ValueError at test_exceptions\.py:\d+ in fail", str(copy))
        assert copy.__traceback__ is copy.orig.__traceback__


def test_concealed_error_ends_the_causes_of_a_cycle() -> None:
    first, second = ValueError("anna@example.org"), KeyError("anna@example.org")
    first.__cause__, second.__cause__ = second, first

    assert [str(each) for each in _list_causes(ConcealedError(first))][:2] == [
        "KeyError",
        "ValueError",
    ]


def test_concealed_error_leaves_out_a_suppressed_context() -> None:
    error = ValueError("anna@example.org")
    error.__context__, error.__suppress_context__ = KeyError("anna@example.org"), True

    assert _list_causes(ConcealedError(error)) == []
