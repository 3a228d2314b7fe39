"""Checks of the wallet: the hotkey's file, and what the signer remembers."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from gaia.validator.doctor.checks.owners import ROOT, owners_step
from gaia.validator.doctor.findings import Check, Finding, Group, failure, ok, skipped, warning
from gaia.validator.doctor.sight import seen
from gaia.validator.doctor.steps import Step, do, run
from gaia.validator.utils.config import variable_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gaia.validator.doctor.facts import Facts


def _wallet_folder(facts: Facts) -> Finding:
    wallet, settings = seen(facts.wallet), seen(facts.settings)
    if settings.hotkey_file is not None:
        return skipped("the hotkey's file is named by itself, so no wallet is needed")
    if not wallet.has_root:
        steps = facts.given.unset("wallet_path")
        return failure(
            f"there is no folder {wallet.root}",
            *(steps or (do("copy the wallet there, or set GAIA_WALLET_PATH"),)),
        )
    if settings.wallet_name not in wallet.wallets:
        return failure(
            f"there is no wallet {settings.wallet_name} in {wallet.root}",
            *_nearest(facts, "wallet_name", settings.wallet_name, wallet.wallets),
        )
    return ok(f"wallet {settings.wallet_name} is in {wallet.root}")


def _hotkey_file(facts: Facts) -> Finding:
    wallet, settings = seen(facts.wallet), seen(facts.settings)
    is_named = settings.hotkey_file is not None
    if not is_named and settings.wallet_name not in wallet.wallets:
        return skipped("there is no wallet")
    if wallet.hotkey is None or wallet.hotkey.is_folder:
        if is_named:
            steps = (*facts.given.unset("hotkey_file"), do("or create that file"))
            return failure(f"there is no hotkey file {wallet.hotkey_path}", *steps)
        return failure(
            f"there is no hotkey file {wallet.hotkey_path}",
            *_nearest(facts, "wallet_hotkey", settings.wallet_hotkey, list(wallet.hotkeys)),
        )
    return ok(f"{wallet.hotkey_path} is there")


def _hotkey_mode(facts: Facts) -> Finding:
    wallet = seen(facts.wallet)
    if wallet.hotkey is None:
        return skipped("there is no hotkey file")
    # systemd names the user in an access list, whose mask stands in the place of the group's rights.
    if wallet.hotkey.mode & (0o007 if wallet.is_credential else 0o077):
        return failure(
            f"other users can read or change {wallet.hotkey_path} (mode {wallet.hotkey.mode:04o})",
            run("chmod", "600", wallet.hotkey_path),
        )
    return ok("the hotkey file is private")


def _hotkey_owner(facts: Facts) -> Finding:
    wallet = seen(facts.wallet)
    if wallet.hotkey is None:
        return skipped("there is no hotkey file")
    if wallet.is_credential and wallet.hotkey.uid == ROOT:
        return ok("the service manager keeps the hotkey file")
    step = owners_step(facts, wallet.hotkey.uid, wallet.hotkey_path)
    if step is None:
        return ok("the hotkey file belongs to the validator's user")
    return failure(f"{wallet.hotkey_path} belongs to user {wallet.hotkey.uid}", step)


def _hotkeys_folder(facts: Facts) -> Finding:
    folder = seen(facts.wallet).folder
    if folder is None:
        return skipped("there is no folder of hotkeys")
    if folder.mode & 0o022:
        return failure(
            f"other users can replace the files in {folder.path} (mode {folder.mode:04o})",
            run("chmod", "go-w", folder.path),
        )
    return ok("other users cannot replace the hotkey")


def _hotkey_content(facts: Facts) -> Finding:
    wallet = seen(facts.wallet)
    if wallet.hotkey is None:
        return skipped("there is no hotkey file")
    if wallet.problem:
        return failure(
            wallet.problem,
            do("restore it from your backup with `btcli wallet regen-hotkey`"),
        )
    return ok(f"hotkey {wallet.address} can sign")


def _signed_epochs(facts: Facts) -> Finding:
    wallet, settings = seen(facts.wallet), seen(facts.settings)
    if settings.dry_run:
        return skipped("a dry run signs no weights")
    if wallet.is_record_damaged:
        return failure(
            f"the record of signed epochs, {wallet.record}, is damaged",
            run("mv", wallet.record, f"{wallet.record}.damaged"),
        )
    if wallet.foreign_update is not None:
        return failure(
            f"another program set weights with this hotkey in block {wallet.foreign_update};"
            " stop it and let the present epoch end, before you mend this",
            run("mv", wallet.record, f"{wallet.record}.{wallet.foreign_update}"),
        )
    if wallet.record_hotkey and wallet.address and wallet.record_hotkey != wallet.address:
        return failure(
            f"{wallet.record} is the record of another hotkey, {wallet.record_hotkey}",
            run("mv", wallet.record, f"{wallet.record}.{wallet.record_hotkey}"),
        )
    if wallet.record_problem:
        steps = facts.given.unset("signed_epochs_file")
        return failure(
            f"the record of signed epochs cannot be kept: {wallet.record_problem}",
            *(steps or (do("name a file that the validator's user can write in GAIA_SIGNED_EPOCHS_FILE"),)),
        )
    return ok(f"signed epochs are remembered in {wallet.record}")


def _coldkey(facts: Facts) -> Finding:
    found = seen(facts.wallet).coldkey
    if found is None:
        return ok("the coldkey's secret is not on this machine")
    return warning(
        f"{found} is on this machine, and who breaks in takes all funds",
        do("copy it to a machine without network, prove the copy, and delete it here"),
    )


def _nearest(facts: Facts, name: str, wanted: str, known: Sequence[str]) -> tuple[Step, ...]:
    """Return the step that names what was meant, or the one that makes what is missing."""
    if close := difflib.get_close_matches(wanted, known, n=1):
        return (facts.given.put(name, close[0]),)
    if known:
        # Another name may be that of a miner's key, which must not sign for a validator.
        return (do(f"name the validator's own in {variable_of(name)}; there are {', '.join(known[:10])}"),)
    settings, root = seen(facts.settings), seen(facts.wallet).root
    return (
        run(
            *("btcli", "wallet", "new-hotkey", "--wallet", settings.wallet_name),
            *("--wallet-hotkey", settings.wallet_hotkey, "--wallet-path", root),
        ),
    )


_K = Group.HOTKEY
CHECKS = (
    Check("wallet", _K, "the wallet's folder", "`GAIA_WALLET_NAME`, `GAIA_WALLET_PATH`", _wallet_folder),
    Check("hotkey-file", _K, "the hotkey's file is there", "`GAIA_WALLET_HOTKEY`", _hotkey_file),
    Check("hotkey-mode", _K, "only our user reads the hotkey's file", "`chmod 600`", _hotkey_mode),
    Check("hotkey-owner", _K, "the hotkey's file is ours", "`chown`", _hotkey_owner),
    Check("hotkeys-folder", _K, "only our user writes beside the hotkey", "`chmod go-w`", _hotkeys_folder),
    Check("hotkey-content", _K, "the hotkey can sign", "restored", _hotkey_content),
    Check(
        "signed-epochs",
        _K,
        "the record of signed epochs can be kept",
        "`mv`, `GAIA_SIGNED_EPOCHS_FILE`",
        _signed_epochs,
    ),
    Check("coldkey", _K, "the coldkey's secret is not on this machine", "moved away", _coldkey),
)
