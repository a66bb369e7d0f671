"""A cell: training steps of BERT-base by Hone and by PyTorch, turn by turn on one card. What becomes of its medians is in
`timed.py`; how an opponent lives is in `rivals.py`.
"""

from typing import NamedTuple, Optional

import json, os, statistics, time

import rivals
from document import clock
from machine import hone
from options import CARD, DEADLINE, INPUTS, PRODUCT, a, where

# Seconds that opponents may take to start. On an H200's machine of 16 cores max-autotune took 492 from nothing.
STARTS = {"eager": 150, "max-autotune-products": 560, "max-autotune": 780}
# Seconds that a turn of all may take; so many are left for the turns however long an opponent is in starting. And those
# that are left for the start of one that compiles nothing.
TURN, START = 12, 30
# Turns that do not count: at most so many, and at most so many of them before the others stand still.
WARM_UP, BESIDE = 8, 4


class Work(NamedTuple):
    """Steps of BERT-base that are timed beside PyTorch's: texts, their length (none: SST-2's), steps a turn, and whether
    Hone has turns with graphs too."""

    cell: str
    batch: int
    modes: list
    length: Optional[int] = None
    steps: int = 10
    graphs: bool = False

    def opponents(self, step):
        """Eager PyTorch and torch.compile's modes: the usual ones, or those that --modes names."""
        named = [x.rpartition("=") for x in a.modes.split(",") if x]
        asked = [mode for where, _, mode in named if where == step] or [mode for where, _, mode in named if not where]
        return ["eager", *(asked or self.modes)]

    def size(self):
        """The options that Hone and PyTorch share."""
        batch, length = (self.batch, self.length) if CARD else (min(self.batch, 4), self.length and 8)
        lengths = os.path.join(INPUTS, "sst2-lengths.txt")
        return ["--batch", batch, *(["--length", length] if length else ["--lengths", lengths])]

    def rival(self, mode):
        """PyTorch in one of its modes, begun."""
        shape, steps = ("base", self.steps) if CARD else ("tiny", 1)
        argv = ["--shape", shape, *self.size(), "--steps", steps, "--device", a.device, "--bf16", "--rate", PRODUCT]
        argv += [] if mode == "eager" else ["--compile", mode]
        return rivals.Rival(mode, argv, STARTS.get(mode, 300), log=f"rival {self.cell} {mode}.log")

    def hone(self, more, graphs=False):
        """A process of `hone bench`."""
        argv = ["bench", "--shape", "base" if CARD else "minilm", *self.size(), "--json", *where("bf16")]
        return hone([*argv, *([] if graphs else ["--no-graphs"]), *more], 120)


WORKS = dict(
    large128=[Work("base 256x128", 256, ["default", "max-autotune"], 128)],
    large512=[Work("base 64x512", 64, [], 512)],
    small=[Work("base 32x128", 32, ["reduce-overhead", "max-autotune"], 128, steps=30, graphs=True)],
    lengths=[Work(f"base {batch} texts of SST-2", batch, [], steps=30, graphs=True) for batch in (32, 256)],
)


def median(x):
    return statistics.median(x) if x else None


def lacks(cell, mode=None):
    """Whether an opponent, or Hone itself, has not had all its turns."""
    turns = cell["rivals"].get(mode, {}).get("tokens_per_s", []) if mode else cell["hone"]
    return len(turns) < a.repeats


def lacking(cell, opponents):
    """The opponents that have not had all their turns."""
    return [mode for mode in opponents if lacks(cell, mode)]


def whole(old, opponents):
    """Whether a cell has all that is asked of it."""
    return bool(old.get("ok") and not old.get("cut") and not lacks(old) and not lacking(old, opponents) and not a.again)


def begun(old, work, revision):
    """The cell that is gone on with: what was measured of this build, or one that is new."""
    if old and old.get("revision") == revision and not a.again:
        return {k: v for k, v in old.items() if k != "error"}
    cell = dict(revision=revision, batch=work.batch, length=work.length or "SST-2", hone=[], peak_fraction=[], peak_gflop_per_s=[], rivals={})
    # What is to be replaced stays until it is.
    return dict(cell, before=old.get("before", old)) if old else cell


def begin_ahead(document, steps):
    """Begins the opponents that these steps will need, the slowest first. Whether torch is here is found out meanwhile."""
    wanted = []
    for step in steps:
        for work in WORKS.get(step, []):
            old, opponents = document.cells(step).get(work.cell, {}), work.opponents(step)
            if document.asks(step, str(work.batch)) and not whole(old, opponents):
                wanted += [(step, work, mode) for mode in lacking(begun(old, work, document.run["revision"]), opponents)]
    for step, work, mode in sorted(wanted, key=lambda key: -STARTS.get(key[2], 300)):
        rivals.ahead[step, work.cell, mode] = work.rival(mode)


def settle(rival, most):
    """Turns that do not count, until two are within 3 % or there is no time for more: its allocator meets the sizes that
    are to come. Their rates, and what went wrong."""
    rates = []
    while len(rates) < most:
        turn = rival.turn(120)
        if not turn["ok"]:
            return rates, turn["error"]
        rates.append(turn["tokens_per_s"])
        alike = len(rates) > 1 and abs(rates[-1] / rates[-2] - 1) < 0.03
        if alike or time.monotonic() > DEADLINE - TURN * a.repeats:
            break
    return rates, None


