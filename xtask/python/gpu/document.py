"""What the runner has measured, as one JSON document: its steps and their cells, kept as soon as they are known. Which steps
there are is in `run.py`; here is what becomes of their answers.

A document is of one card: figures of two do not stand in one table. A step that is begun again keeps its cells until
they are measured anew, each by itself.
"""

import json, os, sys, time

# What is asked of a card: enough, good, and better than was hoped for.
BARS = dict(
    G1=(0.45, 0.58, 0.66), G2=(0.42, 0.55, 0.63), G3=(1.4, 1.8, 2.5), G4=(1.0, 1.25, 1.5),
    G5_eager=(1.8, 3, 4), G5_compiled=(1.1, 1.4, 1.8), G6=(2, 3, 5), G9=(0.903, 0.907, 0.911),
)
BEGAN = time.monotonic()


def clock():
    return f"[{time.monotonic() - BEGAN:6.1f} s]"


def machine(about):
    """Card, driver, PyTorch and the bundle's revision, as the cells of the step `about` say them; None where they do not."""
    smi = about.get("nvidia_smi", {})
    lines = smi.get("said", "").splitlines() if smi.get("ok") else []
    name, driver = [x.strip() for x in lines[1].split(",")][:2] if len(lines) > 1 else (None, None)
    torch = about.get("torch", {})
    revision = about.get("bundle", {}).get("revision")
    return dict(card=name or torch.get("card"), driver=driver, torch=torch.get("torch"), revision=revision)


class Document:
    """Steps and their cells, on disk after every change."""

    def __init__(self, path, run, dry=False):
        self.path, self.run, self.dry = path, run, dry
        self.steps, self.runs, self.about = {}, [], {}
        try:
            with open(path, encoding="utf8") as f:
                old = json.load(f)
            self.steps, self.runs = old["steps"], old["runs"]
            if any(before["device"] != run["device"] for before in self.runs):
                sys.exit(f"{path}: of another --device; give another --out")
        except FileNotFoundError:
            pass
        except (ValueError, KeyError) as error:
            sys.exit(f"{path}: not a document of this runner ({error}); give another --out")

    def begin(self, about):
        """A run on the machine that these cells tell of; none on another card than the document's."""
        here = machine(about)
        # Documents that are older than this entry have what the step said.
        cards = [before.get("card") for before in self.runs] + [machine(self.cells("about"))["card"]]
        card = next((card for card in cards if card), None)
        if self.run["device"] == "cuda" and card and here["card"] and here["card"] != card:
            sys.exit(f"{self.path}: measured on {card}, and this is {here['card']}; give another --out")
        self.run.update(here)
        self.runs.append(self.run)
        self.about = about

    def cells(self, step):
        return self.steps.get(step, {}).get("cells", {})

    def torch(self):
        """What is known of PyTorch here: `ok` where it can be an opponent."""
        return self.about.get("torch", {})

    def parts(self, step):
        """The parts of a step that --only names."""
        named = [x.split("/", 1) for x in self.run["only"].split(",") if "/" in x]
        return [part for name, part in named if step.startswith(name)]

    def asks(self, step, part):
        """Whether a part of a step is to be done: all, or those that --only names."""
        parts = self.parts(step)
        return not parts or any(part.startswith(x) for x in parts)

    def bars(self):
        found = {}
        for name in self.steps:
            found.update(self.cells(name).get("bars", {}))
        return found

    def object(self):
        return dict(bars=self.bars(), runs=self.runs, steps=self.steps)

    def save(self):
        if self.dry:
            return
        beside = f"{self.path}.{os.getpid()}"
        with open(beside, "w", encoding="utf8") as f:
            json.dump(self.object(), f, indent=1)
            f.flush()
            os.fsync(f.fileno())
        os.replace(beside, self.path)

    def brief(self):
        """The document without its long lists: what the end of an output shows."""
        steps = {}
        for name, step in self.steps.items():
            wrong = [k for k, v in step["cells"].items() if isinstance(v, dict) and v.get("ok") is False]
            steps[name] = dict(state=step["state"], seconds=step.get("seconds"), **({"failed": wrong} if wrong else {}))
        return dict(bars=self.bars(), steps=steps, document=os.path.abspath(self.path))


class Step:
    """One step of the document; what is put into it is kept at once."""

    def __init__(self, document, name):
        self.document, self.name = document, name
        self.began = time.monotonic()
        # What it had measured stays, a killed run's bars with it, until it is measured again.
        cells = {cell: value for cell, value in document.cells(name).items() if cell != "error"}
        self.record = document.steps[name] = dict(state="running", cells=cells)
        self.met = False
        document.save()

    def parts(self):
        """The parts of it that --only names."""
        return self.document.parts(self.name)

    def asked(self, part):
        """Whether a part of it is to be done, which is noted."""
        found = self.document.asks(self.name, part)
        self.met |= found
        return found

    def cell(self, name):
        """What it has measured; nothing where that is empty."""
        return self.record["cells"].get(name, {})

    def put(self, name, value, quiet=False):
        self.record["cells"][name] = value
        self.document.save()
        if not quiet:
            shown = json.dumps(value)
            print(f"{clock()} {self.name}: {name}: {shown[:300]}", flush=True)
        return value

    def end(self, state):
        self.record.update(state=state, seconds=round(time.monotonic() - self.began, 1))
        self.document.save()

    def bar(self, name, value):
        if value is None or self.document.run["device"] == "cpu":
            return
        passed = [word for word, bar in zip(("pass", "good", "moonshot"), BARS[name]) if value >= bar]
        bars = self.cell("bars")
        bars[name] = dict(value=value, bars=BARS[name], reached=(passed or ["none"])[-1])
        self.put("bars", bars)
