"""Train the candidates on Ray: on one of this machine alone, or on a cluster that is there.

    pip install "transformer-nas[ray]"
    python examples/13_ray.py [ray://HOST:10001]

The driver stays here; nodes need no shared folder and may die. cluster/README.md has the commands
for several machines. About a minute on two cores, most of it Ray's start. The study stays in
./studies/on_ray, and running the script again shows its result at once.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import nas
from nas.driver.events import CandidateEnded, Event, SearchStarted

SMALL = Path(__file__).with_name("small.yaml")


def show(event: Event) -> None:
    if isinstance(event, SearchStarted):
        print(f"{event.slots} workers on Ray")
    elif isinstance(event, CandidateEnded):
        print(f"#{event.number} {event.outcome.state}, loss {event.value}")


def main() -> None:
    if find_spec("ray") is None:
        sys.exit('this needs Ray: pip install "transformer-nas[ray]" (not on Windows)')
    cluster = sys.argv[1] if len(sys.argv) > 1 else "ray"
    study = nas.search(
        SMALL,
        name="on_ray",
        overrides={"executor": cluster, "workers": 2, "stop.candidates": 4},
        listener=show,
    )
    best = study.best()
    print(f"\nbest: {best.candidate_id}, loss {best.metrics['val_loss']:.4f}, {dict(best.shape)}")
    print(f"its weights came back to {nas.load(study).folder}")


main()  # without a guard on __name__: workers do not import this script
