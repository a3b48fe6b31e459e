"""Croissant metadata (MLCommons, format 1.0): which files a dataset has and what their fields mean, for machines.

https://docs.mlcommons.org/croissant/docs/croissant-spec.html
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FIELDS = {
    "id": "unique over all splits",
    "source": "where the conversation comes from",
    "license": "SPDX identifier",
    "category": "what kind of request it is, if known",
    "difficulty": "easy, medium or hard",
    "messages/role": "system, user or assistant, turn by turn",
    "messages/content": "what was said, turn by turn",
}


@dataclass(frozen=True)
class Split:
    """Files of one split: a single file with its sha256, or a pattern such as `train/*.jsonl` and no checksum."""

    files: str
    sha256: str = ""


def croissant(
    name: str,
    description: str,
    license: str,
    version: str,
    splits: Mapping[str, Split],
    fields: Mapping[str, str] = FIELDS,
) -> str:
    """The JSON-LD of a dataset in JSON lines, of conversations or with other `fields`, each with what it means.

    `license` is an SPDX identifier, or several joined by AND. All fields are texts.
    """
    import mlcroissant as mlc

    distribution, records = [], []
    for split, files in splits.items():
        about = {"id": f"{split}-files", "name": f"{split}-files", "encoding_formats": ["application/jsonlines"]}
        if files.sha256:
            distribution.append(mlc.FileObject(**about, content_url=files.files, sha256=files.sha256))
            place = {"file_object": f"{split}-files"}
        else:
            distribution.append(mlc.FileSet(**about, includes=[files.files]))
            place = {"file_set": f"{split}-files"}
        records.append(
            mlc.RecordSet(id=split, name=split, fields=[_field(split, *one, place) for one in fields.items()])
        )
    metadata = mlc.Metadata(
        name=name,
        description=description,
        license=[f"https://spdx.org/licenses/{spdx}" for spdx in license.split(" AND ")],
        version=version,
        cite_as=f"{name}, version {version}",
        distribution=distribution,
        record_sets=records,
    )
    return json.dumps(metadata.to_json(), indent=2) + "\n"


def _field(split: str, name: str, meaning: str, place: dict[str, str]) -> Any:
    import mlcroissant as mlc

    column, _, part = name.partition("/")
    return mlc.Field(
        id=f"{split}/{name}",
        name=f"{split}/{name}",
        description=meaning,
        data_types=[mlc.DataType.TEXT],
        **({"is_array": True, "array_shape": "-1"} if part else {}),
        source=mlc.Source(
            **place,
            extract=mlc.Extract(column=column),
            transforms=[mlc.Transform(json_path=f"[*].{part}")] if part else [],
        ),
    )


def plain_croissant(name: str, description: str, license: str, url: str) -> str:
    """Of a dataset that is published elsewhere: what it is and under which licence; its files are at `url`."""
    import mlcroissant as mlc

    metadata = mlc.Metadata(
        name=name, description=description, license=[f"https://spdx.org/licenses/{license}"], url=url
    )
    return json.dumps(metadata.to_json(), indent=2) + "\n"
