"""Where a text holds an e-mail address, a phone number, a card number, an IBAN or an IP address."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Iterator, Sequence

#: Countries (ISO 3166) whose numbers are found without a country code; with one, numbers of any country are.
PHONE_REGIONS = ("US",)

EMAIL, IBAN, CARD, IP, PHONE = KINDS = ("EMAIL", "IBAN", "CARD", "IP", "PHONE")

_LOCAL_PART = re.compile(r"[\w.%+'-]{1,64}\Z")
_DOMAIN = re.compile(r"(?:\w(?:[\w-]{0,61}\w)?\.){1,8}(?:[^\W\d_]{2,63}|xn--[a-z0-9-]{2,59})(?![\w@])")

_IBAN_HEAD = re.compile(r"(?<!\w)[A-Za-z]{2}[0-9]{2}(?=[ -]?[A-Za-z0-9])")
_IBAN_REST = re.compile(r"(?:[ -]?[A-Za-z0-9]){11,30}")
_IBAN_LENGTHS = range(34, 14, -1)

_CARD = re.compile(
    r"(?<!\w)(?<![0-9][.,])(?:"
    r"[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}(?:\1[0-9]{1,3})?|[0-9]{4}([ -])[0-9]{6}\2[0-9]{4,5}|[0-9]{12,19}"
    r")(?!\w|[.,][0-9])"
)
#: Lengths and first digits of Visa, Mastercard, American Express, Diners, Discover, UnionPay, JCB and Maestro.
_NETWORK = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}"
    r"|6(?:011|4[4-9]\d|5\d\d)\d{12}(?:\d{3})?|62\d{14,17}|35(?:2[89]|[3-8]\d)\d{12}"
    r"|(?:5018|5020|5038|5893|6304|6759|676[1-3])\d{8,15}"
)

_IPV4 = re.compile(r"(?<![\w.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?!\w|\.[0-9])")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,8}(?:(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9A-Fa-f]{0,4})(?![\w:])")

#: The least that every phone number has: seven digits, not far apart.
_MAYBE_PHONE = re.compile(r"\d(?:[^\w\n]{0,4}\d){6}")


@dataclasses.dataclass(frozen=True, slots=True)
class Personal:
    """A piece of personal data in a text.

    Attributes:
        kind: One of KINDS.
        start: Position of its first character.
        end: Position after its last character.
        value: Its normal form: the same for all ways to write it.
    """

    kind: str
    start: int
    end: int
    value: str


def find_personal(text: str, phone_regions: Sequence[str] = PHONE_REGIONS) -> list[Personal]:
    """Finds personal data; where two kinds overlap, the one earlier in KINDS counts.

    Checksums must hold: Luhn for cards, ISO 7064 for IBANs. Reserved, loopback and multicast IP addresses do not count.

    Args:
        text: Any text.
        phone_regions: Countries whose phone numbers are found without a country code.

    Returns:
        What was found, in the order of the text, without overlaps.
    """
    found: list[Personal] = []
    rest = text
    for finder in (_emails, _ibans, _cards, _ip6, _ip4):
        for personal in finder(rest):
            found.append(personal)
            rest = hide(rest, personal.start, personal.end)
    if _MAYBE_PHONE.search(rest):
        for region in phone_regions or (None,):
            for personal in _phones(rest, region):
                found.append(personal)
                rest = hide(rest, personal.start, personal.end)
    return sorted(found, key=lambda personal: personal.start)


def hide(text: str, start: int, end: int) -> str:
    """Returns the text with a part replaced by line breaks, which no kind can cross; positions stay."""
    return text[:start] + "\n" * (end - start) + text[end:]


def _emails(text: str) -> Iterator[Personal]:
    at = text.find("@")
    while at >= 0:
        # Looking back from the sign keeps this linear in long texts without one.
        local, domain = _LOCAL_PART.search(text, max(0, at - 64), at), _DOMAIN.match(text, at + 1)
        if local and domain:
            address = local.group().lstrip(".%+'-")
            if address and not address.endswith("."):
                yield Personal(EMAIL, at - len(address), domain.end(), f"{address}@{domain.group()}".casefold())
        at = text.find("@", at + 1)


def _ibans(text: str) -> Iterator[Personal]:
    position = 0
    while head := _IBAN_HEAD.search(text, position):
        from stdnum import iban

        position = head.end()
        rest = _IBAN_REST.match(text, head.end())
        if rest is None:
            continue
        ends = [at + 1 for at in range(head.start(), rest.end()) if text[at].isalnum()]  # end of the first n characters
        for length in _IBAN_LENGTHS:
            if length > len(ends) or text[ends[length - 1] : ends[length - 1] + 1].isalnum():
                continue
            value = text[head.start() : ends[length - 1]]
            if iban.is_valid(value):
                yield Personal(IBAN, head.start(), ends[length - 1], iban.compact(value))
                position = ends[length - 1]
                break


def _cards(text: str) -> Iterator[Personal]:
    for match in _CARD.finditer(text):
        from stdnum import luhn

        start, end = match.span()
        separator = match[1] or match[2]
        ends = [end]
        if separator and match.group().count(separator) == 4:  # noqa: PLR2004 - a group of 1 to 3 digits after the sixteenth
            ends.append(text.rindex(separator, start, end))
        for last in ends:
            digits = re.sub("[ -]", "", text[start:last])
            if _NETWORK.fullmatch(digits) and luhn.is_valid(digits):
                yield Personal(CARD, start, last, digits)
                break


def _ip6(text: str) -> Iterator[Personal]:
    return _addresses(text, _IPV6)


def _ip4(text: str) -> Iterator[Personal]:
    return _addresses(text, _IPV4)


def _addresses(text: str, pattern: re.Pattern[str]) -> Iterator[Personal]:
    for match in pattern.finditer(text):
        try:
            address = ipaddress.ip_address(match.group())
        except ValueError:
            continue
        address = getattr(address, "ipv4_mapped", None) or address
        ignored = address.is_reserved or address.is_loopback or address.is_unspecified or address.is_multicast
        if not ignored and not match.group().startswith("0."):
            yield Personal(IP, match.start(), match.end(), str(address))


def _phones(text: str, region: str | None) -> Iterator[Personal]:
    import phonenumbers

    for match in phonenumbers.PhoneNumberMatcher(text, region, leniency=phonenumbers.Leniency.VALID):
        value = phonenumbers.format_number(match.number, phonenumbers.PhoneNumberFormat.E164)
        if match.number.extension:
            value = f"{value};{match.number.extension}"
        yield Personal(PHONE, match.start, match.end, value)
