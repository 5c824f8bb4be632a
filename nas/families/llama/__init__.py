"""The Llama decoder: `shape` without torch, `module` with it."""
