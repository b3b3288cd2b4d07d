"""Turns a picture in the language Pikchr, on standard input, into SVG on standard output."""

import re
import sys

from pypikchr.util.pikchr import create_pikchr

# so that a picture is about as wide as a page
SCALE = 0.75

svg = create_pikchr(sys.stdin.read(), "", 0, 0, 0)
box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
if not box:
    sys.exit(svg)
width, height = (round(float(side) * SCALE) for side in box.groups())
# the widths of letters that Pikchr counts with are those of these fonts
font = 'font-family="Helvetica, Arial, sans-serif"'
sys.stdout.write(re.sub(r'<svg (.*?) class="" ', rf'<svg \1 width="{width}" height="{height}" {font} ', svg, count=1))
