"""Tasks whose rows become batches as those of another task do: only the slow tier trains them again in each way."""

#: As text classification, pairs, or intent and slots.
ALIKE = ("multi_label_classification", "text_regression", "pair_regression", "relation_extraction", "multi_task")
