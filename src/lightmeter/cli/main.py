"""The entry point: commands found by name and imported when asked for, so that `--help` costs next to nothing."""

from __future__ import annotations

import importlib
import io
import sys

import click

from lightmeter import __version__
from lightmeter.errors import LightmeterError, nearest

COMMANDS: dict[str, tuple[str, str]] = {
    "index": ("lightmeter.cli.index:index", "Read folders of pictures, videos and sounds into a library."),
    "search": ("lightmeter.cli.search:search", "Find items by words, picture, video or sound."),
    "fit": (
        "lightmeter.cli.fit:fit",
        "Fit a classifier of several labels on DATA: a set made by `yt8m`, or a library.",
    ),
    "predict": (
        "lightmeter.cli.predict:predict",
        "Say which labels the items of DATA have, by a MODEL that `fit` made: a probability each.",
    ),
    "evaluate": (
        "lightmeter.cli.evaluate:evaluate",
        "Score a MODEL that `fit` made on the labels of DATA: GAP, Hit@1, PERR and mAP, with their price.",
    ),
    "ensemble": (
        "lightmeter.cli.ensemble:ensemble",
        "Combine MODELS that `fit` made into one that `predict`, `evaluate` and `fit --teacher` take.",
    ),
    "recognise": (
        "lightmeter.cli.recognise:recognise",
        "Say of which class of GALLERY each QUERY is: a picture or a video.",
    ),
    "segment": (
        "lightmeter.cli.segment:segment",
        "Cut foregrounds out of pictures and videos with frozen encoders and a handful of labelled frames.",
    ),
    "condense": (
        "lightmeter.cli.condense:condense",
        "Shrink FOLDER, a folder of pictures a class, to N pictures a class, and say which accuracy is kept.",
    ),
    "tag": ("lightmeter.cli.tag:tag", "Label items by a list of labels, the built-in ones, or by hand."),
    "show": ("lightmeter.cli.show:show", "Draw a contact sheet or a strip of frames."),
    "duplicates": ("lightmeter.cli.duplicates:duplicates", "List exact and near duplicates."),
    "info": ("lightmeter.cli.info:info", "Say what a library holds, or all that is known of a file."),
    "status": ("lightmeter.cli.info:status", "Count items by state, and errors by reason."),
    "remove": ("lightmeter.cli.keep:remove", "Take items out of a library; the files stay."),
    "gc": ("lightmeter.cli.keep:gc", "Rewrite shards without what was removed."),
    "fsck": ("lightmeter.cli.keep:fsck", "Re-hash a library and repair it."),
    "export": ("lightmeter.cli.exchange:export", "Write a library as Parquet, WebDataset, imagefolder or Lance."),
    "import": ("lightmeter.cli.exchange:import_", "Read such an export into a library."),
    "yt8m": ("lightmeter.cli.yt8m:yt8m", "Read, write, generate and score data in the manner of YouTube-8M."),
    "filter": ("lightmeter.cli.filter:filter_", "Run a classic filter over a picture, into a PNG."),
    "study": ("lightmeter.cli.study:study", "Rerun a table of the seeds, the published numbers beside ours."),
    "assets": ("lightmeter.cli.assets:assets", "List, add or verify packaged weights and data."),
    "doctor": ("lightmeter.cli.doctor:doctor", "Measure this machine and say what is found or missing."),
    "demo": ("lightmeter.cli.demo:demo", "Index, search and tag real media, and write a page about it."),
}
"""Command → where it lives and its one line of help (a test holds them equal)."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they run, not when they are listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of a person's work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but suggest the nearest name."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            ctx.fail(f"no command called {args[0]!r}{nearest(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table above, without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "LIGHTMETER",
        "max_content_width": 100,
    },
    epilog="Start with `lightmeter index FOLDER`, then `lightmeter search 'a cat'`. "
    'Shell completion: eval "$(_LIGHTMETER_COMPLETE=bash_source lightmeter)" (or zsh_source, fish_source).',
)
@click.version_option(__version__, prog_name="lightmeter")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Visual AI, metered: what a good answer costs, and the cheapest that is good enough."""
    from lightmeter.cli.configured import configured_defaults

    ctx.default_map = configured_defaults(ctx)


def main() -> None:
    """Run the command line; known errors become one line and an exit code."""
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        code = _say("stopped", 130)
    except KeyboardInterrupt:
        code = _say("stopped; the same command goes on where this one ended", 130)
    except click.ClickException as error:
        code = _show(error)
    except LightmeterError as error:
        code = _say(str(error), error.exit_code)
    except BrokenPipeError:
        sys.stdout = None  # the reader left (`… | head`): nothing more can be said
        code = 0
    except OSError as error:
        code = _say(_refused_by_the_system(error), 1)
    sys.exit(code if isinstance(code, int) else 0)


def _refused_by_the_system(error: OSError) -> str:
    """No room, no permission, too many open files: what happened, where, and the way out."""
    import errno

    way_out = {
        errno.ENOSPC: "free some space and run the same command again",
        errno.EDQUOT: "free some space and run the same command again",
        errno.EFBIG: "free some space and run the same command again",
        errno.EMFILE: "allow more open files (`ulimit -n 1024`)",
        errno.ENFILE: "close other programs",
    }.get(error.errno or 0, "check the path and who may use it")
    place = f" at {click.format_filename(error.filename)}" if error.filename else ""
    return f"{error.strerror or error}{place}: {way_out}"


def _say(message: str, code: int) -> int:
    click.echo(f"lightmeter: {_clean(message)}", err=True)
    return code


def _show(error: click.ClickException) -> int:
    text = io.StringIO()
    error.show(file=text)
    click.echo(_clean(text.getvalue(), lines=True), err=True, nl=False)
    return error.exit_code


def _clean(message: str, *, lines: bool = False) -> str:
    """Names of files and words of a damaged database come up in errors: they must not steer the terminal."""
    from lightmeter.report.text import clean

    return clean(message, lines=lines)
