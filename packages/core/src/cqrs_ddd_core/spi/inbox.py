"""Inbox of a unit of work, and fingerprints of the messages in it."""

import json
from hashlib import sha256

from ..ports.inbox import IInbox, IInboxProvider
from ..primitives.exceptions import InvalidOperationError
from .json_fidelity import encode_json


def get_inbox(uow: object) -> IInbox:
    """Return the inbox of a unit of work.

    Raises:
        InvalidOperationError: the unit of work carries no inbox.
    """
    if not isinstance(uow, IInboxProvider):
        raise InvalidOperationError(
            f"{type(uow).__name__} carries no inbox; use a unit of work that does"
        )
    return uow.inbox


def compute_fingerprint(content: object) -> str:
    """Return the SHA-256 of the content as JSON with sorted keys, in hexadecimal.

    Raises:
        SerializationError: the content cannot be written as JSON.
    """
    name = type(content).__name__
    plain = json.loads(encode_json(content, name, type_name=name, allow_nan=True))
    return sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
