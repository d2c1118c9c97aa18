"""Conversion of specifications to dicts and JSON, and from untrusted dicts and JSON."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pydantic_core import to_json

from .json_form import AllowedFields, TreeReader, TreeWriter, read_json
from .operators import Operator
from .specification import Specification, TreeBuilder, to_tree


class SpecificationFactory:
    """Converter of specifications to and from dicts and JSON.

    Untrusted input is safe: it is rejected if it has unknown keys or operators, is too deep or too
    large, or names a field outside ``allowed_fields``. Values are checked later, when the types of
    their fields are known.

    Example:
        ```python
        from cqrs_ddd_specifications import SpecificationFactory

        written = {"and": [
            {"attribute": "status", "operator": "=", "value": "open"},
            {"attribute": "total", "operator": ">", "value": 100},
        ]}
        wanted = SpecificationFactory.from_dict(written, allowed_fields={"status", "total"})
        ```
    """

    @staticmethod
    def from_dict(
        data: Mapping[str, object],
        *,
        allowed_fields: AllowedFields | None = None,
        operators: Collection[Operator] = (),
    ) -> Specification:
        """Build a specification from a dict.

        Args:
            data: a dict in the form that ``to_dict`` returns.
            allowed_fields: the fields that the input may name, or the operators that it may use for
                each field; None allows every field of the model.
            operators: operators that the input may name although they are not portable.

        Raises:
            SpecificationError: the input is malformed, too large, or names a field or an operator
                that is not allowed.
            ConfigError: ``allowed_fields`` is malformed or names an unknown operator.
        """
        reader = TreeReader(TreeBuilder(), allowed=allowed_fields, operators=operators)
        return to_tree(reader.read(data))

    @staticmethod
    def from_json(
        text: str | bytes,
        *,
        allowed_fields: AllowedFields | None = None,
        operators: Collection[Operator] = (),
    ) -> Specification:
        """Build a specification from JSON of at most 1,000,000 characters.

        Parameters and errors are the same as for ``from_dict``; a repeated key is rejected, too.
        """
        return SpecificationFactory.from_dict(
            read_json(text), allowed_fields=allowed_fields, operators=operators
        )

    @staticmethod
    def validate(
        data: object,
        *,
        allowed_fields: AllowedFields | None = None,
        operators: Collection[Operator] = (),
    ) -> list[str]:
        """Return the problems for which ``from_dict`` rejects the data, each with its place.

        The types of the fields are not known here, so a value may still be rejected later.

        Args:
            data: a dict in the form that ``to_dict`` returns.
            allowed_fields: the fields, and perhaps operators, that the data may name.
            operators: operators that the data may name although they are not portable.

        Raises:
            ConfigError: ``allowed_fields`` is malformed or names an unknown operator.
        """
        reader = TreeReader(TreeBuilder(), allowed=allowed_fields, operators=operators)
        return [str(error) for error in reader.find_errors(data)]

    @staticmethod
    def to_dict(specification: Specification) -> dict[str, object]:
        """Return a dict of JSON types; a field with a declared type converts the values back.

        Raises:
            SpecificationError: a part of the tree is not built of attributes, or JSON cannot
                represent a value.
        """
        return specification.accept(TreeWriter())

    @staticmethod
    def to_json(specification: Specification) -> str:
        """Return the JSON of ``to_dict``."""
        return to_json(SpecificationFactory.to_dict(specification)).decode()
