"""Pages about a study that a person opens in a browser."""
