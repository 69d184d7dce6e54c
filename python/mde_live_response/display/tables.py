"""`table`: many things of one kind, in a notebook and on a terminal."""

from __future__ import annotations

from datetime import datetime

from mde_live_response._arguments import items_of, texts_of

from .clean import format_time
from .columns import columns_of, is_bad
from .markup import MAX_ROWS, html_table
from .text_table import format_table

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["Table", "table"]


class Table:
    """A table that shows itself: as HTML in a notebook, as text by `print`."""

    def __init__(
        self, heads: Sequence[str], rows: Sequence[Sequence[object]], bad_rows: Sequence[int]
    ) -> None:
        self._heads, self._rows, self._bad_rows = tuple(heads), tuple(rows), tuple(bad_rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __str__(self) -> str:
        text = format_table(self._heads, self._rows, bad_rows=self._bad_rows)
        return text or "nothing to show"

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        if not self._rows:
            return "<p>nothing to show</p>"
        shown = self._rows[:MAX_ROWS]
        return html_table(self._heads, shown, left_out=len(self._rows) - len(shown))


def table(items: Iterable[object], columns: Sequence[str] | None = None) -> Table:
    """Return a table of machines, files, actions, sessions, outcomes, records or errors.

    Args:
        items: things of one kind, such as what `list_machines()` returned, or mappings, such as
            `ScriptOutput.records()`. A notebook shows the first 500.
        columns: the attributes or keys to show, in this order. The default is the columns of the
            kind, or every key of the mappings.

    Returns:
        a `Table`, which a notebook shows as HTML and `print` as text.

    Raises:
        TypeError: the items are of several kinds, and `columns` is not given.
        AttributeError: an item has no attribute that `columns` names.
    """
    found = items_of("items", "an iterable, such as a list of machines", items)
    if columns is None:
        heads, rows = _default_columns(found)
    else:
        heads = texts_of("columns", "a list of names", columns)
        rows = [[_value(item, name) for name in heads] for item in found]
    return Table(heads, rows, [at for at, item in enumerate(found) if is_bad(item)])


def _default_columns(items: Sequence[object]) -> tuple[list[str], list[list[object]]]:
    mappings = [fields for item in items if (fields := _to_mapping(item)) is not None]
    if items and len(mappings) == len(items):
        heads = list(dict.fromkeys(key for fields in mappings for key in fields))
        return heads, [[fields.get(key) for key in heads] for fields in mappings]
    kinds = {columns_of(type(item)) for item in items}
    if len(kinds) > 1 or None in kinds:
        names = ", ".join(sorted({type(item).__name__ for item in items}))
        raise TypeError(f"one table shows one kind of thing, not {names}: pass columns=")
    own = kinds.pop() if kinds else ()
    return [head for head, _ in own or ()], [[get(item) for _, get in own or ()] for item in items]


def _to_mapping(item: object) -> Mapping[str, object] | None:
    """Return a record as a mapping. None for what has columns of its own."""
    if isinstance(item, dict):
        return {str(key): value for key, value in item.items()}
    to_dict: Callable[[], Mapping[str, object]] | None = getattr(item, "to_dict", None)
    return to_dict() if columns_of(type(item)) is None and to_dict is not None else None


def _value(item: object, name: str) -> object:
    value = item.get(name) if isinstance(item, dict) else getattr(item, name)
    return format_time(value) if isinstance(value, datetime) else value
