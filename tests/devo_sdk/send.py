"""Sends what standard input has with Devo's own sender: one JSON object a line, with date, hostname, tag, message."""

import json
import sys

from devo.sender import Sender, SenderConfigSSL

host, port, key, cert, chain = sys.argv[1:]
sender = Sender(SenderConfigSSL(address=(host, int(port)), key=key, cert=cert, chain=chain))
for line in sys.stdin:
    record = json.loads(line)
    sender.send(record["tag"], record["message"], date=record["date"], hostname=record["hostname"])
sender.close()
