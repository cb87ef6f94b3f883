#!/usr/bin/env python3
"""Checks the committed vectors with another implementation: Python's standard library, and none of placet's code."""

import base64
import hashlib
import json
import pathlib

HERE = pathlib.Path(__file__).parent


class Token(str):
    """A number as it was written."""


def members(pairs):
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("duplicate_key")
    return dict(pairs)


def constant(name):
    raise ValueError(f"not JSON: {name}")


def read(data):
    if len(data) > 1024 * 1024:
        raise ValueError("too_large")
    text = data.decode("utf-8")
    return json.loads(text, object_pairs_hook=members, parse_int=Token, parse_float=Token, parse_constant=constant)


def write(value, depth=0):
    if isinstance(value, (dict, list)) and depth >= 64:
        raise ValueError("too_deep")
    if isinstance(value, Token):
        return str(value)
    if isinstance(value, list):
        return "[" + ",".join(write(item, depth + 1) for item in value) + "]"
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-8"))
        return "{" + ",".join(write(key) + ":" + write(value[key], depth + 1) for key in keys) + "}"
    text = json.dumps(value, ensure_ascii=False)
    text.encode("utf-8")  # a lone surrogate cannot be encoded
    return text


def canonical(data):
    return write(read(data))


def reason(error):
    """Which refusal this is, in the vectors' words."""
    if isinstance(error, UnicodeDecodeError):
        return "not_utf8"
    if isinstance(error, UnicodeEncodeError):
        return "lone_surrogate"
    return str(error) if str(error) in ("duplicate_key", "too_deep", "too_large") else "syntax"


def refusal(data):
    try:
        canonical(data)
    except ValueError as error:
        return reason(error)
    return None


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def vectors(name):
    return json.loads((HERE / name).read_text("utf-8"))


def input_of(vector):
    if "input_base64" in vector:
        return base64.b64decode(vector["input_base64"], validate=True)
    return vector["input"].encode("utf-8")


def check(name, got, expected):
    assert got == expected, f"{name}: {got!r} is not {expected!r}"


def check_c14n():
    form = vectors("c14n.json")
    for vector in form["accepted"]:
        check(vector["name"], canonical(input_of(vector)), vector["canonical"])
        check(vector["name"], sha256(vector["canonical"].encode("utf-8")), vector["sha256"])
    for vector in form["refused"]:
        check(vector["name"], refusal(input_of(vector)), vector["reason"])
    return len(form["accepted"]) + len(form["refused"])


def check_actions():
    actions = vectors("action.json")["actions"]
    for vector in actions:
        data = vector["canonical"].encode("utf-8")
        check(vector["name"], canonical(data), vector["canonical"])
        check(vector["name"], sha256(b"placet/action/v1\0" + data), vector["digest"])
    check("digests", len({vector["digest"] for vector in actions}), len(actions))
    return len(actions)


def check_entries():
    entries = vectors("entry.json")["entries"]
    for vector in entries:
        data = vector["entry"].encode("utf-8")
        check(vector["name"], canonical(data), vector["entry"])
        check(vector["name"], sha256(b"\0" + data), vector["leaf"])
        commitments = []
        for kept in vector["disclosures"]:
            commitments.append(base64url(hashlib.sha256(kept["disclosure"].encode("ascii")).digest()))
            padded = kept["disclosure"] + "=" * (-len(kept["disclosure"]) % 4)
            salt, name, value = json.loads(base64.urlsafe_b64decode(padded))
            check(vector["name"], len(base64.urlsafe_b64decode(salt + "==")), 16)
            check(vector["name"], [name, value], [kept["name"], kept["value"]])
        check(vector["name"], json.loads(data).get("_sd", []), sorted(commitments))
    return len(entries)


if __name__ == "__main__":
    print(f"{check_c14n() + check_actions() + check_entries()} vectors hold")
