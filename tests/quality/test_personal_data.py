"""Personal data: what is found, what is not, and that masking leaves none."""

from __future__ import annotations

import itertools
import random
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tfft.console import Console
from tfft.quality.masking import Masker
from tfft.quality.personal import find_personal

FOUND = [
    ("write to Ann.Lee+news@Example.co.uk!", "EMAIL", "ann.lee+news@example.co.uk"),
    ("mailto:o'brien@example.ie.", "EMAIL", "o'brien@example.ie"),
    ("https://example.com/?to=ann@example.com&x=1", "EMAIL", "ann@example.com"),
    ("ann@müller.de", "EMAIL", "ann@müller.de"),
    ("call 415-555-2671 now", "PHONE", "+14155552671"),
    ("call (415) 555 2671 now", "PHONE", "+14155552671"),
    ("+1.415.555.2671", "PHONE", "+14155552671"),
    ("Tel. +49 (0)30 / 901820", "PHONE", "+4930901820"),
    ("+44 20 7946 0018", "PHONE", "+442079460018"),
    ("4111 1111 1111 1111", "CARD", "4111111111111111"),
    ("4111-1111-1111-1111, cvv 123", "CARD", "4111111111111111"),
    ("4111 1111 1111 1111 123", "CARD", "4111111111111111"),
    ("amex 3782 822463 10005.", "CARD", "378282246310005"),
    ("(5555555555554444)", "CARD", "5555555555554444"),
    ("IBAN DE89 3704 0044 0532 0130 00 please", "IBAN", "DE89370400440532013000"),
    ("gb82 west 1234 5698 7654 32", "IBAN", "GB82WEST12345698765432"),
    ("NL91ABNA0417164300", "IBAN", "NL91ABNA0417164300"),
    ("from 192.0.2.17:8080", "IP", "192.0.2.17"),
    ("http://93.184.216.34/x", "IP", "93.184.216.34"),
    ("2001:0DB8:0:0:0:0:0:1", "IP", "2001:db8::1"),
    ("host fe80::1ff:fe23:4567:890a.", "IP", "fe80::1ff:fe23:4567:890a"),
    ("::ffff:93.184.216.34", "IP", "93.184.216.34"),
]
NOT_FOUND = [
    "@handle and @other.handle",
    "a@b",
    "me @ home.com",
    "4111 1111 1111 1112",  # Luhn fails
    "1234567812345670",  # Luhn holds, but no network has such numbers
    "DE88 3704 0044 0532 0130 00",  # checksum fails
    "DE89 3704 0044 0532 0130 0",
    "v1.2.3.4 and 1.2.3.4.5",
    "127.0.0.1 0.0.0.0 255.255.255.0 ::1 224.0.0.1",
    "256.1.1.1 01.02.03.04",
    "12:30:45, aa:bb:cc:dd:ee:ff, std::add, face::b00c",
    "on 2015-02-27 or 02/27/2015",
    "555 1234",
    "3.14159265358979",
    "order 123-456",
    "",
]


@pytest.mark.parametrize(("text", "kind", "value"), FOUND)
def test_is_found_with_its_normal_form_and_only_that(text: str, kind: str, value: str) -> None:
    (personal,) = find_personal(text)
    assert (personal.kind, personal.value) == (kind, value)
    assert text[personal.start : personal.end].strip() == text[personal.start : personal.end]
    assert Masker().mask(text) == f"{text[: personal.start]}<{kind}_1>{text[personal.end :]}"


@pytest.mark.parametrize("text", NOT_FOUND)
def test_is_not_found(text: str) -> None:
    assert find_personal(text) == []
    assert Masker().mask(text) == text


def test_numbers_without_country_code_are_those_of_the_given_countries() -> None:
    british = "ring 020 7946 0018"
    assert find_personal(british) == []
    assert [personal.value for personal in find_personal(british, ["US", "GB"])] == ["+442079460018"]
    assert find_personal("415-555-2671", []) == []
    assert [personal.value for personal in find_personal("+1 415-555-2671", [])] == ["+14155552671"]


def test_pieces_come_in_the_order_of_the_text_and_do_not_overlap() -> None:
    text = "1.2.3.4 a@b.com 4111111111111111 +1 415-555-2671 DE89370400440532013000 c@d.com"
    found = find_personal(text)
    assert [personal.kind for personal in found] == ["IP", "EMAIL", "CARD", "PHONE", "IBAN", "EMAIL"]
    assert all(one.end <= other.start for one, other in itertools.pairwise(found))


def luhn(digits: str) -> str:
    """Returns the digits with their check digit, by the sum written out."""
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[::-2])
    return digits + str(-(doubled + sum(map(int, digits[-2::-2]))) % 10)


def german_iban(account: str) -> str:
    """Returns an IBAN with its check digits: 98 minus the remainder by 97, D = 13, E = 14."""
    return f"DE{98 - int(account + '131400') % 97:02d}{account}"


