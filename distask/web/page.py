"""Build pages that are one file: their scripts and styles, data for scripts, and the policy that allows no others."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

SHARED = Path(__file__).resolve().parent / "assets"


class Assets(Struct, frozen=True):
    """The style and the scripts of a page."""

    style: str
    script: str
    """All scripts, which share one scope."""
    vendored: tuple[str, ...]
    """Scripts of others, each with a scope of its own."""

    def policy(self, **more: str) -> str:
        """Return the content security policy: these scripts and styles, nothing from any network.

        Args:
            more: directive, with `_` for `-`, to its sources.
        """
        directives = {
            "default-src": "'none'",
            "script-src": _hashes(*self.vendored, self.script),
            "style-src": _hashes(self.style),
            "base-uri": "'none'",
            "form-action": "'none'",
            **{name.replace("_", "-"): sources for name, sources in more.items()},
        }
        return "; ".join(f"{name} {sources}" for name, sources in directives.items())


def read_assets(
    folder: Path, styles: Sequence[str], scripts: Sequence[str], vendored: Sequence[str] = ()
) -> Assets:  # fmt: skip
    """Read the files of a page, after those that all pages share; `folder` contains them, in page order."""
    style = [read_asset(SHARED, "page.css"), *(read_asset(folder, name) for name in styles)]
    script = [read_asset(SHARED, "dom.js"), *(read_asset(folder, name) for name in scripts)]
    return Assets(
        "\n".join(style),
        '"use strict";\n(() => {\n' + "\n".join(script) + "\n})();\n",
        tuple(read_asset(folder, name) for name in vendored),
    )


def read_asset(folder: Path, name: str) -> str:
    """Return the text of a file, without blank lines around it."""
    return (folder / name).read_text(encoding="utf-8").strip()


def script_data(value: Any) -> bytes:
    """Return JSON that is safe inside a `<script>`: no character can begin a tag, a comment or an entity."""
    return escape_json(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS, default=str))


def escape_json(data: bytes) -> bytes:
    """Return JSON as `script_data` writes it."""
    return data.replace(b"<", b"\\u003c").replace(b">", b"\\u003e").replace(b"&", b"\\u0026")


def _hashes(*texts: str) -> str:
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
