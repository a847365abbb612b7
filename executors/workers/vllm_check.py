"""Holds command lines of vLLM against vLLM's own parser and configuration, inside the `vllm-cpu` toolchain.

Request: `commands`, each a list of arguments with `--model` among them. Result: `said`, for each what vLLM refused,
null where it took it. No weights are loaded: a folder with a `config.json` is enough. Not seen without the hardware:
whether there is memory, and whether there are kernels.
"""

import contextlib
import io
import sys

import vllm_cpu  # noqa: F401 - before vllm: it sets what vLLM reads when it is imported
from protocol import Channel, serve
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser

LONGEST = 400


def refusal(arguments: list[str]) -> str | None:
    """What vLLM says against a command line."""
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            parsed = make_arg_parser(FlexibleArgumentParser()).parse_args(arguments)
        validate_parsed_serve_args(parsed)
        AsyncEngineArgs.from_cli_args(parsed).create_engine_config()
    except SystemExit:
        return errors.getvalue().strip().splitlines()[-1][:LONGEST]
    except Exception as error:  # noqa: BLE001 - its checks raise whatever they like; each is an answer here
        return f"{type(error).__name__}: {error}"[:LONGEST]
    return None


def check(request: dict[str, object], channel: Channel) -> None:
    """Answer for all of them."""
    said = []
    for number, command in enumerate(request["commands"]):
        said.append(refusal(command))
        channel.progress(number + 1, len(request["commands"]), "command lines")
    channel.send("result", said=said)


if __name__ == "__main__":
    sys.exit(serve(check))
