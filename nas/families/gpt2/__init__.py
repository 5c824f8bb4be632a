"""GPT-2: shape and module."""
