"""Run one verb of the command line: `python -m proa VERB`, or `proa VERB`.

Only the verb's own module is imported, so that each verb pays for what it uses.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Sequence

from proa import __version__
from proa.cli import VERBS, Failure, UsageError
from proa.cluster_settings import BadSettings

EPILOG = """\
environment:
  PROA_HOME     the cluster's folder, when --home is not given (default: ~/.proa)
  NO_COLOR      no colour, even on a terminal

exit codes:
  0  it worked       1  it failed, and said why       2  the command was not understood

A first session:
  proa up --detach
  export KUBECONFIG=$(proa kubeconfig --path)
  kubectl get nodes
  proa down
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb and return the exit code."""
    try:
        return run(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:  # at any moment, while the verb is imported too
        print("interrupted", file=sys.stderr)
        return 130


def run(arguments: Sequence[str]) -> int:
    """Run the verb, and say in one line what went wrong."""
    arguments = put_home_behind_verb(arguments)
    parser = make_parser(arguments)
    options = parser.parse_args(arguments)
    if options.verb is None:
        parser.print_help()
        return 2
    try:
        return int(options.run(options))
    except UsageError as error:
        parser.exit(2, f"proa {options.verb}: {error}\n")
    except (Failure, BadSettings) as error:
        print(f"proa {options.verb}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of our output has gone (`proa status | head`): nothing more to say, and no traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"proa {options.verb}: {where}{error.strerror}", file=sys.stderr)
        return 1


def put_home_behind_verb(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with a `--home DIR` that comes before the verb behind it, where verbs take it."""
    first = arguments[0] if arguments else ""
    count = 2 if first == "--home" else 1 if first.startswith("--home=") else 0
    home, rest = [*arguments[:count]], [*arguments[count:]]
    return [*rest[:1], *home, *rest[1:]] if rest and not rest[0].startswith("-") else [*arguments]


def make_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Return a parser that knows every verb's name and, in full, the one that is asked for."""
    parser = argparse.ArgumentParser(
        prog="proa",
        description="Kubernetes and Kubeflow in one small boat: a whole cluster on this machine, in one command.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"proa {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    asked = next((word for word in arguments if not word.startswith("-")), None)
    for name, summary in VERBS.items():
        if name != asked:
            verbs.add_parser(name, help=summary)
            continue
        module = importlib.import_module(f"proa.cli.{name}")
        verb = verbs.add_parser(
            name,
            help=summary,
            description=module.DESCRIPTION,
            epilog=getattr(module, "EPILOG", None),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        verb.add_argument(
            "--home", metavar="DIR", help="the cluster's folder (default: $PROA_HOME, else ~/.proa)"
        )
        module.add_arguments(verb)
        verb.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
