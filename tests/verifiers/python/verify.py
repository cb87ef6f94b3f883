"""Checks a published log, or an audit bundle, with aics-tlog 0.2.1.

    verify.py VKEY DIR [OLD_CHECKPOINT_FILE]
    verify.py bundle VKEY DIR

Install it in a virtual environment; Python 3.11 needs the flag:

    pip install --ignore-requires-python aics-tlog==0.2.1
"""

import re
import sys
from pathlib import Path

from aics_tlog import (
    FileSystemTileReader,
    audit_tiles,
    consistency_proof_from_tiles,
    leaf_hash,
    parse_checkpoint,
    parse_note,
    parse_vkey,
    verify_checkpoint,
    verify_consistency,
    verify_inclusion,
)
from aics_tlog.note import b64_decode

PROOF_SUFFIX = ".tlog-proof"


class Refused(Exception):
    """What was read does not prove what it should."""


def open_checkpoint(vkey, note_bytes, what):
    """The checkpoint in a signed note of the log; its origin must be the name of the key."""
    key = parse_vkey(vkey)
    note = parse_note(note_bytes)
    result = verify_checkpoint(note, key, expected_origin=key.name)
    if not result.ok:
        raise Refused(f"{what}: {result.error}")
    checkpoint = parse_checkpoint(note.text)
    if checkpoint.extension_lines:
        raise Refused(f"{what}: extension lines")
    return checkpoint


def verify_log(vkey, directory, old_file=None):
    directory = Path(directory)
    checkpoint = open_checkpoint(vkey, (directory / "checkpoint").read_bytes(), "checkpoint")
    print(f"checkpoint: size {checkpoint.size} root of {checkpoint.origin}")

    reader = FileSystemTileReader(directory)
    report = audit_tiles(reader, checkpoint.size, checkpoint.root)
    print(f"entries: {checkpoint.size} in {report.bundles} bundles, {report.tiles} tiles")

    if old_file is None:
        return
    old = open_checkpoint(vkey, Path(old_file).read_bytes(), "old checkpoint")
    if old.size > checkpoint.size:
        raise Refused(f"the log has {checkpoint.size} entries, the old checkpoint {old.size}: entries were removed")
    proof = consistency_proof_from_tiles(reader, old.size, checkpoint.size)
    if not verify_consistency(old.size, checkpoint.size, old.root, checkpoint.root, proof):
        raise Refused("the log does not continue the old checkpoint")
    print(f"consistent with size {old.size}")


def numbered(directory, suffix):
    """The indices of the files <index><suffix>; another file is an error."""
    indices = []
    for file in directory.iterdir():
        if not re.fullmatch(r"(0|[1-9][0-9]*)" + re.escape(suffix), file.name):
            raise Refused(f"{directory}: unexpected file {file.name!r}")
        indices.append(int(file.name[: -len(suffix)]))
    return sorted(indices)


def parse_proof(text):
    """The index, the hashes and the checkpoint of a c2sp.org/tlog-proof."""
    head, separator, checkpoint = text.partition(b"\n\n")
    lines = head.decode().split("\n")
    if not separator or lines.pop(0) != "c2sp.org/tlog-proof@v1":
        raise Refused("not a c2sp.org/tlog-proof@v1")
    if lines and lines[0].startswith("extra "):
        lines.pop(0)
    if not lines or not re.fullmatch(r"index (0|[1-9][0-9]*)", lines[0]):
        raise Refused("the proof has no index")
    return int(lines[0].removeprefix("index ")), [b64_decode(line) for line in lines[1:]], checkpoint


def verify_bundle(vkey, directory):
    directory = Path(directory)
    outer = open_checkpoint(vkey, (directory / "checkpoint").read_bytes(), "checkpoint")
    print(f"checkpoint: size {outer.size} root of {outer.origin}")
    entries = numbered(directory / "entries", ".json")
    proofs = numbered(directory / "proofs", PROOF_SUFFIX)
    if not entries:
        raise Refused("the bundle holds no entry")
    if entries != proofs:
        raise Refused(f"entries {entries} and proofs {proofs} are not the same")
    for index in entries:
        entry = (directory / "entries" / f"{index}.json").read_bytes()
        proven, hashes, note = parse_proof((directory / "proofs" / f"{index}{PROOF_SUFFIX}").read_bytes())
        if open_checkpoint(vkey, note, f"proof {index}") != outer:
            raise Refused(f"entry {index}: the proof leads to another checkpoint than the bundle's")
        if proven != index:
            raise Refused(f"entry {index}: the proof is one for index {proven}")
        if not verify_inclusion(leaf_hash(entry), index, outer.size, hashes, outer.root):
            raise Refused(f"entry {index}: the proof does not lead to the root")
        print(f"entry {index}: included")


def main(arguments):
    match arguments:
        case ["bundle", vkey, directory]:
            verify_bundle(vkey, directory)
        case [vkey, directory]:
            verify_log(vkey, directory)
        case [vkey, directory, old_file]:
            verify_log(vkey, directory, old_file)
        case _:
            print(__doc__, file=sys.stderr)
            return 64
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (Refused, ValueError, OSError) as error:
        print(f"verify.py: {error}", file=sys.stderr)
        sys.exit(1)
