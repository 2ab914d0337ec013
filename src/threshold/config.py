"""Policies from TOML files: every argument of `Policy`, and nothing silently ignored.

A file may start from a preset and change parts of it. Whatever is wrong is a `ConfigurationError` that names
file, key, value and remedy. Keys are those of the Python API; only limits and durations have forms of
their own, because TOML has no objects.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from . import presets
from .config_values import LIMIT_KEYS, dropped, ladder, limit
from .errors import ConfigurationError
from .headers import STYLES
from .layers import LAYERS
from .plan import Limit, OnStoreError
from .policy import MissingAddress, Policy
from .section import Section
from .tiers import CATEGORIES, Tiers

_KEYS = (
    *("preset", "name", "edge", "tenant", "user", "endpoints", "ladder", "allow", "allow_users"),
    *("upload_prefixes", "ai_prefixes", "strike_anonymous", "missing_address", "on_store_error"),
    *("ipv6_prefix", "fail_closed", "headers", "dry_run"),
)
_PATTERN_FORMS = 'patterns look like "POST /api/posts", "PUT|PATCH /api/posts/{id}" or "/auth/*"'
_PLACE = re.compile(r"(.*?) ?\(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)

_Limits = Mapping[str, Limit]


def read_policy(path: str | Path) -> Policy:
    """Read a policy from a TOML file in UTF-8.

    Raises:
        ConfigurationError: when the file cannot be read, or anything in it cannot work.
    """
    source = str(path)
    if not isinstance(path, (str, os.PathLike)):
        raise ConfigurationError("policy file", path, "give the path of a readable TOML file")
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        remedy = f"give the path of a readable TOML file ({error.strerror or error})"
        raise ConfigurationError("policy file", source, remedy) from error
    except UnicodeDecodeError as error:
        byte = f"byte {error.start}"
        raise ConfigurationError(
            byte, error.object[error.start], "save the file as UTF-8", source=source
        ) from None
    except ValueError as error:  # a NUL in the path
        remedy = f"give the path of a readable TOML file ({error})"
        raise ConfigurationError("policy file", source, remedy) from None
    return parse_policy(text, source)


def parse_policy(text: str, source: str = "policy") -> Policy:
    """Build the policy that a TOML text describes.

    Args:
        text: the TOML text.
        source: what errors call it; usually the path of the file.

    Raises:
        ConfigurationError: naming source, key, value and remedy; for broken TOML, line and column.

    >>> policy = parse_policy('user = "100/minute"', "threshold.toml")
    >>> [str(limit.rate) for limit in policy.limits]
    ['100/minute']
    >>> parse_policy('usr = "100/minute"', "threshold.toml")
    Traceback (most recent call last):
    threshold.errors.ConfigurationError: threshold.toml: usr: '100/minute' cannot work; unknown key: did you \
