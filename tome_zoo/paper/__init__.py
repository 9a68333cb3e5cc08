"""Tables of cards, run again: scores by `evaluation`, times by `benchmark`, set beside what was printed."""
