#!/usr/bin/env python3
"""An agent that deploys: to staging at once, to production after a person said yes.

Needs nothing but Python 3.9. Give it what `placet up` printed:

    PLACET_AGENT_TOKEN=placet_agent_… python3 examples/agent.py [VERSION]
"""

import json
import os
import secrets
import sys
import urllib.error
import urllib.request

AGENTS_URL = os.environ.get("PLACET_AGENTS_URL", "http://127.0.0.1:7071")
TOKEN = os.environ.get("PLACET_AGENT_TOKEN") or sys.exit("set PLACET_AGENT_TOKEN to the token that `placet up` printed")
WAIT_SECONDS = 50  # the longest that one call may wait
OPEN = ("pending",)
VERSION = sys.argv[1] if len(sys.argv) > 1 else "1.4.2"


def call(method, path, body=None):
    """One call at the agents' door. A refusal by policy or person is an answer; only a bad call is an error."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/json"}
    if data is not None:
        headers["Content-Type"] = "application/json"
    request = urllib.request.Request(AGENTS_URL + path, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS + 10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        problem = json.load(error)
        sys.exit(f"{problem['code']}: {problem.get('detail', problem['title'])}")


def deploy(environment):
    print(f"deploy shop {VERSION} to {environment}")
    request = call("POST", "/v1/requests?wait=1", {
        "action": "example.deploy",
        "resource": {"type": "Example", "id": environment},
        "arguments": {"service": "shop", "version": VERSION},
        "justification": f"The fix for the checkout is in {VERSION}.",
    })
    while request["status"] in OPEN:
        print(f"  waits for a person: {request['review']['url']}  (code {request['short_code']})")
        request = call("GET", f"/v1/requests/{request['id']}?wait={WAIT_SECONDS}&version={request['version']}")

    if request["status"] == "succeeded":
        # The same question, asked again within ten minutes of what a person approved, gets the recorded answer.
        print(f"  done before: {request['outcome']['summary']}")
        return True
    if request["status"] != "granted":
        because = (request.get("denial") or {}).get("reason") or "no reason given"
        print(f"  {request['status']}: {because}")
        return False

    # From here on the grant is used up: claim it, do exactly what was approved, say how it went.
    claim = call("POST", f"/v1/requests/{request['id']}/execution", {
        "digest": request["digest"],
        "claim": secrets.token_hex(16),
    })
    approved = json.loads(claim["canonical"])["arguments"]
    print(f"  deploying {approved['service']} {approved['version']} …")
    request = call("POST", f"/v1/requests/{request['id']}/outcome", {
        "execution_id": claim["execution_id"],
        "outcome": "succeeded",
        "summary": f"{approved['service']} {approved['version']} runs on {environment}",
        "measures": {"instances": 3},
    })
    print(f"  {request['status']}, recorded in ledger entries {request['ledger']['entries']}")
    return True


if __name__ == "__main__":
    sys.exit(0 if all([deploy("staging"), deploy("production")]) else 1)
