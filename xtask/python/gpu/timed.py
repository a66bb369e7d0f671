"""Steps that are timed, and what of their cells is held against the bars. How a cell is measured is in `turns.py`."""

import os, statistics

from machine import card
from options import CARD, DATA, PRECISIONS, PRODUCT, a
from runs import train
from rivals import still
from turns import WORKS, bench, lacks


def against(cell, modes):
    """Hone's ratio to the fastest of these opponents; none unless each of them had all its turns."""
    if not modes or any(lacks(cell, mode) for mode in modes):
        return None
    ratios = [cell["rivals"][mode]["hone_is_faster_by"] for mode in modes]
    return min(ratios) if all(ratios) else None


def share(cell):
    """Its part of the peak; none unless it had all its turns."""
    return None if lacks(cell) else cell["hone_peak_fraction"]


def large128(s):
    [work] = WORKS["large128"]
    cell = bench(s, work)
    if cell is None:
        return False
    s.bar("G1", share(cell))
    s.bar("G3", against(cell, ["eager"]))
    s.bar("G4", against(cell, work.opponents(s.name)[1:]))
    return cell["ok"]


def large512(s):
    cell = bench(s, WORKS["large512"][0])
    if cell is None:
        return False
    s.bar("G2", share(cell))
    return cell["ok"]


def small(s):
    [work] = WORKS["small"]
    cell = bench(s, work)
    if cell is None:
        return False
    s.bar("G5_eager", against(cell, ["eager"]))
    s.bar("G5_compiled", against(cell, work.opponents(s.name)[1:]))
    return cell["ok"]


def lengths(s):
    cells = {work.batch: bench(s, work) for work in WORKS["lengths"] if s.asked(str(work.batch))}
    if None in cells.values():
        return False
    if 32 in cells:
        s.bar("G6", against(cells[32], ["eager"]))
    return all(cell["ok"] for cell in cells.values())


@still()
def kernels(s):
    ok = True
    sizes = {"128": "128x256", "512": "512x64", "32x128": "128x32"} if CARD else {"16": "16x4"}
    for name, texts in sizes.items():
        small = [] if CARD else ["--hidden", "64", "--heads", "2"]
        argv = ["rates", *small, "--texts", texts, "--product", PRODUCT]
        ok &= s.put(f"texts of {name}", card(argv, 180, PRECISIONS[-1]))["ok"]
    return ok


@still()
def products(s):
    small = [] if CARD else ["--hidden", "64", "--tokens", "16,5"]
    ok = True
    for precision in reversed(PRECISIONS):
        ok &= s.put(precision, card(["products", *small], 180, precision))["ok"]
    return ok


def sst2(s):
    accuracies, ok = [], True
    for seed in a.seeds.split(","):
        options = ["--lr", "5e-5", "--head-lr", "5e-5", "--select", "last", "--seed", seed]
        options += ["--valid", os.path.join(DATA, "dev.csv"), "--test", os.path.join(DATA, "test.csv")]
        options += [] if CARD else ["--max-steps", 3]
        _, ran = train(s, f"seed {seed}", options, 420, "bf16")
        ok &= ran["ok"]
        accuracies += [ran["test"]["accuracy"]] if ran["ok"] and not a.dry else []
    if CARD:
        # The first seed once more, without graphs: the same, and how much later.
        options = ["--lr", "5e-5", "--head-lr", "5e-5", "--select", "last", "--seed", a.seeds.split(",")[0], "--no-graphs"]
        options += ["--valid", os.path.join(DATA, "dev.csv"), "--test", os.path.join(DATA, "test.csv")]
        ok &= train(s, "without graphs", options, 420, "bf16")[1]["ok"]
    s.put("test accuracy", dict(seeds=accuracies, mean=statistics.mean(accuracies) if accuracies else None, cpu=0.907))
    if len(accuracies) == len(a.seeds.split(",")) and CARD:
        s.bar("G9", statistics.mean(accuracies))
    return ok
