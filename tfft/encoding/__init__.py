"""From examples to rows of tokens that a model takes, one file for each kind of input."""
