"""What `hone` does beside a run of `train`, from end to end: where it computes, that an interrupted run is resumed to the
bit, pre-training, and what trains many models.
"""

import math, os, statistics

from machine import hone, hone_env
from options import CARD, DATA, HONE, MODEL, PRECISIONS, a, where
from programs import interrupt
from runs import TRAIN, fit, losses, sha256, train, twice, vacant, weights

# Texts that are soon read, and steps that are soon done.
FEW = ["--model", MODEL, "--data", os.path.join(DATA, "dev.csv"), "--seed", 5]
STEPS = 60 if CARD else 2
# Losses of so many steps are one figure, where there are twice as many.
MEAN = 10


def on_the_card(s, name, found, path):
    """A verb's answer, with the path that its folder has recorded; it must be the device's."""
    brief = {k: found[k] for k in ("ok", "error", "seconds", "command", "dry") if k in found}
    brief["kernel_path"] = path
    brief["ok"] = bool(a.dry or brief["ok"] and path and path.startswith(a.device))
    return s.put(name, brief)["ok"]


def recorded(out, file):
    """The first `kernel_path` in a JSON file of a folder."""
    try:
        with open(os.path.join(out, file), encoding="utf8") as f:
            text = f.read()
    except OSError:
        return None
    return text.split('"kernel_path"', 1)[1].split('"')[1] if '"kernel_path"' in text else None


def verbs(s):
    ok = True
    for name, check in (("auto", auto), ("resumed", resumed), ("pretrain", pretrain)):
        if s.asked(name):
            ok &= check(s)
    return ok


def auto(s):
    """Nobody says where: the card is found."""
    argv = ["train", *FEW, "--recipe", "standard", "--valid", "none", "--max-steps", STEPS]
    found = hone([*argv, "--out", vacant("auto"), "--json"], 120)
    return not CARD or on_the_card(s, "train, device auto", found, found.get("kernel_path"))


def resumed(s):
    """Interrupted amid its steps and resumed: the bits of a run that was not."""
    ok = True
    for precision in PRECISIONS:
        whole_steps, at = (600, 200) if CARD else (60, 8)
        options = ["--valid", "none", "--max-steps", whole_steps, "--seed", 5]
        whole, ran = train(s, f"whole {precision}", options, 180, precision)
        ok &= ran["ok"]
        broken = vacant(f"broken {precision}")
        argv = ["train", "--model", MODEL, "--data", TRAIN, *options, *where(precision), "--out", broken, "--json"]
        cut = s.put(f"interrupted {precision}", interrupt([HONE, *argv], broken, at, 120, hone_env()))
        again = hone([*argv, "--resume"], 180)
        same = dict(ok=bool(cut["ok"] and ran["ok"] and again["ok"]), error=again.get("error"))
        if same["ok"] and not a.dry:
            same["sha256"] = [weights(whole), weights(broken)]
            same["ok"] = same["sha256"][0] == same["sha256"][1]
        ok &= s.put(f"resumed {precision}", same)["ok"]
    return ok


def pretrain(s):
    """Masked words of the field's texts: the same bits twice, and losses that are numbers and fall."""
    ok = True
    argv = ["pretrain", *FEW, "--valid", "none", "--max-steps", STEPS]
    for precision in PRECISIONS:
        folders, found = twice(lambda k: fit(s, f"pretrain {k} {precision}", argv, 180, precision))
        if folders:
            curve = losses(folders[0])
            found.update(steps=len(curve), **(dict(first_loss=curve[0], last_loss=curve[-1]) if curve else {}))
            # What is no number is null there.
            finite = all(isinstance(x, (int, float)) and math.isfinite(x) for x in curve)
            found["finite"] = finite
            if finite and len(curve) >= 2 * MEAN:
                found["falls"] = statistics.mean(curve[-MEAN:]) < statistics.mean(curve[:MEAN])
            found["ok"] = found["ok"] and len(curve) == STEPS and finite and found.get("falls", True)
        ok &= s.put(f"pretrain {precision}", found)["ok"]
    return ok


def many(s):
    """What trains many models, one after the other on the one device."""
    ok = True
    some = ["--recipe", "standard", "--valid", "none", "--max-steps", STEPS, *where(PRECISIONS[-1])]
    for name, argv in {
        "crossval": ["crossval", *FEW, "--folds", 3, *some],
        "study": ["study", *FEW, "--practices", "longer", "--folds", 3, "--pairs", 2, *some],
        "tune": ["tune", *FEW, "--trials", 2, "--recipe", "standard", "--max-steps", STEPS, *where(PRECISIONS[-1])],
    }.items():
        if not s.asked(name):
            continue
        texts = []
        for turn in (1, 2):
            out = vacant(f"{name} {turn}")
            found = hone([*argv, "--out", out, "--json"], 180)
            ok &= on_the_card(s, f"{name}, run {turn}", found, recorded(out, "plan.json"))
            answers = os.path.join(out, "oof.csv")
            texts += [sha256(answers)] if os.path.exists(answers) else []
        if name == "crossval" and not a.dry:
            ok &= s.put("crossval twice", dict(ok=len(texts) == 2 and texts[0] == texts[1], sha256=texts))["ok"]
    return ok
