"""Replaces personal data by placeholders: the same value by the same one, in the whole run."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence

from tfft.console import Console
from tfft.quality.personal import KINDS, PHONE_REGIONS, Personal, find_personal, hide

_PLACEHOLDER = re.compile(rf"<(?:{'|'.join(KINDS)})_[0-9]+>")


class Masker:
    """Replaces e-mail addresses, phone numbers, card numbers, IBANs and IP addresses by `<EMAIL_1>`, `<PHONE_2>` etc.

    A value has one placeholder however it is written (case, spaces, country code), in every text that this object
    masks. The numbers follow the order in which values are first seen. Values are kept as keyed hashes in memory only:
    what was masked can be read from neither the texts nor this object.

    Example:
        >>> masker = Masker()
        >>> masker.mask("Ask Ann@example.com, or ann@example.com at 192.0.2.7.")
        'Ask <EMAIL_1>, or <EMAIL_1> at <IP_1>.'
    """

    def __init__(self, *, phone_regions: Sequence[str] = PHONE_REGIONS) -> None:
        """Creates a masker that has seen nothing.

        Args:
            phone_regions: Countries (ISO 3166) whose phone numbers are found without a country code.
        """
        self._regions = tuple(phone_regions)
        self._key = secrets.token_bytes(32)
        self._numbers: dict[str, dict[bytes, int]] = {kind: {} for kind in KINDS}
        self._replaced = dict.fromkeys(KINDS, 0)

    def mask(self, text: str) -> str:
        """Returns the text with placeholders; text without personal data, masked text included, comes back as it is.

        Args:
            text: Any text.

        Returns:
            The text in which no personal data is found any more.
        """
        # Again, as long as there is something: what stands beside a replaced value can only then be told from it.
        while found := find_personal(_PLACEHOLDER.sub(_hidden, text), self._regions):
            pieces, end = [], 0
            for personal in found:
                pieces += [text[end : personal.start], self._placeholder(personal)]
                end = personal.end
            text = "".join([*pieces, text[end:]])
        return text

    @property
    def counts(self) -> dict[str, int]:
        """How many pieces of each kind were replaced; kinds without any are left out."""
        return {kind: count for kind, count in self._replaced.items() if count}

    @property
    def distinct(self) -> dict[str, int]:
        """How many different values of each kind were replaced; kinds without any are left out."""
        return {kind: len(numbers) for kind, numbers in self._numbers.items() if numbers}

    def say(self, console: Console) -> None:
        """Says what was masked."""
        listed = ", ".join(
            f"{kind} {count:,} ({self.distinct[kind]:,} distinct)" for kind, count in self.counts.items()
        )
        console.say(f"masked personal data: {listed or 'none was found'}")

    def _placeholder(self, personal: Personal) -> str:
        value = personal.value.encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(value, digest_size=16, key=self._key).digest()
        numbers = self._numbers[personal.kind]
        self._replaced[personal.kind] += 1
        return f"<{personal.kind}_{numbers.setdefault(digest, len(numbers) + 1)}>"


def _hidden(placeholder: re.Match[str]) -> str:
    return hide(placeholder.group(), 0, len(placeholder.group()))
