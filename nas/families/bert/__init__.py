"""BERT: shape and module."""
