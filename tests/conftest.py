"""What holds for all tests; the environment is set before any of them imports torch."""

import os

from hypothesis import settings

# One thread each: pytest-xdist runs a process a core, and OpenMP's spinning threads would fight.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nothing is fetched; transformers would otherwise ask a hub for what it does not find in a folder.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# A busy machine is slow now and then, which is no failure.
settings.register_profile("nas", deadline=None)
settings.load_profile("nas")
