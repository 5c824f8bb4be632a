"""ViT: shape and module."""
