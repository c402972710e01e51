"""Options of the data: sources, columns, checks, splits, batches."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import Field

from tfft.config.option import Fraction, Name, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Which data, and what becomes of it before training."""

    data: Name | None = option(
        None, "Training data: a file, a pattern, a folder, tfds:name. In-memory data is described here, not stored."
    )
    task: Name | None = option(None, "What to learn, for instance text_classification. Required.")
    tasks: list[Name | dict[str, Any]] | None = option(
        None,
        "Several tasks on one backbone, each with a head of its own: names, or mappings with task, name, weight and "
        "options of the task. Takes the place of task.",
    )
    preset: Name | None = option(
        None,
        "Pretrained backbone: a KerasHub preset or handle, a directory, an earlier run, or a name that tfft knows.",
    )
    pretrain_on: Name | None = option(
        None,
        "Texts without labels on which the preset is first trained to fill in hidden tokens, into "
        "<output_dir>.pretrained; one a line in a .txt file, or in text_column.",
    )
    pretrain_epochs: Annotated[int, Field(ge=1)] = option(1, "Passes over pretrain_on.")
    output_dir: Name | None = option(None, "Run directory to create. None keeps the model in memory only.")
    overwrite: bool = option(False, "Replace output_dir when it exists; the old one stays until the new one is whole.")

    sentence_objective: Literal["none", "next_sentence", "sentence_order"] = option(
        "none",
        "What a masked language model learns besides hidden tokens, from pairs of sentences: next_sentence, as BERT; "
        "sentence_order, as ALBERT. Goes with pretrain_on too.",
    )
    text_column: Name = option("text", "Column that holds the text.")
    label_column: Name = option("label", "Column that holds the label.")
    label_separator: Name = option(
        ",", "What stands between labels where a row may have several, and they are one text instead of a list."
    )
    tokens_column: Name = option("tokens", "Column that holds the words of a row, as a list.")
    tags_column: Name = option("tags", "Column that holds the tag of each word, as a list.")
    spans_column: Name | None = option(
        None, "Column of lists of spans of characters in the text: start, end and type; instead of tokens and tags."
    )
    tag_scheme: Literal["auto", "bio", "iob1", "bioes", "plain"] = option(
        "auto", "How tags mark entities. bioes: also BILOU; plain: without prefixes. auto: what the tags follow."
    )
    words: Literal["auto", "whitespace", "punctuation", "characters"] = option(
        "auto",
        "How raw texts are cut into words to tag: at white space, also around punctuation, or into characters. auto: "
        "as the training data is.",
    )
    window_overlap: Fraction = option(
        0.25, "Share of a window that the next one repeats, where a row is longer than sequence_length."
    )
    first_column: Name = option("sentence1", "Column that holds the first text of a pair.")
    second_column: Name = option("sentence2", "Column that holds the second text of a pair.")
    similar_label: Name | None = option(
        None, "Label of pairs that belong together, with pair_loss=contrastive. None: the one whose name says so."
    )
    anchor_column: Name = option("anchor", "Column that holds the text with which others are compared.")
    positive_column: Name = option("positive", "Column that holds a text that belongs to the anchor.")
    negative_column: Name = option(
        "negative", "Column that holds a text that does not belong to the anchor, with pair_loss=triplet."
    )
    question_column: Name = option("question", "Column that holds the question.")
    context_column: Name = option("context", "Column that holds the text in which the answer stands.")
    answers_column: Name = option(
        "answers", "Column of true answers, as SQuAD has them; or of their texts, with answer_start_column."
    )
    answer_start_column: Name | None = option(
        None, "Column of the places of answers in their context, in characters from 0, where answers_column has texts."
    )
    max_answer_tokens: Annotated[int, Field(ge=1)] = option(30, "Longest answer that is predicted, in tokens.")
    source_column: Name = option("src", "Column that holds the text that is read, where another one is written.")
    target_column: Name = option("trg", "Column that holds the text that is written.")
    length_filter: dict[str, Any] | None = option(
        None,
        "Pairs of source and target to leave out: most_source and most_target (words), most_ratio. None: none are.",
    )
    head_start_column: Name | None = option(
        None, "Column of the place of the head entity in the text, in characters from 0. None: <e1>...</e1> marks it."
    )
    head_end_column: Name | None = option(None, "Column of the place after the last character of the head entity.")
    tail_start_column: Name | None = option(
        None, "Column of the place of the tail entity in the text, in characters from 0. None: <e2>...</e2> marks it."
    )
    tail_end_column: Name | None = option(None, "Column of the place after the last character of the tail entity.")
    negative_label: Name | None = option(
        None, "Label of entities that are not related, which relation_macro_f1 and relation_micro_f1 leave out."
    )
    encoding: Name = option("utf-8", "Character encoding of text files.")
    quality: dict[str, Literal["report", "drop", "fail", "off"]] | None = option(
        None, "Policy of single data checks, by name. None: leakage and undecodable bytes fail, the rest is reported."
    )
    mask_personal_data: bool = option(
        False,
        "Replace e-mail addresses, phone, card and account numbers and IP addresses by placeholders when reading.",
    )

    validation_data: Name | None = option(None, "Validation split as data of its own, instead of a fraction.")
    test_data: Name | None = option(None, "Test split as data of its own, instead of a fraction.")
    synthetic_data: Name | None = option(None, "More training rows, for instance made ones; never in another split.")
    validation_fraction: Fraction = option(0.1, "Share of the rows for validation.")
    test_fraction: Fraction = option(0.1, "Share of the rows for the test split.")
    split: Literal["auto", "stratified", "random", "grouped", "time", "hash", "predefined"] = option(
        "auto",
        "How rows are split. auto: by the group, time or split column if one is named, by hash when streamed, else "
        "stratified by label.",
    )
    group_column: Name | None = option(None, "Column whose values are never in two splits, such as an author.")
    time_column: Name | None = option(None, "Column of times: the latest rows are the test split.")
    split_column: Name | None = option(None, "Column that says train, validation or test.")
    streaming: Literal["auto"] | bool = option(
        "auto", "Keep rows and tokens on disk instead of in memory. auto: when the files exceed 1 GiB."
    )
    cache_dir: Name | None = option(None, "Where streamed rows are kept during a run. None: the temporary directory.")

    sequence_length: Annotated[int, Field(ge=3)] | None = option(
        None, "Longest row in tokens; longer ones are truncated and counted. None: what the backbone takes, or 512."
    )
    num_buckets: Annotated[int, Field(ge=1, le=64)] = option(
        8, "Most widths (tokens) that bucketed batches are padded to."
    )
    batching: Literal["auto", "bucketed", "sorted", "shuffled"] = option(
        "auto",
        "How rows become batches. bucketed: of at most num_buckets widths; sorted: by length inside shuffled "
        "megabatches, as wide as the longest row; shuffled: at random. auto: bucketed with XLA, else sorted.",
    )
    packing: bool = option(
        False, "Put several short rows into one, each seeing only itself: the same batches with less padding."
    )
    resample: Literal["none", "oversample", "undersample"] = option(
        "none", "Balance the classes in each epoch: repeat rows of rare ones, or leave out rows of frequent ones."
    )
    augment: dict[str, Annotated[float, Field(gt=0.0, le=1.0)] | dict[str, Any]] | None = option(
        None, "Augmentations of training rows, in order: name to probability, or to the augmentation's options."
    )
