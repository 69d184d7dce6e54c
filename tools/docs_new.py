"""For the documentation's reference: shows the parameters of `__new__` as those of the class.

Classes of the native module are made by `__new__`. griffe reads only `__init__`.
"""

from __future__ import annotations

from typing import Any

import griffe


class NewAsInit(griffe.Extension):
    """Adds an `__init__` with the parameters of `__new__`."""

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """Called by griffe for each class."""
        new = cls.members.get("__new__")
        if isinstance(new, griffe.Function) and "__init__" not in cls.members:
            method = griffe.Function("__init__", parameters=new.parameters, parent=cls)
            cls.set_member("__init__", method)
            cls.del_member("__new__")
