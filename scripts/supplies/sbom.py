"""Makes the software bill of materials of a release, in CycloneDX 1.6."""

from __future__ import annotations

import json
import tomllib
import uuid
from collections.abc import Sequence
from typing import Any, Final

from supplies.licences import licence_of
from supplies.locked import PROJECT, ROOT, Locked

_NAMESPACE: Final = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
"""The namespace of addresses in RFC 9562, for a serial number that follows from the content."""


def bill_of(packages: Sequence[Locked]) -> dict[str, Any]:
    """Return the bill of materials: the validator, its locked packages, their digests, licences and needs.

    The same lock and version give the same bill, on every machine and at every time.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bill: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "lifecycles": [{"phase": "build"}],
            "component": {
                "type": "application",
                "bom-ref": PROJECT,
                "name": PROJECT,
                "version": project["version"],
                "licenses": [{"expression": "MIT"}],
            },
        },
        "components": [_component(each) for each in packages],
        "dependencies": _dependencies(packages),
    }
    content = json.dumps(bill, sort_keys=True)
    return bill | {"serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, content)}"}


def _component(package: Locked) -> dict[str, Any]:
    address = _address(package)
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": address,
        "name": package.name,
        "version": package.version,
        "licenses": [{"expression": licence_of(package.name)}],
        "purl": address,
        "externalReferences": [
            {
                "type": "distribution",
                "url": address,
                "comment": "the files that may be installed",
                "hashes": [{"alg": "SHA-256", "content": sha256} for sha256 in package.sha256],
            }
        ],
    }
    if package.marker:
        component["properties"] = [{"name": "gaia:installed-if", "value": package.marker}]
    return component


def _dependencies(packages: Sequence[Locked]) -> list[dict[str, Any]]:
    """Return who needs whom; a package with two versions is needed, and needs, in both."""
    references: dict[str, list[str]] = {PROJECT: [PROJECT]}
    for each in packages:
        references.setdefault(each.name, []).append(_address(each))
    needs: dict[str, set[str]] = {reference: set() for all_of in references.values() for reference in all_of}
    for each in packages:
        for name in each.via:
            for reference in references[name]:
                needs[reference].add(_address(each))
    return [{"ref": reference, "dependsOn": sorted(needs[reference])} for reference in sorted(needs)]


def _address(package: Locked) -> str:
    return f"pkg:pypi/{package.name}@{package.version}"
