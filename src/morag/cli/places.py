"""Where a hit stands in its original, in words: page, slide, sheet, second, headings."""

from morag.domain.json import JsonObject


def place_of(hit: JsonObject) -> str:
    """`page 2 · Tides > Highest`, `at 1:05, Martin`, or nothing."""
    place = hit.get("place")
    told = {**place, **hit} if isinstance(place, dict) else hit
    parts = [f"{kind} {told[kind]}" for kind in ("page", "slide", "sheet") if told.get(kind) is not None]
    start_s = told.get("start_s")
    if isinstance(start_s, int | float):
        parts.append(f"at {clock(start_s)}")
    if told.get("speaker"):
        parts.append(str(told["speaker"]))
    headings = told.get("heading_path")
    if isinstance(headings, list) and headings:
        parts.append(" > ".join(map(str, headings)))
    return " · ".join(parts)


def clock(seconds: float) -> str:
    """65.2 is 1:05, 3671 is 1:01:11."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
