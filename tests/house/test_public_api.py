"""The public API: changing it is deliberate.

After a deliberate change: `python tests/house/test_public_api.py > tests/golden/public_api.txt`.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from pathlib import Path

import tfft


def lines() -> Iterator[str]:
    """Yields one line for each public name, method, field and default."""
    for name in sorted(tfft.__all__):
        item = getattr(tfft, name)
        if isinstance(item, str):
            yield name
        elif dataclasses.is_dataclass(item):
            yield f"{name} (dataclass)"
            for field in dataclasses.fields(item):
                default = "" if field.default is dataclasses.MISSING else f" = {field.default!r}"
                yield f"  {field.name}: {field.type}{default}"
        elif inspect.isclass(item):
            bases = ", ".join(base.__name__ for base in item.__bases__ if base is not object)
            yield f"{name}({bases})"
            for member, value in sorted(vars(item).items()):
                if not member.startswith("_"):
                    yield f"  {member}{inspect.signature(value) if inspect.isfunction(value) else ''}"
        else:
            yield f"{name}{inspect.signature(item)}"


def test_the_public_api_is_the_golden_one(project: Path) -> None:
    golden = (project / "tests" / "golden" / "public_api.txt").read_text("utf-8")
    assert "\n".join(lines()) + "\n" == golden


def test_the_signature_of_fit_shows_every_option() -> None:
    shown = set(inspect.signature(tfft.fit).parameters)
    assert {field.name for field in dataclasses.fields(tfft.FitConfig)} <= shown


if __name__ == "__main__":
    print("\n".join(lines()))
