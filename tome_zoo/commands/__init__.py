"""The commands, a file each. Whatever is heavy is imported inside them, so that `tome-zoo --help` answers at once."""
