"""Errors of the core package, one module for each branch of the tree.

::

    CQRSDDDError
    ├── DomainError
    │   ├── InvariantViolationError
    │   │   ├── CycleDetectedError
    │   │   └── ACLWideningError
    │   ├── BusinessRuleError
    │   ├── ValidationError
    │   │   ├── NaiveDatetimeError
    │   │   └── UnknownArgumentError (also a TypeError)
    │   ├── NotFoundError
    │   │   ├── EntityNotFoundError
    │   │   └── NodeNotFoundError
    │   ├── MultipleResultsError
    │   ├── ImmutableObjectError
    │   ├── MissingIdentityError
    │   ├── EventApplicationError
    │   ├── HierarchyLimitExceededError
    │   └── CorruptHierarchyError
    ├── TransientCommandError
    │   └── CommandTimeoutError
    ├── PermanentCommandError
    ├── DuplicateCommandError
    ├── ResultNotRememberedError
    ├── InvalidOperationError
    │   ├── ConcurrentUseError
    │   ├── ReadOnlyError
    │   └── UnsavedChangesError
    ├── ConfigError (also a ValueError)
    ├── ConcurrencyError
    │   ├── OptimisticConcurrencyError
    │   │   └── AlreadyExistsError
    │   ├── LockAcquisitionError
    │   └── LeaseLostError
    ├── HandlerError
    │   ├── HandlerRegistrationError
    │   │   └── HandlerAlreadyRegisteredError (also a ValueError)
    │   ├── HandlerNotRegisteredError
    │   ├── HandlerResultError
    │   ├── EventHandlerError (also a TypeError)
    │   └── MiddlewareError
    ├── TypeRegistryError
    │   ├── DuplicateTypeError (also a ValueError)
    │   └── UnknownTypeError
    └── InfrastructureError
        ├── PersistenceError
        │   ├── ConstraintViolationError
        │   │   └── DuplicateKeyError
        │   └── InvalidDataError
        ├── CommitOutcomeUnknownError
        ├── PositionTimeoutError
        ├── SerializationError
        ├── EventStoreError
        │   ├── DuplicateEventError
        │   └── AmbiguousStreamError
        ├── OutboxError
        ├── InboxError
        ├── CacheError
        ├── LockingError
        ├── MessagingError
        └── BlobStorageError
"""

from . import arguments as arguments
from .base import *
from .concurrency import *
from .description import *
from .domain import *
from .handlers import *
from .infrastructure import *
