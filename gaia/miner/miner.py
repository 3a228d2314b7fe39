"""Entry point `gaia-miner`: the reference miner."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bittensor_core import Keypair
from pydantic import SecretStr

from gaia.miner.inference import ForecastModel, Persistence, analyses_in
from gaia.miner.jobs import MinerOptions
from gaia.miner.server import ReferenceMiner
from gaia.miner.sessions import write_certificate
from gaia.miner.settings import MinerSettings, help_of, load_settings, names_of, option_of
from gaia.tasks.defined_tasks.weather.variables import GRIDS
from gaia.validator.utils.errors import ConfigurationError
from gaia.validator.utils.version import add_version_option

_BAD_SETTING = 2


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """Run a miner until SIGINT or SIGTERM; return the exit code.

    The environment is read here and nowhere else in the miner.
    """
    given = _parser().parse_args(arguments)
    try:
        settings = load_settings(environment, **vars(given))
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return _BAD_SETTING
    try:
        miner = ReferenceMiner(_keypair(settings), _model(settings), _miner_options(settings))
    except (OSError, ValueError, LookupError, ImportError, AttributeError) as error:
        sys.stderr.write(f"miner cannot start: {error}\n")
        return _BAD_SETTING
    try:
        asyncio.run(_serve(miner, settings))
    except OSError as error:
        sys.stderr.write(f"--port: {error.strerror or error}; choose another or free it.\n")
        return _BAD_SETTING
    return 0


async def _serve(miner: ReferenceMiner, settings: MinerSettings) -> None:
    certificate = None if settings.http else await asyncio.to_thread(_certificate, settings.directory)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    host, port = await miner.serve(settings.host, settings.port, certificate=certificate)
    sys.stdout.write(f"{miner.hotkey} listens on {host}:{port}\n")
    sys.stdout.flush()
    await stopped.wait()
    await miner.stop()


def _certificate(directory: Path) -> tuple[Path, Path]:
    files = directory / "tls" / "miner.crt", directory / "tls" / "miner.key"
    return files if all(file.exists() for file in files) else write_certificate(directory / "tls")


def _keypair(settings: MinerSettings) -> Keypair:
    if settings.hotkey_uri:
        return Keypair.create_from_uri(settings.hotkey_uri)
    file = settings.wallet_path / settings.wallet_name / "hotkeys" / settings.wallet_hotkey
    return Keypair.create_from_seed(
        bytes.fromhex(json.loads(file.read_text())["secretSeed"].removeprefix("0x"))
    )


def _model(settings: MinerSettings) -> ForecastModel:
    if not settings.model:
        return Persistence(analyses_in(settings.directory / "analyses", GRIDS[settings.grid]))
    module, _, name = settings.model.partition(":")
    model: ForecastModel = getattr(importlib.import_module(module), name)()
    return model


def _miner_options(settings: MinerSettings) -> MinerOptions:
    return MinerOptions(
        directory=settings.directory,
        grid=settings.grid,
        steps=settings.steps,
        validators=settings.validators or None,
        token_minutes=settings.token_minutes,
        token_secret=settings.jwt_secret_key.get_secret_value(),
    )


def _parser() -> argparse.ArgumentParser:
    """Return a parser with one option per setting, except the secret one: command lines are public."""
    parser = argparse.ArgumentParser(
        prog="gaia-miner",
        description="A reference miner. An option that is not given is read from the variables in brackets; "
        f"the key of access tokens is read from {names_of('jwt_secret_key')[0]} alone.",
    )
    add_version_option(parser)
    for name, field in MinerSettings.model_fields.items():
        if field.annotation is bool:
            parser.add_argument(option_of(name), action="store_const", const=True, help=help_of(name))
        elif not isinstance(field.default, SecretStr):
            parser.add_argument(option_of(name), help=help_of(name))
    return parser


if __name__ == "__main__":
    sys.exit(main())
