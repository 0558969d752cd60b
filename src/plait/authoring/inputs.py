"""People's input: what is asked for as a JSON Schema, and whether an answer fits."""

from __future__ import annotations

from typing import Any, cast

from plait.authoring.params import adapter_of, mismatches, schema_of
from plait.model.errors import ParameterError


class InputKind:
    """What `ask` asks for: a type, or a JSON Schema as it stands."""

    def __init__(self, kind: Any):
        self._kind = kind
        self.schema: dict[str, Any] = cast("dict[str, Any]", kind) if isinstance(kind, dict) else schema_of(kind)

    def value(self, data: Any) -> Any:
        """The answer as the type wants it: a model with its own validators. Raises ParameterError that names the
        field."""
        if isinstance(self._kind, dict):
            check_input(self.schema, data)
            return data
        adapter = adapter_of(self._kind)
        if adapter is None:
            return data
        import pydantic

        try:
            return adapter.validate_python(data)
        except pydantic.ValidationError as error:
            raise ParameterError(mismatches(error)) from None


def check_input(schema: dict[str, Any] | None, data: Any) -> None:
    """Raise ParameterError that names each field of an answer that does not fit a schema."""
    if not schema:
        return
    import jsonschema

    rules: Any = jsonschema.Draft202012Validator
    errors = list(rules(schema, format_checker=rules.FORMAT_CHECKER).iter_errors(data))
    if errors:
        told = [f"{'.'.join(map(str, error.absolute_path)) or 'the answer'}: {error.message}" for error in errors]
        raise ParameterError(f"the answer does not fit: {'; '.join(sorted(told))}")
