"""ModernBERT: shape and module."""
