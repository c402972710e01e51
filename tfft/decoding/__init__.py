"""Writing sequences token by token with any model that gives the logits of the next token, inside the graph."""
