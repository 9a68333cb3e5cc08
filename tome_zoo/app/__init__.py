"""The local app: one's own files merged at any r beside r = 0. Needs the extra `tome-zoo[app]` (Gradio)."""
