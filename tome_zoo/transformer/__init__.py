"""The transformer with merging: shape, tokenizers, attention, block, whole models, patching of existing ones."""
