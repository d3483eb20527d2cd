"""Make ``art.png`` from the drawings of Debian's package ``openclipart-svg``.

Needed only to change the choice of signs. It wants ``cairosvg``, which Stoic itself
does not::

    apt-get download openclipart-svg && dpkg -x openclipart-svg_*.deb clipart
    pip install cairosvg
    python -m stoic.cases.signs.extract clipart/usr/share/openclipart/svg
"""

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from stoic.cases.signs.art import COLUMNS, SHEET, SIGNS, TILE

__all__ = ["main"]

_DRAWN = 8 * TILE
_PUBLIC_DOMAIN = "http://web.resource.org/cc/PublicDomain"


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw every sign and write them to one sheet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("drawings", type=Path, help="the folder openclipart/svg")
    drawings: Path = parser.parse_args(arguments).drawings
    sheet = Image.new("RGBA", (COLUMNS * TILE, -(-len(SIGNS) // COLUMNS) * TILE))
    for number, sign in enumerate(SIGNS):
        row, column = divmod(number, COLUMNS)
        tile = _fitted(_drawn(drawings / f"{sign.source}.svg"))
        sheet.paste(tile, (column * TILE, row * TILE))
    sheet.save(SHEET, optimize=True)
    print(f"{SHEET}: {len(SIGNS)} signs, {SHEET.stat().st_size} bytes")
    return 0


def _drawn(drawing: Path) -> Image.Image:
    import cairosvg

    text = drawing.read_bytes()
    if _PUBLIC_DOMAIN.encode() not in text:
        raise ValueError(f"{drawing} must be in the public domain, got no such mark")
    png = cairosvg.svg2png(bytestring=text, output_width=_DRAWN)
    return Image.open(io.BytesIO(png)).convert("RGBA")


def _fitted(drawn: Image.Image) -> Image.Image:
    """Cut to what is visible, then scale and centre it on a transparent tile."""
    visible = drawn.crop(drawn.getchannel("A").getbbox())
    scale = TILE / max(visible.size)
    width, height = (round(side * scale) for side in visible.size)
    # RGBa is premultiplied: transparent pixels lend no colour to their neighbours.
    small = visible.convert("RGBa").resize((width, height), Image.Resampling.LANCZOS)
    tile = Image.new("RGBA", (TILE, TILE))
    tile.paste(small.convert("RGBA"), ((TILE - width) // 2, (TILE - height) // 2))
    return tile


if __name__ == "__main__":
    raise SystemExit(main())
