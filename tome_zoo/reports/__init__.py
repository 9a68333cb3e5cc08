"""Results and cards as tables, pictures and comparisons."""
