"""Blenderbot: shape and module."""