def spaced(value: str) -> str:
    return " ".join(value[at : at + 4] for at in range(0, len(value), 4))


def digits(count: int) -> st.SearchStrategy[str]:
    return st.text("0123456789", min_size=count, max_size=count)


CARDS = digits(11).map(lambda rest: luhn("4539" + rest))
IBANS = digits(18).map(german_iban)
EMAILS = st.tuples(
    st.text("abcdefgh", min_size=1, max_size=8), st.sampled_from(["example.com", "mail.example.org"])
).map("@".join)
IPS = st.tuples(st.integers(1, 126), *[st.integers(0, 255)] * 3).map(lambda parts: ".".join(map(str, parts)))
PHONES = st.tuples(st.sampled_from(["415", "212", "617"]), st.integers(201, 999), digits(4)).filter(
    lambda parts: str(parts[1])[1:] != "11"
).map(lambda parts: f"{parts[0]}-{parts[1]}-{parts[2]}")  # fmt: skip
#: A value in two spellings, and its kind.
SPELLINGS = st.one_of(
    CARDS.map(lambda value: (value, spaced(value), "CARD")),
    IBANS.map(lambda value: (value, spaced(value).lower(), "IBAN")),
    EMAILS.map(lambda value: (value, value.upper(), "EMAIL")),
    IPS.map(lambda value: (value, value, "IP")),
    PHONES.map(lambda value: (value, "+1 " + value.replace("-", "."), "PHONE")),
)
FILLERS = st.text(st.characters(exclude_categories=["Cs", "N"]), max_size=12)


@given(value=SPELLINGS, before=FILLERS, between=FILLERS, after=FILLERS)
@settings(max_examples=200, deadline=None)
def test_a_value_has_one_placeholder_however_it_is_written(
    value: tuple[str, str, str], before: str, between: str, after: str
) -> None:
    one, other, kind = value
    assume("@" not in before + between + after)
    masker = Masker()
    masked = masker.mask(f"{before} ; {one} ; {between}")
    assert f"; <{kind}_1> ;" in masked
    assert f"; <{kind}_1> ;" in masker.mask(f"{between} ; {other} ; {after}")
    assert masker.distinct[kind] == 1


@given(
    pieces=st.lists(
        st.one_of(FILLERS, SPELLINGS.map(lambda value: value[1]), st.text("0123456789.:-+ @<>_EMAIL", max_size=25)),
        max_size=8,
    ),
    joint=st.sampled_from(["", " ", "\n", "-", ">"]),
)
@settings(max_examples=200, deadline=None)
def test_masked_text_holds_nothing_more_and_masking_it_again_changes_nothing(pieces: list[str], joint: str) -> None:
    masker = Masker()
    masked = masker.mask(joint.join(pieces))
    counts = masker.counts
    assert masker.mask(masked) == masked
    assert masker.counts == counts
    assert Masker().mask(masked) == masked


def test_different_values_have_different_placeholders_in_the_order_they_are_seen() -> None:
    masker = Masker()
    assert masker.mask("b@x.com a@x.com 1.2.3.4") == "<EMAIL_1> <EMAIL_2> <IP_1>"
    assert masker.mask("c@x.com A@X.com 1.2.3.5") == "<EMAIL_3> <EMAIL_2> <IP_2>"
    assert masker.counts == {"EMAIL": 4, "IP": 2}
    assert masker.distinct == {"EMAIL": 3, "IP": 2}


def test_no_value_can_be_read_from_the_masker() -> None:
    masker = Masker()
    masker.mask("ann@example.com 4111111111111111 DE89370400440532013000 1.2.3.4 415-555-2671")
    held = repr(vars(masker))
    assert not [value for value in ("ann", "4111", "DE89", "1.2.3.4", "415") if value in held]


def test_what_was_masked_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    masker = Masker()
    masker.say(Console())
    masker.mask("a@x.com A@x.com 1.2.3.4")
    masker.say(Console())
    assert capsys.readouterr().err.splitlines() == [
        "masked personal data: none was found",
        "masked personal data: EMAIL 2 (1 distinct), IP 1 (1 distinct)",
    ]


@pytest.mark.parametrize(
    "unit", ["a", "a.", "@", "a@", "1", "1 ", "1.", "12-", ":", "AB12", "AB12 ", "+1", "1:", "(1)", "é@"]
)
def test_hostile_texts_take_no_time(unit: str) -> None:
    text = unit * (40_000 // len(unit))
    started = time.perf_counter()
    Masker().mask(text)
    assert time.perf_counter() - started < 30  # quadratic time would be minutes


def test_thousands_of_values_keep_their_numbers() -> None:
    rng = random.Random(0)  # noqa: S311
    cards = [luhn("4" + "".join(rng.choices("0123456789", k=14))) for _ in range(2000)]
    masker = Masker()
    first = [masker.mask(card) for card in cards]
    assert first == [f"<CARD_{number}>" for number in range(1, 2001)]
    assert [masker.mask(spaced(card)) for card in cards] == first
