"""A store's summary as text for people: aligned, complete, without colours or control characters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from landscape.figures.descent_summary import descent_lines
from landscape.figures.grok_summary import grok_lines
from landscape.figures.sharpness_summary import sharpness_lines
from landscape.figures.surface_summary import surface_lines
from landscape.figures.tables import Row, amount, indent, percent, table, words

BAD = ("not_finite", "failed")
STATES = {True: "finished", False: "unfinished"}


def report(found: Mapping[str, Any], name: str) -> str:
    """Write a summary as text.

    Args:
        found: What `summary` returned.
        name: What the store is called.

    Returns:
        Lines without a newline at the end.
    """
    lines = [f"{name}: {found['kind']} store, {STATES[bool(found['complete'])]}", ""]
    lines += table(_about(found))
    if found.get("recipe"):
        lines += ["", "recipe", *indent(table(_flat(found["recipe"])))]
    units = str(found.get("loss_units", "nats"))
    if found.get("checkpoints"):
        entries = indent(_checkpoints(found["checkpoints"], units))
        lines += ["", "checkpoints (with their own BatchNorm statistics)", *entries]
    if found.get("curves"):
        lines += [
            "",
            f"curves (losses in {units}, errors in %, lengths as distance in weight space)",
            *indent(_curves(found["curves"])),
        ]
    if found.get("surfaces"):
        lines += surface_lines(found, units)
    if found.get("measures"):
        lines += sharpness_lines(found)
    if found.get("grokking"):
        lines += grok_lines(found)
    if found.get("descents"):
        lines += descent_lines(found)
    if found.get("history"):
        lines += ["", "history", *indent(_history(found["history"], units))]
    if found.get("values"):
        lines += ["", "values", *indent(_values(found["values"]))]
    return "\n".join(line.rstrip() for line in lines)


def _about(found: Mapping[str, Any]) -> list[Row]:
    """When, where and with what it was made, and how far it is."""
    attributes = dict(found["attributes"])
    attributes.pop("experiment_recipe", None)  # stands below, as the recipe or in it
    rows: list[Row] = [("made", str(attributes.pop("created", "–"))), ("device", str(attributes.pop("device", "–")))]
    versions = [
        f"{name.removesuffix('_version')} {attributes.pop(name)}"
        for name in list(attributes)
        if name.endswith("_version") and attributes[name]
    ]
    if versions:
        rows.append(("versions", ", ".join(versions)))
    rows += [(words(name), _short(value)) for name, value in attributes.items() if value is not None]
    rows.append(("recipe hash", str(found.get("recipe_hash") or "–")))
    for node, count in found["progress"].items():
        state = f"{count['done']} of {count['points']} points done"
        state += "".join(f", {count[key]} {words(key)}" for key in BAD if count[key])
        rows.append((node, state))
    return rows


def _checkpoints(entries: Sequence[Mapping[str, Any]], units: str) -> list[str]:
    """One line for each checkpoint."""
    measured = list(dict.fromkeys(key for entry in entries for key in entry if key != "name"))
    head = ["name", *(words(key) + (" (%)" if key.endswith("error") else f" ({units})") for key in measured)]
    rows = [
        [entry["name"], *((percent if key.endswith("error") else amount)(entry.get(key)) for key in measured)]
        for entry in entries
    ]
    return table([head, *rows], right=range(1, len(head)))


def _curves(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table for each pair, one line for each curve and split; the error's column only where there is one."""
    error = any("error" in entry for entry in entries)
    head = ["curve", "split", "barrier", "max loss", "at t", *(["error there"] if error else [])]
    head += ["arc length", "off plane", "points"]
    rows: list[Row] = [head]
    for entry in entries:
        bound = "≥ " if entry["barrier"] is not None and _partly(entry) else ""
        row = [entry["curve"], entry["split"], bound + amount(entry["barrier"]), amount(entry["max_loss"])]
        row.append("–" if entry["t"] is None else f"{entry['t']:.3f}")
        row += [percent(entry.get("error"))] if error else []
        row += [amount(entry.get("arc_length")), amount(entry.get("residual"))]
        state = f"{entry['done']}/{entry['points']}"
        rows.append([*row, state + "".join(f", {entry[key]} {words(key)}" for key in BAD if entry[key])])
    titles, *body = table(rows, right=range(2, len(head) - 1))
    lines: list[str] = []
    for entry, line in zip(entries, body, strict=True):
        title = f"pair {entry['pair']}: {entry['start']} – {entry['end']}"
        if title not in lines:
            lines += [*([""] if lines else []), title, titles]
        lines.append(line)
    return lines


def _partly(entry: Mapping[str, Any]) -> bool:
    """Whether some points of a curve don't count, so that its barrier is a lower bound."""
    return bool(entry["done"] < entry["points"] or entry["not_finite"] or entry["failed"])


def _history(entries: Sequence[Mapping[str, Any]], loss_units: str) -> list[str]:
    """One line for each split of a training run."""
    names = [key for key in entries[0] if key != "split"]
    loss = f" ({loss_units})"
    units = {"loss": loss, "lowest_loss": loss, "error": " (%)", "lowest_error": " (%)"}
    last = ("loss", "error", "step")
    head = ["split", *(("last " if key in last else "") + words(key) + units.get(key, "") for key in names)]
    rows = []
    for entry in entries:
        row = [str(entry["split"])]
        for key in names:
            value = entry.get(key)
            text = percent(value) if "error" in key else amount(value)
            row.append(text if key != "step" else str(value if value is not None else "–"))
        rows.append(row)
    return table([head, *rows], right=range(1, len(head)))


def _values(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line for each variable of an experiment."""
    rows: list[Row] = [["variable", "over", "lowest", "median", "highest", "units", "finite"]]
    for entry in entries:
        over = ", ".join(f"{dim} {size}" for dim, size in entry["dims"].items())
        amounts = [amount(entry[key]) for key in ("lowest", "median", "highest")]
        finite = f"{entry['finite']}/{entry['points']}"
        rows.append([f"{entry['node']}/{entry['variable']}", over, *amounts, entry["units"], finite])
    return table(rows, right=range(2, 5))


def _flat(recipe: Any, prefix: str = "") -> list[Row]:
    """A nested recipe as lines of dotted name and value."""
    if not isinstance(recipe, Mapping):
        return [(prefix or "text", _short(recipe))]
    rows: list[Row] = []
    for key, value in recipe.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            value = {str(position): item for position, item in enumerate(value)}
        rows += _flat(value, name) if isinstance(value, Mapping) and value else [(name, _short(value))]
    return rows


def _short(value: Any) -> str:
    """A value in one line of at most some 90 characters; hashes are cut to 12 digits."""
    if isinstance(value, list):
        text = ", ".join(_short(item) for item in value)
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    elif isinstance(value, float):
        text = f"{value:.6g}"
    else:
        text = "–" if value is None else str(value)
    if len(text) == 64 and all(letter in "0123456789abcdef" for letter in text):
        return text[:12] + "…"
    return text if len(text) <= 90 else text[:89] + "…"
