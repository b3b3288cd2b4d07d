"""Sends what standard input has with Devo's own sender: one JSON object a line, with date, hostname, tag, message.

With a last argument `zip` it packs the records into gzip members.
"""

import json
import sys

from devo.sender import Sender, SenderConfigSSL

host, port, key, cert, chain, *packed = sys.argv[1:]
sender = Sender(SenderConfigSSL(address=(host, int(port)), key=key, cert=cert, chain=chain))
for line in sys.stdin:
    record = json.loads(line)
    if packed:
        record = {name: text.encode() for name, text in record.items()}
    sender.send(record["tag"], record["message"], date=record["date"], hostname=record["hostname"], zip=bool(packed))
sender.flush_buffer()
sender.close()
