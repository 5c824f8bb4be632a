"""The `nas` command: thin commands over what Python offers.

Importing this package and asking for help loads neither torch nor optuna nor the database: each
command imports what it needs when it runs. `COMMANDS` is the table of commands; adding one is a
function and a row.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from nas.cli import terminal
from nas.cli.compare import compare
from nas.cli.dashboard import dashboard
from nas.cli.db import db
from nas.cli.doctor import doctor
from nas.cli.enqueue import enqueue
from nas.cli.export import export
from nas.cli.finetune import finetune
from nas.cli.generate import generate
from nas.cli.init import init
from nas.cli.predict import predict
from nas.cli.profile import profile
from nas.cli.report import report
from nas.cli.rm import rm
from nas.cli.schema import schema
from nas.cli.search import search
from nas.cli.secrets import refuse_passwords
from nas.cli.show import show
from nas.cli.spaces import families, spaces, tasks
from nas.cli.train import train
from nas.cli.trials import best, trials
from nas.cli.watch import watch
from nas.errors import INTERRUPTED, NasError

# Each command with an example for its help.
COMMANDS: tuple[tuple[Callable[..., None], str], ...] = (
    (init, "nas init reviews.csv --minutes 10"),
    (search, "nas search --data notes.txt --minutes 10"),
    (watch, "nas watch mystudy"),
    (trials, "nas trials quickstart --where 'params < 1e5' --sort val_loss"),
    (best, "nas best quickstart --max-params 100000"),
    (show, "nas show quickstart 17"),
    (compare, "nas compare quickstart other"),
    (enqueue, "nas enqueue quickstart n_layer=4 d_model=64 n_head=4 d_ff=192"),
    (dashboard, "nas dashboard quickstart --port 8080"),
    (generate, "nas generate quickstart --prompt 'The ' --temperature 0.8"),
    (predict, "nas predict mystudy 'a text' 'another one'"),
    (finetune, "nas finetune mystudy --data more.csv --out tuned"),
    (export, "nas export quickstart --to onnx --int8"),
    (report, "nas report quickstart --open"),
    (train, "nas train quickstart --candidate 17 --tokens 2000000"),
    (profile, "nas profile --space llama_tiny --set n_layer=4 --set d_model=128"),
    (spaces, "nas spaces llama_small --context 128"),
    (families, "nas families --format json"),
    (tasks, "nas tasks"),
    (doctor, "nas doctor"),
    (schema, "nas schema study"),
    (db, "nas db check quickstart"),
    (rm, "nas rm quickstart"),
)

# typer exports this one kind of usage error alone; its parent is all of them.
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
USER_MISTAKE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Args:
        argv: The arguments; those of the process if left out.

    Returns:
        0: done, 1: the work failed, 2: a user's mistake, 130: interrupted.
    """
    terminal.prepare()
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        refuse_passwords(arguments)
        status = make_app()(arguments, prog_name="nas", standalone_mode=False, obj=arguments)
        sys.stdout.flush()
    except NasError as error:
        if os.environ.get("NAS_DEBUG"):
            raise
        return _complain(str(error), error.exit_code)
    except USAGE_ERROR as error:
        return _complain(_usage_words(error), USER_MISTAKE)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status if isinstance(status, int) else 0


def make_app() -> typer.Typer:
    """Return the command line as typer's application."""
    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback(invoke_without_command=True, epilog="Example: nas search")(_nas)
    for function, example in COMMANDS:
        app.command(epilog=f"Example: {example}")(function)
    return app


def _nas(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """Search, store, query and load Transformer architectures."""
    if version:
        terminal.say(f"nas {_version()}")
    elif context.invoked_subcommand is None:
        terminal.say(context.get_help())


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("transformer-nas")
    except PackageNotFoundError:
        return "of a checkout that is not installed"


def _usage_words(error: Any) -> str:
    """Return a usage error in one line, with the help that says how it is done."""
    path = error.ctx.command_path if error.ctx is not None else "nas"
    return f"{error.format_message().rstrip('.')}; see: {path} --help"


def _complain(text: str, status: int) -> int:
    terminal.aside(f"nas: {' '.join(text.split())}")
    return status
