"""Starts a server and writes down every message that is sent to it, on the way: `tap.py FILE COMMAND…`."""

import subprocess
import sys

file, command = sys.argv[1], sys.argv[2:]
server = subprocess.Popen(command, stdin=subprocess.PIPE)
with open(file, "ab", buffering=0) as log:
    for line in sys.stdin.buffer:
        log.write(line)
        server.stdin.write(line)
        server.stdin.flush()
server.stdin.close()
sys.exit(server.wait())
