"""PyTorch beside Hone: an opponent is a process that is kept between its turns, and may begin ahead of its step.

Those that began ahead stand still while another step is timed (`still`). What that costs one that is yet starting is
counted, so that its start's seconds can be told from its waiting.
"""

import contextlib, json, os, queue, signal, subprocess, threading, time

from options import DEADLINE, HERE, WORK, a
from programs import end, left, show, start, tail

# Opponents that began ahead of their step, by step, cell and mode; `take` hands them over.
ahead = {}


class Rival:
    """PyTorch, kept alive between its turns: its start and its compiler are no part of a turn."""

    def __init__(self, name, argv, limit, log):
        self.name, self.limit, self.process = name, limit, None
        self.lines, self.gone = queue.Queue(), "gone"
        self.began, self.ready_at = time.monotonic(), None
        # Seconds of its start for which it stood still, and since when it does.
        self.halted_seconds, self.halted_since = 0.0, None
        self.started = dict(ok=False, error="dry")
        argv = [a.python, os.path.join(HERE, "torch_step.py"), *map(str, argv)]
        if a.dry:
            show(argv)
            return
        self.log = open(os.path.join(WORK, log), "wb+")
        env = dict(os.environ, TORCH_LOGS="inductor")
        self.process = start(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, env=env)
        threading.Thread(target=self.read, args=[self.process.stdout], daemon=True).start()

    def ready(self, spare):
        """Waits until it has started, for as long as it may take from now on; so many seconds must be left then."""
        if self.process is not None:
            self.started = self.answer(min(self.limit, DEADLINE - spare - time.monotonic()))
        return self.started

    def halt(self):
        """It and its compilers stand still, until they go on."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGSTOP)
            self.halted_since = time.monotonic()

    def go_on(self):
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGCONT)
            # One that has started waits for its turn in any case.
            if self.ready_at is None and self.halted_since is not None:
                self.halted_seconds += time.monotonic() - self.halted_since
        self.halted_since = None

    def waited(self):
        """What its start took by this clock, imports too, and for how much of that it stood still. Its own `start_seconds`
        begin behind its imports and tell the two not apart."""
        after = dict(ready_after_seconds=round(self.ready_at - self.began, 1)) if self.ready_at else {}
        return dict(after, halted_seconds=round(self.halted_seconds, 1))

    def said(self, lines):
        """The end of its log."""
        self.log.seek(0)
        return tail(self.log.read().decode("utf8", "replace"), lines)

    def read(self, out):
        for line in out:
            if self.ready_at is None and line.startswith(b"{"):
                self.ready_at = time.monotonic()
            self.lines.put(line)
        self.lines.put(None)

    def answer(self, limit):
        limit = left(limit)
        until = time.monotonic() + limit
        while True:
            try:
                line = self.lines.get(timeout=max(0.01, until - time.monotonic()))
            except queue.Empty:
                return self.leave(f"no answer within {limit:.0f} s", said=self.said(3))
            if line is None:
                return self.leave(f"it ended: {self.said(6)}")
            if line.startswith(b"{"):
                return dict(json.loads(line), ok=True)

    def turn(self, limit):
        if self.process is None:
            return dict(ok=False, error=self.gone)
        try:
            self.process.stdin.write(b"go\n")
            self.process.stdin.flush()
        except OSError:
            pass
        return self.answer(limit)

    def leave(self, error, **more):
        """It is ended, and later turns say why."""
        self.gone = error
        self.close()
        return dict(ok=False, error=error, **more)

    def close(self):
        if self.process is not None:
            end(self.process)
            self.process = None


def take(step, cell):
    """The opponents of a cell that began ahead, by mode; they are the taker's."""
    return {key[2]: ahead.pop(key) for key in list(ahead) if key[:2] == (step, cell)}


@contextlib.contextmanager
def still():
    """Opponents that began ahead and are not taken yet stand still."""
    others = list(ahead.values())
    for rival in others:
        rival.halt()
    if others:
        time.sleep(1)
    try:
        yield
    finally:
        for rival in others:
            rival.go_on()


def end_ahead():
    """Ends those that nobody has taken."""
    while ahead:
        ahead.popitem()[1].close()
