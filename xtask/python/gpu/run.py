"""Proves and measures Hone on a card: the runner of the folder that `cargo xtask gpu-bundle` makes.

    python3 run.py [--out results.json] [--only NAME[/PART],...] [--minutes M] [--ahead] [--device cuda|cpu] [--again] [--dry]

Only the standard library is needed; where torch (and transformers) can be imported, PyTorch runs beside Hone, else its
cells say why not. Steps run in this order, what must be right before what is fast, each with a time limit of its own:

    about        card, driver, cuBLASLt, torch
    conformance  every operation beside the f64 reference, f32 and bf16
    ops          a layer's operations: bf16 errors at most twice PyTorch's own
    trajectory   100 steps of a small BERT beside PyTorch's, and of MiniLM beside the CPU's
    repeat       the same bits, operations and whole runs, f32 and bf16
    graphs       steps captured and replayed: the same bits as one by one, and runs that end alike
    verbs        what `hone` does beside a run from end to end: --device auto, interrupted and resumed
    many         what trains many models, twice: crossval, study, tune
    sanitizer    compute-sanitizer (memcheck, synccheck, racecheck) over the conformance suite
    large128     G1, G3, G4: BERT-base, 256 texts of 128
    large512     G2: BERT-base, 64 texts of 512
    small        G5: BERT-base, 32 texts of 128
    lengths      G6: BERT-base, real lengths of SST-2
    kernels      each operation's share of what products and copies reach
    products     a layer's products by cuBLASLt's first algorithms, and by the fastest of its first few
    sst2         G9: MiniLM on SST-2, three seeds

Every result is in the JSON document as soon as it is known (written beside and renamed), so a killed run loses nothing;
run again, it goes on with the steps that are not done, and in those that time with what is not measured. A step is not
done while an opponent that is here lacks turns. With --ahead all opponents begin at once, beside the steps that time
nothing, which come first then; while something is timed those of other steps stand still. A document is of one card
(`document.py`). `--device cpu` does the same work on the CPU at tiny sizes: it proves this runner, not the card. The exit
code is 1 where a step failed.
"""

import json, os, signal, sys, time

import rivals
from document import Document, Step
from machine import about, ask, bundle, unpack
from options import DEADLINE, a
from programs import end_all
from proof import conformance, graphs, ops, repeat, sanitizer, trajectory
from timed import kernels, large128, large512, lengths, products, small, sst2
from turns import begin_ahead
from verbs import many, verbs

STEPS = [about, conformance, ops, trajectory, repeat, graphs, verbs, many, sanitizer, large128, large512, small, lengths, kernels, products, sst2]
# With --ahead these come last, and the step whose opponents take longest to start is the last of them.
TIMED = [large512, small, lengths, kernels, products, large128]


def ends_with(document):
    """What becomes of a signal: nothing outlives the runner, and the document says what was cut off."""

    def interrupted(number, _):
        end_all()
        for step in document.steps.values():
            if step["state"] == "running":
                step["state"] = "cut off"
        document.save()
        os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, interrupted)


def chosen():
    """The steps that are asked for, in their order. What later ones need to know of the machine is asked in every run: a
    document outlives a machine."""
    wanted = [x.split("/", 1)[0] for x in a.only.split(",") if x]
    unknown = [w for w in wanted if not any(step.__name__.startswith(w) for step in STEPS)]
    if unknown:
        sys.exit(f"--only {a.only}: steps are {', '.join(s.__name__ for s in STEPS)}")
    steps = [step for step in STEPS if not wanted or step is about or any(step.__name__.startswith(w) for w in wanted)]
    if a.ahead:
        steps = [step for step in steps if step not in TIMED] + [step for step in TIMED if step in steps]
    return steps


def take(document, step):
    """Takes one step, if there is time; whether nothing failed."""
    name = step.__name__
    if time.monotonic() > DEADLINE - 20:
        if name not in document.steps:
            document.steps[name] = dict(state="not begun: out of time", cells={})
            document.save()
        print(f"{name}: not begun, out of time", flush=True)
        return True
    print(f"{name}:", flush=True)
    s = Step(document, name)
    try:
        ok = step(s)
    except Exception as error:  # One step's trouble is no other's.
        s.put("error", f"{type(error).__name__}: {error}")
        ok = False
    if s.parts() and not s.met:
        s.put("error", f"--only {a.only}: no such part")
        ok = False
    # A part is not the whole: without --only the step is run again.
    s.end({True: "part" if s.parts() else "done", None: "skipped", False: "failed"}[ok])
    return ok is not False


def main():
    steps = chosen()
    unpack()
    run = dict(device=a.device, only=a.only, minutes=a.minutes, began_unix=round(time.time()), revision=bundle().get("revision"))
    document = Document(a.out, run, a.dry)
    ends_with(document)
    done = lambda step: step is not about and not a.again and document.steps.get(step.__name__, {}).get("state") == "done"
    bad = False
    try:
        if a.ahead and not a.dry:
            begin_ahead(document, [step.__name__ for step in steps if not done(step)])
        document.begin(ask())
        if not document.torch().get("ok"):
            rivals.end_ahead()
        for step in steps:
            if done(step):
                print(f"{step.__name__}: done before", flush=True)
            else:
                bad |= not take(document, step)
    finally:
        end_all()
    document.save()
    print(json.dumps(document.brief()), flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