mean "user"?
    """
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also: a number of 5,000 digits, 1,000 nested lists
        raise _syntax_error(text, source, error) from None
    root = Section(source, (), values, top=_KEYS)
    root.only(_KEYS)
    return _policy(root, _preset(root))


def _policy(root: Section, preset: presets.Arguments | None) -> Policy:
    edge = _layer(root, "edge", preset["edge"] if preset else None)
    tenant = _tenant(root, preset["tenant"] if preset else None)
    user = _layer(root, "user", preset["user"] if preset else None)
    endpoints = _endpoints(root, preset["endpoints"] if preset else None)
    try:
        return Policy(
            edge,
            tenant,
            user,
            endpoints,
            ladder(root, preset["ladder"] if preset else None),
            name=root.text("name", "default"),
            allow=root.texts("allow", ()),
            allow_users=root.texts("allow_users", ()),
            upload_prefixes=root.texts("upload_prefixes", ("/api/uploads",)),
            ai_prefixes=root.texts("ai_prefixes", ("/api/ai",)),
            strike_anonymous=root.flag("strike_anonymous", False),
            missing_address=root.choice("missing_address", get_args(MissingAddress), "share"),
            ipv6_prefix=64 if "ipv6_prefix" not in root else root.whole("ipv6_prefix") or 0,
            on_store_error=_on_store_error(root),
            fail_closed=root.texts("fail_closed", preset["fail_closed"] if preset else ()),
            headers=root.choice("headers", STYLES, "both"),
            dry_run=root.flag("dry_run", False),
        )
    except ConfigurationError as error:
        raise _placed(root, error, preset is not None) from None


def _placed(root: Section, error: ConfigurationError, preset: bool) -> ConfigurationError:
    """An error of the policy itself, with the place in the file."""
    if error.source is not None:
        return error
    table = root.values.get(error.field)
    if isinstance(table, dict) and isinstance(error.value, str) and error.value in table:
        remedy = error.remedy
        if preset:
            remedy += "; to replace a pattern of the preset write it the same way, to drop it set it to false"
        return root.table(error.field).error(error.value, table[error.value], remedy)
    return root.error(error.field, error.value, error.remedy)


def _preset(root: Section) -> presets.Arguments | None:
    if "preset" not in root:
        return None
    root.choice("preset", ("default",), "default")
    return presets.default_arguments()


def _layer(root: Section, key: str, inherited: _Limits | None) -> Limit | _Limits | None:
    """The edge or user layer: one limit, or patterns to limits."""
    if key not in root:
        return inherited
    if dropped(root, key, inherited is not None):
        return None
    value = root.values[key]
    if isinstance(value, dict) and not value.keys() & set(LIMIT_KEYS):
        return _patterns(root.table(key), inherited or {}, ("default",))
    return limit(root, key)


def _endpoints(root: Section, inherited: _Limits | None) -> _Limits | None:
    if "endpoints" not in root:
        return inherited
    if dropped(root, "endpoints", inherited is not None):
        return None
    return _patterns(root.table("endpoints"), inherited or {}, ())


def _patterns(section: Section, inherited: _Limits, words: tuple[str, ...]) -> _Limits:
    limits = dict(inherited)
    for key, value in section.values.items():
        if "/" not in key and key not in words:
            raise section.unknown(key, value, (*words, *LIMIT_KEYS) if words else (), _PATTERN_FORMS)
        if dropped(section, key, key in inherited):
            del limits[key]
        else:
            limits[key] = limit(section, key)
    return limits


def _tenant(root: Section, inherited: Tiers | None) -> Tiers | Limit | None:
    if "tenant" not in root:
        return inherited
    if dropped(root, "tenant", inherited is not None):
        return None
    value = root.values["tenant"]
    if not isinstance(value, dict) or value.keys() & set(LIMIT_KEYS):
        return limit(root, "tenant")
    section = root.table("tenant")
    section.only(("default", "tiers"), "tiers are written as [tenant.tiers.free]")
    tiers: dict[str, _Limits] = dict(inherited.limits) if inherited else {}
    if "tiers" in section:
        table = section.table("tiers")
        for name in table.values:
            if dropped(table, name, name in tiers):
                del tiers[name]
            else:
                tiers[name] = _tier(table, name, tiers.get(name, {}))
    if inherited is None and "default" not in section:
        known = ", ".join(tiers) or "none given yet"
        raise section.error("default", None, f"name the tier of tenants whose tier is unknown: {known}")
    default = section.text("default", inherited.default if inherited else "")
    try:
        return Tiers(tiers, default)
    except ConfigurationError as error:
        key = error.field if error.field in ("default", "tiers") else f"tiers.{error.field}"
        raise section.error(key, error.value, error.remedy) from None


def _tier(table: Section, name: str, inherited: _Limits) -> _Limits:
    value = table.values[name]
    if not isinstance(value, dict) or value.keys() & set(LIMIT_KEYS):
        return {"requests": limit(table, name)}
    section = table.table(name)
    section.only(CATEGORIES)
    row = dict(inherited)
    for category in section.values:
        if dropped(section, category, category in inherited):
            del row[category]
        else:
            row[category] = limit(section, category)
    if "requests" not in row:
        raise table.error(name, value, 'add a limit for "requests"; the other categories may be left out')
    return row


def _on_store_error(root: Section) -> OnStoreError | Mapping[str, OnStoreError]:
    modes: tuple[OnStoreError, ...] = get_args(OnStoreError)
    if not isinstance(root.values.get("on_store_error"), dict):
        return root.choice("on_store_error", modes, "allow")
    section = root.table("on_store_error")
    section.only(LAYERS)
    return {layer: section.choice(layer, modes, "allow") for layer in LAYERS}


def _syntax_error(text: str, source: str, error: Exception) -> ConfigurationError:
    found = _PLACE.fullmatch(str(error))
    lines = text.splitlines() or [""]
    line = int(found[2]) if found and found[2] else len(lines)
    column = int(found[3]) if found and found[3] else len(lines[-1]) + 1
    shown = lines[line - 1].strip() if line <= len(lines) else ""
    reason = found[1] if found else str(error)
    return ConfigurationError(f"line {line}, column {column}", shown, f"no TOML: {reason}", source=source)
