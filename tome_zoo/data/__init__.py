"""A data set on disk: its samples, the formats that it may lie in, and its check."""
