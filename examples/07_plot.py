"""Draw a study your own way: the best loss against time, and every candidate's loss by its size.

    python examples/07_plot.py [STUDY]

STUDY is a study's name, folder or database URL; without one, examples/small.yaml is searched,
which takes half a minute the first time. The page goes to STUDY.html in this folder and needs no
network. `nas report STUDY` has these plots and many more; this shows where their numbers are.
"""

import sys
from itertools import accumulate
from pathlib import Path

from plotly.subplots import make_subplots

import nas

SMALL = Path(__file__).with_name("small.yaml")


def main() -> None:
    study = nas.open_study(sys.argv[1]) if len(sys.argv) > 1 else nas.search(SMALL)

    rows = study.trials("state == 'complete'", role="search", sort="finished_at")
    minutes = [(row.finished_at - study.record.created_at).total_seconds() / 60 for row in rows]
    losses = [row.metrics["val_loss"] for row in rows]
    shapes = ["<br>".join(f"{name} {value}" for name, value in row.shape.items()) for row in rows]

    figure = make_subplots(cols=2, subplot_titles=["best loss so far", "loss by size"])
    figure.add_scatter(
        x=minutes, y=list(accumulate(losses, min)), line_shape="hv", name="best", row=1, col=1
    )
    figure.add_scatter(
        x=[row.params for row in rows],
        y=losses,
        mode="markers",
        hovertext=shapes,
        name="candidates",
        row=1,
        col=2,
    )
    front = sorted(study.pareto(["val_loss", "params"]), key=lambda row: row.params)
    figure.add_scatter(
        x=[row.params for row in front],
        y=[row.metrics["val_loss"] for row in front],
        line_dash="dot",
        name="no other is smaller and better",
        row=1,
        col=2,
    )
    figure.update_xaxes(title="minutes", row=1, col=1)
    figure.update_xaxes(title="parameters", row=1, col=2)
    figure.update_yaxes(title="validation loss, nats", row=1, col=1)

    page = Path(f"{study.name}.html")
    figure.write_html(page)
    print(f"{len(rows)} candidates, best loss {min(losses):.4f}, drawn in {page.absolute()}")


main()  # without a guard on __name__: workers do not import this script
