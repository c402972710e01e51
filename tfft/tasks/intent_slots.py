"""Intent and slots: what a request wants, and the words that say the details, in one model with two heads."""

from __future__ import annotations

import pandas as pd

from tfft.config import FitConfig
from tfft.tasks._joint import JointTask
from tfft.tasks._members import Member, members
from tfft.tasks.base import register_task


class IntentSlots(JointTask):
    """A label for each request and a tag for each of its words.

    Chen et al. 2019, "BERT for Joint Intent Classification and Slot Filling" (arXiv:1902.10909), section 3.2. The heads
    are "intent", a text classification, and "slots", a token classification; both losses count alike. With the option
    `tasks` they may have other weights.
    """

    def members(self, config: FitConfig) -> tuple[Member, ...]:
        """Returns both tasks."""
        return members(
            [{"task": "text_classification", "name": "intent"}, {"task": "token_classification", "name": "slots"}],
            config,
        )

    def sample_data(self) -> pd.DataFrame:
        """Returns 60 short requests with the words of each, their tags, and what is wanted."""
        cities = ("berlin", "paris", "rome", "oslo", "lima", "cairo")
        rows = []
        for city in cities:
            for day in ("today", "tomorrow", "monday", "friday", "sunday"):
                rows.append((["weather", "in", city, day], ["O", "O", "B-CITY", "B-DAY"], "weather"))
                rows.append((["book", "a", "flight", "to", city, day], ["O"] * 4 + ["B-CITY", "B-DAY"], "flight"))
        return pd.DataFrame(rows, columns=["tokens", "tags", "label"])


register_task("intent_slots")(IntentSlots())
