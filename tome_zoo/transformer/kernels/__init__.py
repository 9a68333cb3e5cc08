"""Faster forms of what the core computes, for one kind of machine each. The core is their reference."""