def bench(s, work):
    """Hone (where steps are small with and without graphs) and its opponents by turns; medians of useful tokens a second.

    What is measured whole stays. Of a cell that is not, opponents that had all their turns are not started again, if it
    is of this build; Hone has its turns beside the others, which count with those it had.
    """
    old, here = s.cell(work.cell), s.document.torch().get("ok") and not a.dry
    opponents = work.opponents(s.name)
    if whole(old, opponents if here else []):
        print(f"{work.cell}: measured before", flush=True)
        return old
    cell = begun(old, work, s.document.run["revision"])
    early = rivals.take(s.name, work.cell)
    playing, beside = [], {}
    try:
        # Before anything is timed, while those of other steps go on.
        needed = lacking(cell, opponents)
        for rival in [early[mode] for mode in needed if mode in early]:
            if rival.ready(TURN * a.repeats + START * (len(needed) - len(early)))["ok"]:
                beside[rival.name], _ = settle(rival, BESIDE)
        with rivals.still():
            # A first run by phases; it also finds out whether anything works at all.
            if not s.put(f"{work.cell}: phases", work.hone(["--steps", 5 if CARD else 1]))["ok"]:
                return None
            # So that one which is killed amid its turns is gone on with.
            cell.update(ok=False, cut="ended amid its turns")
            for mode in needed:
                playing += enter(s, work, cell, mode, early.get(mode), beside.get(mode, []))
            error, cut = by_turns(s, work, cell, playing)
    finally:
        for rival in [*playing, *early.values()]:
            rival.close()
    # Not done: it is gone on with when the runner is.
    missing = ", ".join(lacking(cell, opponents)) if here else ""
    return s.put(work.cell, summed(cell, error, cut or (f"without all turns of {missing}" if missing else None)))


def enter(s, work, cell, mode, early, beside):
    """An opponent, started and warm, in a list; an empty one where it did not get so far."""
    record = cell["rivals"].setdefault(mode, dict(tokens_per_s=[]))
    record.pop("error", None)
    torch = s.document.torch()
    rival = early or (work.rival(mode) if torch.get("ok") else None)
    if early:
        # Neither its seconds nor its product's rate are of a machine that had no other work.
        record["started"] = dict(early.started, ahead=True, **early.waited())
    else:
        record["started"] = rival.ready(TURN * a.repeats) if rival else dict(ok=False, error=torch.get("error", "torch is not here"))
    s.put(work.cell, cell, quiet=True)
    print(f"{clock()} {s.name}: {work.cell}: {mode}: {json.dumps(record['started'])[:200]}", flush=True)
    if not record["started"]["ok"]:
        return []
    record["warm_up"], error = settle(rival, WARM_UP - len(beside))
    record.update(dict(warm_up_beside=beside) if beside else {}, **(dict(error=error) if error else {}))
    if error:
        rival.close()
    return [] if error else [rival]


def by_turns(s, work, cell, playing):
    """The turns, in an order that is turned round each time. What went wrong with Hone, and what cut them off."""
    error, steps = None, work.steps if CARD else 1
    for turn in range(1 if a.dry else a.repeats):
        behind = [rival for rival in playing if lacks(cell, rival.name)]
        if not behind and not lacks(cell):
            break
        order = [None, *(["graphs"] if work.graphs and CARD else []), *behind]
        for who in order if turn % 2 == 0 else reversed(order):
            if time.monotonic() > DEADLINE - 5:
                return error, f"out of time after {turn} turns"
            if who is None:
                found = work.hone(["--steps", 3, "--back-to-back", steps])
                if not found["ok"]:
                    error = found.get("error")
                elif not a.dry:
                    cell["hone"].append(found["tokens_per_s"])
                    cell["peak_fraction"].append(found["peak_fraction"])
                    cell["peak_gflop_per_s"].append(found["peak_gflop_per_s"])
            elif who == "graphs":
                found = work.hone(["--steps", 3, "--back-to-back", 3 * steps], graphs=True)
                record = cell.setdefault("hone_graphs", dict(tokens_per_s=[]))
                record.update(ok=found["ok"])
                if not found["ok"]:
                    error = record["error"] = found.get("error")
                elif not a.dry:
                    record["tokens_per_s"].append(found["tokens_per_s"])
            else:
                found = who.turn(120)
                record = cell["rivals"][who.name]
                if found["ok"]:
                    record["tokens_per_s"].append(found["tokens_per_s"])
                    record.update(fill=found["fill"], peak_memory_bytes=found["peak_memory_bytes"])
                else:
                    record["error"] = found["error"]
            s.put(work.cell, cell, quiet=True)
    return error, None


def summed(cell, error, cut):
    """A cell with its medians, and with what went wrong or is left."""
    cell = {k: v for k, v in cell.items() if k != "cut"}
    cell.update(ok=not error and not cut, **(dict(error=error) if error else {}), **(dict(cut=cut) if cut else {}))
    if cell["ok"]:
        cell.pop("before", None)
    mine = cell["hone_tokens_per_s"] = median(cell["hone"])
    if cell.get("hone_graphs"):
        with_graphs = median(cell["hone_graphs"]["tokens_per_s"])
        cell["hone_graphs"]["median_tokens_per_s"] = with_graphs
        # As it comes, small steps are graphs.
        mine = with_graphs or mine
    cell["hone_peak_fraction"] = median(cell["peak_fraction"])
    for record in cell["rivals"].values():
        record["median_tokens_per_s"] = median(record["tokens_per_s"])
        record["hone_is_faster_by"] = mine / record["median_tokens_per_s"] if mine and record["tokens_per_s"] else None
    return cell
