"""Options that commands share or have many of, as types: a command's own code stays in sight."""

from __future__ import annotations

from typing import Annotated

import typer

QuietOption = Annotated[bool, typer.Option("--quiet", help="Show only the result.")]

# Of a search

StudyFileArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="STUDY",
        help="A study file, a study's folder, the name of one in ./studies, or a shipped "
        "name; if left out, the shipped one of the --task, or quickstart.",
        show_default=False,
    ),
]
NameOption = Annotated[
    str | None,
    typer.Option(help="What the study is called; with --data, named after it.", show_default=False),
]
TaskOption = Annotated[
    str | None, typer.Option(help="What is learned; see: nas tasks.", show_default=False)
]
DataOption = Annotated[
    str | None,
    typer.Option(
        help="A file, a folder, or builtin:NAME; which kinds depends on the task.",
        show_default=False,
    ),
]
SpaceOption = Annotated[
    str | None,
    typer.Option(help="The search space: a file or a name; see: nas spaces.", show_default=False),
]
ReferenceOption = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER",
        help="The shape to beat is that of this model: a model folder, ours or a stock one of "
        "transformers. It is trained from nothing, as every candidate is.",
        show_default=False,
    ),
]
StrategyOption = Annotated[
    str | None,
    typer.Option(
        help="auto, random, evolution, tpe, gp, nsga2, or your own package.module:Name.",
        show_default=False,
    ),
]
CandidatesOption = Annotated[
    int | None, typer.Option(help="Stop after this many candidates.", show_default=False)
]
MinutesOption = Annotated[
    float | None, typer.Option(help="Stop after this time, finals included.", show_default=False)
]
WorkersOption = Annotated[
    int | None, typer.Option(help="Candidates trained at once.", show_default=False)
]
SearchDeviceOption = Annotated[
    str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", show_default=False)
]
ExecutorOption = Annotated[
    str | None,
    typer.Option(
        help="processes, inline (one at a time, here), ray, or ray://HOST:PORT of a cluster.",
        show_default=False,
    ),
]
SeedOption = Annotated[int | None, typer.Option(help="Decides every draw.", show_default=False)]
WarmStartOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="OTHER_STUDY",
        help="A new study begins with what another one measured.",
        show_default=False,
    ),
]
LoggersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--logger",
        metavar="NAME",
        help="Also show the search in tensorboard or mlflow, or by your own "
        "package.module:Name; may be repeated.",
        show_default=False,
    ),
]
StudySettingsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any other line of the study file; may be repeated.",
        show_default=False,
    ),
]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Where a new study is kept: postgresql://USER@HOST/DATABASE, without a password; "
        "by itself in its folder, or where NAS_DATABASE says.",
        show_default=False,
    ),
]
FreshOption = Annotated[
    bool, typer.Option("--fresh", help="Move an existing study aside and begin anew.")
]
StudyTrustOption = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Import and run code that the study, its space or its database names as "
        "package.module:Name.",
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Only estimate how long it takes; nothing is kept.")
]

# Of fine-tuning

TunedModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="STUDY|FOLDER",
        help="A study, whose best model is taken, or a model folder.",
        show_default=False,
    ),
]
NewDataOption = Annotated[
    str,
    typer.Option(help="A file, a folder, or builtin:NAME, as for a search.", show_default=False),
]
OutOption = Annotated[str, typer.Option(help="The folder of the result.", show_default=False)]
EpochsOption = Annotated[
    float | None,
    typer.Option(help="Passes over the data; 3 if no budget is given.", show_default=False),
]
ExamplesOption = Annotated[
    int | None, typer.Option(help="The budget in examples instead.", show_default=False)
]
TokensOption = Annotated[
    int | None, typer.Option(help="The budget in tokens instead.", show_default=False)
]
RateOption = Annotated[
    float | None,
    typer.Option(help="Base learning rate; gentle if left out.", show_default=False),
]
FreezeOption = Annotated[bool, typer.Option("--freeze-trunk", help="Only the head learns.")]
HeadOption = Annotated[
    str, typer.Option(help="auto: new for new classes; keep: the model's; or new.")
]
TuningSettingsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A line of a study file's task, recipe or split; may be repeated.",
        show_default=False,
    ),
]

# Of profiles

ProfiledArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="STUDY|FOLDER",
        help="A study, whose best candidate it is, or a model folder; the newest study if left "
        "out.",
        show_default=False,
    ),
]
ProfiledCandidateOption = Annotated[
    str | None, typer.Option(help="Of a study: this one, by id or number.", show_default=False)
]
ProfiledSpaceOption = Annotated[
    str | None,
    typer.Option(
        help="A shape instead: the reference of this space, changed by --set.", show_default=False
    ),
]
FieldsOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="A field of the shape.", show_default=False),
]
PhaseOption = Annotated[
    list[str] | None,
    typer.Option(
        help="prefill, decode or throughput; may be repeated; all if left out.", show_default=False
    ),
]
BatchOption = Annotated[
    int | None,
    typer.Option(
        min=1, help="Examples a pass: 1, for throughput 32, if left out.", show_default=False
    ),
]
ContextOption = Annotated[
    int | None,
    typer.Option(min=1, help="Tokens: the model's context, of a shape 64.", show_default=False),
]
VocabularyOption = Annotated[int, typer.Option(min=1, help="With --space: tokens known.")]
ThreadsOption = Annotated[int, typer.Option(min=1, help="CPU threads.")]
RepeatsOption = Annotated[
    int | None,
    typer.Option(
        min=1, help="Timed passes: at least 30 and 0.2 s if left out.", show_default=False
    ),
]
