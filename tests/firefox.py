"""Firefox through its own remote protocol (WebDriver BiDi), since Debian's has no driver program beside it."""

import json
import os
import re
import subprocess
import time

import websocket


class Firefox:
    """A headless Firefox with a profile of its own.

    Args:
        program: path of firefox. folder: where its profile goes.
    """

    def __init__(self, program, folder):
        self.command = [program, "--headless", "--no-remote", "--profile", str(folder), "--remote-debugging-port", "0"]
        self.log = folder / "said.txt"

    def __enter__(self):
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, env={**os.environ, "MOZ_DISABLE_CONTENT_SANDBOX": "1"}
            )
        deadline, found = time.monotonic() + 60, None
        while not found and time.monotonic() < deadline:
            found = re.search(r"WebDriver BiDi listening on (ws://\S+)", self.log.read_text(errors="replace"))
            time.sleep(0.2)
        assert found, self.log.read_text(errors="replace")
        self.socket = websocket.create_connection(f"{found[1]}/session", timeout=60, suppress_origin=True)
        self.asked = 0
        self.ask("session.new", capabilities={})
        self.page = self.ask("browsingContext.getTree")["contexts"][0]["context"]
        return self

    def __exit__(self, *error):
        self.socket.close()
        self.process.terminate()
        self.process.wait(20)

    def ask(self, method, **given):
        self.asked += 1
        self.socket.send(json.dumps({"id": self.asked, "method": method, "params": given}))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == self.asked:
                assert answer["type"] == "success", answer
                return answer["result"]

    def go(self, address):
        self.ask("browsingContext.navigate", context=self.page, url=address, wait="complete")

    def run(self, expression):
        """The value of an expression in the page: a string, a number or a boolean."""
        answer = self.ask("script.evaluate", expression=expression, target={"context": self.page}, awaitPromise=True)
        assert answer["type"] == "success", answer
        return answer["result"].get("value")

    def until(self, expression, seconds=20):
        """Wait until it is true."""
        deadline = time.monotonic() + seconds
        while not self.run(expression):
            assert time.monotonic() < deadline, f"never true: {expression}"
            time.sleep(0.2)
