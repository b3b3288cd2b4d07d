"""Turns a picture in the language Pikchr, on standard input, into SVG on standard output."""

import re
import sys

from pypikchr.util.pikchr import create_pikchr

svg = create_pikchr(sys.stdin.read(), "", 0, 0, 0)
if "<svg" not in svg:
    sys.exit(svg)
# the sizes of letters that Pikchr counts with are those of these fonts
svg = re.sub(r"<svg ", '<svg font-family="Helvetica, Arial, sans-serif" ', svg, count=1)
sys.stdout.write(svg)
