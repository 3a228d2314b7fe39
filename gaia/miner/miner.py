"""Entry point of the reference miner: python -m gaia.miner.miner."""

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

from gaia.miner.inference import ForecastModel, Persistence, analyses_in
from gaia.miner.server import MinerOptions, ReferenceMiner
from gaia.miner.sessions import write_certificate
from gaia.tasks.defined_tasks.weather.variables import GRIDS

_BAD_SETTING = 2


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """Run a miner until SIGINT or SIGTERM; return the exit code.

    The environment is read here and nowhere else in the miner.
    """
    options = _parser(environment).parse_args(arguments)
    try:
        miner = ReferenceMiner(_keypair(options), _model(options), _miner_options(options))
    except (OSError, ValueError, LookupError, ImportError, AttributeError) as error:
        sys.stderr.write(f"miner cannot start: {error}\n")
        return _BAD_SETTING
    try:
        asyncio.run(_serve(miner, options))
    except OSError as error:
        sys.stderr.write(f"--port: {error.strerror or error}; choose another or free it.\n")
        return _BAD_SETTING
    return 0


async def _serve(miner: ReferenceMiner, options: argparse.Namespace) -> None:
    certificate = None if options.http else await asyncio.to_thread(_certificate, options.directory)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    host, port = await miner.serve(options.host, options.port, certificate=certificate)
    sys.stdout.write(f"{miner.hotkey} listens on {host}:{port}\n")
    sys.stdout.flush()
    await stopped.wait()
    await miner.stop()


def _certificate(directory: Path) -> tuple[Path, Path]:
    files = directory / "tls" / "miner.crt", directory / "tls" / "miner.key"
    return files if all(file.exists() for file in files) else write_certificate(directory / "tls")


def _keypair(options: argparse.Namespace) -> Keypair:
    if options.hotkey_uri:
        return Keypair.create_from_uri(options.hotkey_uri)
    file = options.wallet_path.expanduser() / options.wallet_name / "hotkeys" / options.wallet_hotkey
    return Keypair.create_from_seed(
        bytes.fromhex(json.loads(file.read_text())["secretSeed"].removeprefix("0x"))
    )


def _model(options: argparse.Namespace) -> ForecastModel:
    if not options.model:
        return Persistence(analyses_in(options.directory / "analyses", GRIDS[options.grid]))
    module, _, name = options.model.partition(":")
    model: ForecastModel = getattr(importlib.import_module(module), name)()
    return model


def _miner_options(options: argparse.Namespace) -> MinerOptions:
    validators = frozenset(options.validators.replace(",", " ").split())
    return MinerOptions(
        directory=options.directory,
        grid=options.grid,
        steps=options.steps,
        validators=validators or None,
        token_minutes=options.token_minutes,
        token_secret=options.token_secret,
    )


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    """Options whose defaults come from the environment; argparse converts and checks those too."""
    env = environment.get
    parser = argparse.ArgumentParser(
        prog="python -m gaia.miner.miner",
        description="A reference miner. Defaults come from the environment, by the names in brackets; "
        "the key of access tokens is read from MINER_JWT_SECRET_KEY alone.",
    )
    add = parser.add_argument
    add("--host", default=env("MINER_HOST", "0.0.0.0"), help="address to listen on [MINER_HOST]")  # noqa: S104
    add("--port", type=int, default=env("PORT", "33334"), help="port; 0: any free one [PORT]")
    add("--http", action="store_true", help="plain HTTP, behind a proxy that ends TLS")
    add(
        "--directory",
        type=Path,
        default=env("MINER_FORECAST_DIR", "miner_forecasts"),
        help="folder of forecasts and, in analyses/<YYYYMMDDHH>/<field>.f32, of initial states "
        "[MINER_FORECAST_DIR]",
    )
    add("--grid", choices=sorted(GRIDS), default=env("GAIA_GRID_DEGREES", "0.25"), help="[GAIA_GRID_DEGREES]")
    add("--steps", type=int, default=40, help="leads in a forecast, six hours apart")
    add("--model", default=env("MINER_MODEL", ""), help="module:factory of a ForecastModel [MINER_MODEL]")
    add(
        "--validators",
        default=env("MINER_VALIDATORS", ""),
        help="hotkeys that are answered, separated by commas; empty: all [MINER_VALIDATORS]",
    )
    add(
        "--token-minutes",
        type=float,
        default=env("WEATHER_ACCESS_TOKEN_EXPIRE_MINUTES", "120"),
        help="life of an access token [WEATHER_ACCESS_TOKEN_EXPIRE_MINUTES]",
    )
    add("--wallet-name", default=env("WALLET_NAME", "default"), help="[WALLET_NAME]")
    add("--wallet-hotkey", default=env("HOTKEY_NAME", "default"), help="[HOTKEY_NAME]")
    add(
        "--wallet-path",
        type=Path,
        default=env("WALLET_PATH", "~/.bittensor/wallets"),
        help="[WALLET_PATH]",
    )
    add("--hotkey-uri", default="", help="development key such as //Alice, instead of a wallet")
    parser.set_defaults(token_secret=env("MINER_JWT_SECRET_KEY", ""))
    return parser


if __name__ == "__main__":
    sys.exit(main())
