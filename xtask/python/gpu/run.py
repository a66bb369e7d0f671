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
done while an opponent that is here lacks turns. With --ahead opponents that compile begin at once, beside the steps that
time nothing, which come first then; while something is timed they stand still. A document is of one card (`document.py`). `--device cpu` does the same
work on the CPU at tiny sizes: it proves this runner, not the card. The exit code is 1 where a step failed.
"""

from concurrent import futures
from typing import NamedTuple, Optional

import argparse, contextlib, ctypes, glob, gzip, hashlib, json, os, platform, queue, shutil, signal, statistics, subprocess, sys, threading, time

from document import BEGAN, Document, Step, clock

HERE = os.path.dirname(os.path.abspath(__file__))
p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("--out", default="results.json", help="the JSON document (default: results.json)")
p.add_argument("--only", default="", help="only these steps, by name or its beginning; of some a part: many/tune")
p.add_argument("--minutes", type=float, default=0, help="stop in time for a lease of this length")
p.add_argument("--most", type=float, default=float("inf"), metavar="SECONDS", help="end any one program after so long")
p.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
p.add_argument("--again", action="store_true", help="repeat steps and cells that are done")
p.add_argument("--dry", action="store_true", help="print the commands and run none")
p.add_argument("--ahead", action="store_true", help="let opponents compile beside what is not timed")
p.add_argument("--repeats", type=int, default=5, help="turns of each opponent (default: 5)")
p.add_argument("--python", default=sys.executable or "python3", help="a Python with torch")
p.add_argument("--modes", default="", metavar="[STEP=]MODE,...", help="torch.compile's modes (default: by step)")
p.add_argument("--seeds", default="1,2,3", help="seeds of sst2 (default: 1,2,3)")
p.add_argument("--work", default=os.path.join(HERE, "work"), help="folder for what is unpacked and made")
a = p.parse_args()

CARD = a.device == "cuda"
WORK = os.path.abspath(a.work)
DEADLINE = BEGAN + a.minutes * 60 - 10 if a.minutes else float("inf")
# Large products are held against one of this size.
PRODUCT = 8192 if CARD else 512
# Seconds that opponents may take to start. On an H200's machine of 16 cores max-autotune took 492 from nothing.
STARTS = {"eager": 150, "max-autotune-products": 560, "max-autotune": 780}
# Seconds that a turn of all may take; so many are left for the turns however long an opponent is in starting. And those
# that are left for the start of one that compiles nothing.
TURN, START = 12, 30
# Parts of the conformance suite, each checked for races by itself.
RACES = ("rows", "sequences", "losses,arenas", "wide,sums", "products", "manyrows")
# Loaded here: a program that begins must not load anything before it is one.
LIBC = ctypes.CDLL(None)
children = set()


# ---- other programs -------------------------------------------------------------------------------------------------


def left(limit):
    """Seconds that something may take."""
    return max(1.0, min(limit, a.most, DEADLINE - time.monotonic()))


def end(process):
    """Ends a program and all it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    process.wait()
    children.discard(process)


def die_with_parent():
    """In a program that begins: it is killed when this runner is, however that happens (prctl's PR_SET_PDEATHSIG)."""
    LIBC.prctl(1, signal.SIGKILL)


def start(argv, **how):
    process = subprocess.Popen(argv, start_new_session=True, preexec_fn=die_with_parent, cwd=WORK, **how)
    children.add(process)
    return process


def tail(text, lines=12):
    return "\n".join(text.strip().splitlines()[-lines:])[-2000:]


def run(argv, limit, env=None, expect_json=True):
    """Runs a program: the object it printed, or what went wrong. Always with `ok`, `seconds`."""
    argv = [str(x) for x in argv]
    if a.dry:
        print("  " + " ".join(argv), flush=True)
        return dict(ok=True, dry=True, seconds=0)
    began = time.monotonic()
    limit = left(limit)
    try:
        process = start(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    except OSError as error:
        return dict(ok=False, error=f"{argv[0]}: {error.strerror}", seconds=0)
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        end(process)
        return dict(ok=False, error=f"ended after {limit:.0f} s", seconds=round(limit, 1), command=" ".join(argv))
    end(process)
    out, err = (x.decode("utf8", "replace") for x in (out, err))
    found = dict(ok=process.returncode == 0, seconds=round(time.monotonic() - began, 2))
    if not expect_json:
        return dict(found, code=process.returncode, said=tail(out + err, 30))
    try:
        said = json.loads(out[out.index("{"):])
        return dict(said, ok=found["ok"] and said.get("ok", True), seconds=found["seconds"])
    except ValueError:
        said = tail(err) or tail(out) or "nothing"
        return dict(ok=False, error=f"code {process.returncode}: {said}", seconds=found["seconds"], command=" ".join(argv))


class Rival:
    """PyTorch, kept alive between its turns: its start and its compiler are no part of a turn."""

    def __init__(self, name, argv, limit):
        self.name, self.lines, self.process, self.limit = name, queue.Queue(), None, limit
        self.started = dict(ok=False, error=doc_torch().get("error", "torch is not here"))
        if not doc_torch().get("ok"):
            return
        argv = [a.python, os.path.join(HERE, "torch_step.py"), *map(str, argv)]
        if a.dry:
            print("  " + " ".join(argv), flush=True)
            self.started = dict(ok=False, error="dry")
            return
        self.log = open(os.path.join(WORK, f"rival-{name}.log"), "wb+")
        env = dict(os.environ, TORCH_LOGS="inductor")
        self.process = start(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, env=env)
        threading.Thread(target=self.read, daemon=True).start()

    def ready(self, others=0):
        """Waits until it has started, for as long as it may take from now on; so many others are yet to begin."""
        if self.process is not None:
            spare = TURN * a.repeats + START * others
            self.started = self.answer(min(self.limit, DEADLINE - spare - time.monotonic()))
        return self.started

    def halt(self, still):
        """It and its compilers stand still, or go on."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGSTOP if still else signal.SIGCONT)

    def said(self, lines):
        """The end of its log."""
        self.log.seek(0)
        return tail(self.log.read().decode("utf8", "replace"), lines)

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def answer(self, limit):
        limit = left(limit)
        until = time.monotonic() + limit
        while True:
            try:
                line = self.lines.get(timeout=max(0.01, until - time.monotonic()))
            except queue.Empty:
                self.close()
                return dict(ok=False, error=f"no answer within {limit:.0f} s", said=self.said(3))
            if line is None:
                self.close()
                return dict(ok=False, error=f"it ended: {self.said(6)}")
            if line.startswith(b"{"):
                return dict(json.loads(line), ok=True)

    def turn(self, limit):
        if self.process is None:
            return dict(ok=False, error="gone")
        try:
            self.process.stdin.write(b"go\n")
            self.process.stdin.flush()
        except OSError:
            pass
        return self.answer(limit)

    def close(self):
        if self.process is not None:
            end(self.process)
            self.process = None


# ---- the machine ----------------------------------------------------------------------------------------------------


def library_folders():
    """Folders with CUDA's libraries, for Hone alone: PyTorch finds its own."""
    places = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    places += ["/usr/local/nvidia/lib64", "/usr/local/nvidia/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/wsl/lib"]
    places += sorted(glob.glob("/usr/local/cuda*/lib64"), reverse=True)
    places += sorted(glob.glob("/usr/local/cuda*/targets/x86_64-linux/lib"), reverse=True)
    ask = "import sys, sysconfig; print('\\n'.join([*sys.path, *sysconfig.get_paths().values()]))"
    try:
        said = subprocess.run([a.python, "-c", ask], capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        said = ""
    for site in dict.fromkeys(said.split("\n")):
        if site:
            places += sorted(glob.glob(os.path.join(site, "nvidia", "*", "lib")), reverse=True)
    found, libraries = [], {}
    for name in ("libcuda.so.1", "libcublasLt.so.13", "libcublasLt.so.12"):
        for place in places:
            path = os.path.join(place, name)
            if place and os.path.exists(path):
                # Versions of another year are of no use to a library found already.
                if not name.endswith(".12") or "libcublasLt.so.13" not in libraries:
                    libraries[name] = os.path.realpath(path)
                    found.append(place)
                break
    return list(dict.fromkeys(found)), libraries


def unpack():
    """Programs and the model into the folder for work, once."""
    for part, to in (("bin", WORK), ("model", MODEL)):
        os.makedirs(to, exist_ok=True)
        for path in glob.glob(os.path.join(HERE, part, "*")):
            zipped = path.endswith(".gz")
            out = os.path.join(to, os.path.basename(path)[: -3 if zipped else None])
            if os.path.exists(out) and os.path.getmtime(out) >= os.path.getmtime(path):
                continue
            with (gzip.open if zipped else open)(path, "rb") as f, open(out + ".part", "wb") as g:
                shutil.copyfileobj(f, g)
            os.chmod(out + ".part", 0o755 if part == "bin" else 0o644)
            os.replace(out + ".part", out)


def doc_torch():
    return doc.cells("about").get("torch", {})


def hone_env():
    env = dict(os.environ, HONE_CACHE=os.path.join(WORK, "cache"))
    env["LD_LIBRARY_PATH"] = ":".join([*FOLDERS, *filter(None, [env.get("LD_LIBRARY_PATH")])])
    return env


HONE, CARD_TESTS = os.path.join(WORK, "hone"), os.path.join(WORK, "hone-card")
MODEL, DATA, INPUTS = os.path.join(WORK, "model"), os.path.join(HERE, "data"), os.path.join(HERE, "inputs")
IMAGES = os.path.join(WORK, "cache", "cuda")


def hone(argv, limit):
    return run([HONE, *argv], limit, env=hone_env())


def card(argv, limit, precision="f32"):
    """`hone-card` on the device; the CPU knows f32 alone."""
    where = ["--device", a.device, "--precision", precision, "--images", IMAGES]
    return run([CARD_TESTS, argv[0], *where, *argv[1:]], limit, env=hone_env())


PRECISIONS = ["f32", "bf16"] if CARD else ["f32"]


def where(precision):
    return ["--device", a.device] + (["--precision", precision] if CARD else [])


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else hashlib.sha256(f.read()).hexdigest()


# ---- steps ----------------------------------------------------------------------------------------------------------


def ask():
    """The cells of `about`: what is here now."""
    cells = dict(machine=dict(system=platform.platform(), libc=" ".join(platform.libc_ver()), python=platform.python_version(), cores=os.cpu_count()))
    smi = shutil.which("nvidia-smi") or next(iter(glob.glob("/usr/local/nvidia/bin/nvidia-smi")), None)
    if smi:
        query = "--query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit"
        cells["nvidia_smi"] = run([smi, query, "--format=csv"], 30, expect_json=False)
    else:
        cells["nvidia_smi"] = dict(ok=False, error="nvidia-smi is not here")
    cells["libraries"] = LIBRARIES
    with open(os.path.join(HERE, "bundle.json"), encoding="utf8") as f:
        cells["bundle"] = json.load(f)
    code = (
        "import json, torch; o = dict(torch=torch.__version__, cuda=torch.version.cuda, available=torch.cuda.is_available());"
        "o['card'] = torch.cuda.get_device_name(0) if o['available'] else None\n"
        "try:\n import transformers; o['transformers'] = transformers.__version__\n"
        "except Exception as e:\n o['transformers_error'] = repr(e)\n"
        "print(json.dumps(o))"
    )
    found = run([a.python, "-c", code], 180)
    if found["ok"] and CARD and not found.get("available") and not a.dry:
        found.update(ok=False, error="torch sees no card")
    if found["ok"] and "transformers_error" in found:
        found.update(ok=False, error=found["transformers_error"])
    cells["torch"] = found
    cells.update({f"hone {p}": card(["about"], 120, p) for p in PRECISIONS})
    return cells


def about(s):
    for name, cell in doc.about.items():
        s.put(name, cell)
    return all(doc.about[f"hone {p}"]["ok"] for p in PRECISIONS)


def conformance(s):
    return all([s.put(p, card(["conformance"], 240, p))["ok"] for p in PRECISIONS])


def ops(s):
    ok = True
    size = ["--texts", "128x8,512,77,5,1x3"] if CARD else ["--hidden", "64", "--heads", "2", "--texts", "16x3,5,1"]
    for precision in PRECISIONS[-1:]:
        path = os.path.join(WORK, f"ops-{precision}.safetensors")
        ok &= s.put(precision, card(["ops", *size, "--out", path], 180, precision))["ok"]
        if not doc_torch().get("ok"):
            s.put(f"{precision} beside PyTorch", dict(doc_torch(), ok=None))
            continue
        found = run([a.python, os.path.join(HERE, "torch_ops.py"), path, "--device", a.device], 240)
        ok &= s.put(f"{precision} beside PyTorch", found)["ok"]
        if os.path.exists(path):
            os.remove(path)
    return ok


def losses(folder):
    with open(os.path.join(folder, "metrics.jsonl"), encoding="utf8") as f:
        events = [json.loads(line) for line in f]
    return [e["loss"] for e in events if e["event"] == "step"]


def train(s, name, options, limit, precision="f32", device=None):
    """A run of `hone train` on SST-2; its folder."""
    out = os.path.join(WORK, "runs", name)
    shutil.rmtree(out, ignore_errors=True)
    place = ["--device", device] if device else where(precision)
    data = ["--model", MODEL, "--data", os.path.join(DATA, "train.csv.gz")]
    found = hone(["train", *data, *options, *place, "--out", out, "--json"], limit)
    keep = ("ok", "error", "steps", "peak_memory_bytes", "command", "dry")
    # No time is told of what ran beside compilers.
    keep += () if ahead else ("seconds", "tokens_per_s")
    brief = {k: found[k] for k in keep if k in found}
    for part in ("valid", "test"):
        if isinstance(found.get(part), dict):
            brief[part] = {k: found[part].get(k) for k in ("accuracy", "loss", "rows")}
    return out, s.put(name, brief)


def trajectory(s):
    ok = all([s.put(f"small {p}", card(["trajectory", "--fixtures", os.path.join(INPUTS, "trajectory")], 240, p))["ok"] for p in PRECISIONS])
    steps = 100 if CARD else 3
    still = ["--valid", "none", "--max-steps", steps, "--no-shuffle", "--dropout", 0, "--attention-dropout", 0, "--head-dropout", 0]
    still += ["--lr", "5e-5", "--head-lr", "5e-5"]
    cpu, ran = train(s, "minilm cpu", still, 240, device="cpu")
    if not ran["ok"]:
        return False
    # Largest difference of a loss, and the least median cosine of the tensors' movements.
    for precision, (most, cosine) in dict(f32=(1e-3, 0.999), bf16=(5e-2, 0.9)).items():
        if precision not in PRECISIONS:
            continue
        out, ran = train(s, f"minilm {precision}", still, 240, precision)
        ok &= ran["ok"]
        if not ran["ok"] or a.dry:
            continue
        files = [os.path.join(x, "model.safetensors") for x in (cpu, out, MODEL)]
        found = run([CARD_TESTS, "movement", *files[:2], "--from", files[2]], 120)
        one, two = losses(cpu), losses(out)
        apart = max(abs(x - y) for x, y in zip(one, two))
        found.update(steps=len(two), first_loss=two[0], last_loss=two[-1], losses_apart=apart, losses_bound=most, cosine_bound=cosine)
        found["ok"] = found["ok"] and len(one) == len(two) == steps and apart <= most and found["median_cosine"] >= cosine
        ok &= s.put(f"minilm {precision} beside the CPU", found)["ok"]
    return ok


def repeat(s):
    ok = True
    for precision in PRECISIONS:
        ok &= s.put(f"operations {precision}", card(["repeat"], 240, precision))["ok"]
        if not CARD and os.cpu_count() < 2:
            continue
        hashes = []
        for k in (1, 2):
            options = ["--valid", "none", "--max-steps", 60 if CARD else 3, "--seed", 5]
            out, ran = train(s, f"run {k} {precision}", options, 180, precision)
            if ran["ok"] and not a.dry:
                hashes.append(sha256(os.path.join(out, "model.safetensors")))
        found = dict(ok=a.dry or len(hashes) == 2 and hashes[0] == hashes[1], sha256=hashes)
        ok &= s.put(f"runs {precision}", found)["ok"]
    return ok


def graphs(s):
    """Small steps as CUDA graphs, right first; `small`, `lengths` and `sst2` time them."""
    if not CARD:
        s.put("graphs", dict(ok=None, error="the CPU has none"))
        return None
    ok = all([s.put(f"small {p}", card(["graphs", "--fixtures", os.path.join(INPUTS, "trajectory")], 240, p))["ok"] for p in PRECISIONS])
    hashes, curves = [], []
    for name, more in (("run 1", []), ("run 2", []), ("without", ["--no-graphs"])):
        options = ["--valid", "none", "--max-steps", 200, "--seed", 5, *more]
        out, ran = train(s, f"minilm graphs {name}", options, 180, "bf16")
        ok &= ran["ok"]
        if ran["ok"] and not a.dry:
            hashes.append(sha256(os.path.join(out, "model.safetensors")))
            curves.append(losses(out))
    found = dict(ok=a.dry or len(hashes) == 3 and hashes[0] == hashes[1], sha256=hashes)
    if len(curves) == 3:
        # Fillers may move a sum's order, and with it rounding; nothing else.
        found["losses_apart"] = max(abs(x - y) for x, y in zip(curves[0], curves[2]))
        found["losses_bound"] = 0.1
        found["ok"] = found["ok"] and found["losses_apart"] <= found["losses_bound"]
    return s.put("minilm", found)["ok"] and ok


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


def interrupt(argv, out, step, limit):
    """Starts `hone`, sends it an interrupt once it has noted so many steps, and waits; its exit code must be 130."""
    if a.dry:
        print("  " + " ".join(map(str, [HONE, *argv])), flush=True)
        return dict(ok=True, dry=True)
    process = start([HONE, *map(str, argv)], env=hone_env(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + left(limit)
    path, noted = os.path.join(out, "metrics.jsonl"), 0
    while noted < step and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
        if os.path.exists(path):
            with open(path, "rb") as f:
                noted = f.read().count(b'"event":"step"')
    process.send_signal(signal.SIGINT)
    try:
        code = process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        code = None
    end(process)
    return dict(ok=code == 130, code=code, steps_noted=noted, step_asked_for=step)


def verbs(s):
    ok = True
    common = ["--model", MODEL, "--data", os.path.join(DATA, "dev.csv"), "--seed", 5]
    steps = 60 if CARD else 2

    # Nobody says where: the card is found.
    out = os.path.join(WORK, "runs", "auto")
    shutil.rmtree(out, ignore_errors=True)
    found = hone(["train", *common, "--recipe", "standard", "--valid", "none", "--max-steps", steps, "--out", out, "--json"], 120)
    if CARD:
        ok &= on_the_card(s, "train, device auto", found, found.get("kernel_path"))

    # Interrupted amid its steps and resumed: the bits of a run that was not.
    for precision in PRECISIONS:
        whole_steps, at = (600, 200) if CARD else (60, 8)
        options = ["--valid", "none", "--max-steps", whole_steps, "--seed", 5]
        whole, ran = train(s, f"whole {precision}", options, 180, precision)
        ok &= ran["ok"]
        broken = os.path.join(WORK, "runs", f"broken {precision}")
        shutil.rmtree(broken, ignore_errors=True)
        argv = ["train", "--model", MODEL, "--data", os.path.join(DATA, "train.csv.gz"), *options, *where(precision), "--out", broken, "--json"]
        cut = s.put(f"interrupted {precision}", interrupt(argv, broken, at, 120))
        resumed = hone([*argv, "--resume"], 180)
        same = dict(ok=bool(cut["ok"] and ran["ok"] and resumed["ok"]), error=resumed.get("error"))
        if same["ok"] and not a.dry:
            same["sha256"] = [sha256(os.path.join(x, "model.safetensors")) for x in (whole, broken)]
            same["ok"] = same["sha256"][0] == same["sha256"][1]
        ok &= s.put(f"resumed {precision}", same)["ok"]
    return ok


def many(s):
    """What trains many models, one after the other on the one device."""
    ok = True
    common = ["--model", MODEL, "--data", os.path.join(DATA, "dev.csv"), "--seed", 5]
    steps = 60 if CARD else 2
    some = ["--recipe", "standard", "--valid", "none", "--max-steps", steps, *where(PRECISIONS[-1])]
    for name, argv in {
        "crossval": ["crossval", *common, "--folds", 3, *some],
        "study": ["study", *common, "--practices", "longer", "--folds", 3, "--pairs", 2, *some],
        "tune": ["tune", *common, "--trials", 2, "--recipe", "standard", "--max-steps", steps, *where(PRECISIONS[-1])],
    }.items():
        if not s.asked(name):
            continue
        texts = []
        for turn in (1, 2):
            out = os.path.join(WORK, "runs", f"{name} {turn}")
            shutil.rmtree(out, ignore_errors=True)
            found = hone([*argv, "--out", out, "--json"], 180)
            ok &= on_the_card(s, f"{name}, run {turn}", found, recorded(out, "plan.json"))
            answers = os.path.join(out, "oof.csv")
            texts += [sha256(answers)] if os.path.exists(answers) else []
        if name == "crossval" and not a.dry:
            ok &= s.put("crossval twice", dict(ok=len(texts) == 2 and texts[0] == texts[1], sha256=texts))["ok"]
    return ok


def sanitizer(s):
    places = ["/usr/local/cuda*/bin/compute-sanitizer", "/usr/local/cuda*/compute-sanitizer/compute-sanitizer", "/opt/nvidia/*/compute-sanitizer"]
    tool = shutil.which("compute-sanitizer") or next((x for place in places for x in glob.glob(place)), None)
    if not CARD or not (tool or a.dry):
        s.put("compute-sanitizer", dict(ok=None, error="it is not here"))
        return None
    # Side by side: nothing is timed, and each is many times slower than the suite; races are looked for by parts, so
    # that one part's slowness leaves the others' answers.
    def check(precision, what, parts=""):
        command = [tool or "compute-sanitizer", "--tool", what, "--error-exitcode", "9", CARD_TESTS, "conformance"]
        command += ["--device", "cuda", "--precision", precision, "--images", IMAGES] + (["--parts", parts] if parts else [])
        return run(command, 400, env=hone_env(), expect_json=False)

    names = [(precision, what) for precision in reversed(PRECISIONS) for what in ("memcheck", "synccheck")]
    names += [(precision, "racecheck", parts) for precision in reversed(PRECISIONS) for parts in RACES]
    names = [name for name in names if s.asked(name[1])]
    with futures.ThreadPoolExecutor(8) as pool:
        begun = {pool.submit(check, *name): name for name in names}
        return all([s.put(" ".join(begun[done][1::-1] + begun[done][2:]), done.result())["ok"] for done in futures.as_completed(begun)])


def steady(rates):
    """Whether a rate has settled: two turns within 3 %, or eight turns, or no time for more."""
    alike = len(rates) > 1 and abs(rates[-1] / rates[-2] - 1) < 0.03
    late = bool(rates) and time.monotonic() > DEADLINE - TURN * a.repeats
    return alike or late or len(rates) > 7


def median(x):
    return statistics.median(x) if x else None


def lacks(cell, mode=None):
    """Whether an opponent, or Hone itself, has not had all its turns."""
    turns = cell["rivals"].get(mode, {}).get("tokens_per_s", []) if mode else cell["hone"]
    return len(turns) < a.repeats


def unmeasured(cell, opponents):
    """The opponents that are here and lack turns."""
    return [mode for mode in opponents if lacks(cell, mode)] if doc_torch().get("ok") and not a.dry else []


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
        return Rival(mode, argv + ([] if mode == "eager" else ["--compile", mode]), STARTS.get(mode, 300))


WORKS = dict(
    large128=[Work("base 256x128", 256, ["default", "max-autotune"], 128)],
    large512=[Work("base 64x512", 64, [], 512)],
    small=[Work("base 32x128", 32, ["reduce-overhead", "max-autotune"], 128, steps=30, graphs=True)],
    lengths=[Work(f"base {batch} texts of SST-2", batch, [], steps=30, graphs=True) for batch in (32, 256)],
)
# Opponents that began ahead of their step, by step, cell and mode.
ahead = {}


def begin_ahead(steps):
    """Begins what these steps will have compiled, the slowest first."""
    keys = [(step, work, mode) for step in steps for work in WORKS.get(step, []) for mode in work.opponents(step)[1:]]
    for step, work, mode in sorted(keys, key=lambda key: -STARTS.get(key[2], 300)):
        rival = work.rival(mode)
        if rival.process is not None:
            ahead[step, work.cell, mode] = rival


@contextlib.contextmanager
def still(step):
    """Opponents that began ahead of other steps stand still."""
    others = [rival for key, rival in ahead.items() if key[0] != step]
    for rival in others:
        rival.halt(True)
    if others:
        time.sleep(1)
    try:
        yield
    finally:
        for rival in others:
            rival.halt(False)


def bench(s, work):
    """Hone (where steps are small with and without graphs) and its opponents by turns; medians of useful tokens a second.

    What is measured whole stays. Of a cell that is not, opponents that had all their turns are not started again, if it
    is of this build; Hone has its turns beside the others, which count with those it had.
    """
    name, steps, opponents, revision = work.cell, work.steps if CARD else 1, work.opponents(s.name), doc.run["revision"]
    old = s.cell(name)
    if old.get("ok") and not old.get("cut") and not lacks(old) and not unmeasured(old, opponents) and not a.again:
        print(f"{name}: measured before", flush=True)
        return old
    whole = ["bench", "--shape", "base" if CARD else "minilm", *work.size(), "--json", *where("bf16")]
    own = [*whole, "--no-graphs"]
    # Before anything is timed.
    begun = {mode: ahead.pop((s.name, name, mode)) for mode in opponents if (s.name, name, mode) in ahead}
    for rival in begun.values():
        rival.ready(len(opponents) - len(begun))
    # A first run by phases; it also finds out whether anything works at all.
    phases = s.put(f"{name}: phases", hone([*own, "--steps", 5 if CARD else 1], 120))
    if not phases["ok"]:
        for rival in begun.values():
            rival.close()
        return None
    if old and old.get("revision") == revision and not a.again:
        cell = {k: v for k, v in old.items() if k != "error"}
    else:
        cell = dict(revision=revision, batch=work.batch, length=work.length or "SST-2", hone=[], peak_fraction=[], peak_gflop_per_s=[], rivals={})
        # What is to be replaced stays until it is.
        cell.update(dict(before=old.get("before", old)) if old else {})
    # So that one which is killed amid its turns is gone on with.
    cell.update(ok=False, cut="ended amid its turns")
    error = cut = None
    rivals = []
    try:
        for mode in opponents:
            if not lacks(cell, mode):
                continue
            early = begun.pop(mode, None)
            rival = early or work.rival(mode)
            record = cell["rivals"].setdefault(mode, dict(tokens_per_s=[]))
            record.pop("error", None)
            record["started"] = dict(early.started, ahead=True) if early else rival.ready()
            s.put(name, cell, quiet=True)
            print(f"{clock()} {s.name}: {name}: {mode}: {json.dumps(rival.started)[:200]}", flush=True)
            # Turns that do not count, until two are alike: its allocator meets the sizes that are to come.
            if rival.started["ok"]:
                warm, rates = dict(ok=True), []
                while not a.dry and warm["ok"] and not steady(rates):
                    warm = rival.turn(120)
                    rates += [warm["tokens_per_s"]] if warm["ok"] else []
                record["warm_up"] = rates
                if warm["ok"]:
                    rivals.append(rival)
                else:
                    record["error"] = warm["error"]
        for turn in range(1 if a.dry else a.repeats):
            behind = [rival for rival in rivals if lacks(cell, rival.name)]
            if not behind and not lacks(cell):
                break
            order = [None, *(["graphs"] if work.graphs and CARD else []), *behind]
            for who in order if turn % 2 == 0 else reversed(order):
                if time.monotonic() > DEADLINE - 5:
                    cut = f"out of time after {turn} turns"
                    break
                if who is None:
                    found = hone([*own, "--steps", 3, "--back-to-back", steps], 120)
                    if not found["ok"]:
                        error = found.get("error")
                    elif not a.dry:
                        cell["hone"].append(found["tokens_per_s"])
                        cell["peak_fraction"].append(found["peak_fraction"])
                        cell["peak_gflop_per_s"].append(found["peak_gflop_per_s"])
                elif who == "graphs":
                    found = hone([*whole, "--steps", 3, "--back-to-back", 3 * steps], 120)
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
                s.put(name, cell, quiet=True)
            if cut:
                break
    finally:
        for rival in [*rivals, *begun.values()]:
            rival.close()
    # Not done: it is gone on with when the runner is.
    missing = ", ".join(unmeasured(cell, opponents))
    cut = cut or (f"without all turns of {missing}" if missing else None)
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
    return s.put(name, cell)


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


def kernels(s):
    ok = True
    sizes = {"128": "128x256", "512": "512x64", "32x128": "128x32"} if CARD else {"16": "16x4"}
    for name, texts in sizes.items():
        small = [] if CARD else ["--hidden", "64", "--heads", "2"]
        argv = ["rates", *small, "--texts", texts, "--product", PRODUCT]
        ok &= s.put(f"texts of {name}", card(argv, 180, PRECISIONS[-1]))["ok"]
    return ok


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


TIMED = [large512, small, lengths, kernels, products, large128]
STEPS = [about, conformance, ops, trajectory, repeat, graphs, verbs, many, sanitizer, large128, large512, small, lengths, kernels, products, sst2]


def interrupted(number, _):
    for process in list(children):
        end(process)
    for step in doc.steps.values():
        if step["state"] == "running":
            step["state"] = "cut off"
    doc.save()
    os._exit(128 + number)


def main():
    wanted = [x.split("/", 1)[0] for x in a.only.split(",") if x]
    unknown = [w for w in wanted if not any(step.__name__.startswith(w) for step in STEPS)]
    if unknown:
        sys.exit(f"--only {a.only}: steps are {', '.join(s.__name__ for s in STEPS)}")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, interrupted)
    doc.begin(ask())
    bad = False
    # What later steps need to know of the machine is asked in every run: a document outlives a machine.
    steps = [step for step in STEPS if not wanted or step is about or any(step.__name__.startswith(w) for w in wanted)]
    if a.ahead:
        # The step whose opponents take longest comes last.
        steps = [step for step in steps if step not in TIMED] + [step for step in TIMED if step in steps]
    for step in steps:
        name = step.__name__
        state = doc.steps.get(name, {}).get("state")
        if state == "done" and not a.again and step is not about:
            print(f"{name}: done before", flush=True)
            continue
        if time.monotonic() > DEADLINE - 20:
            if state is None:
                doc.steps[name] = dict(state="not begun: out of time", cells={})
                doc.save()
            print(f"{name}: not begun, out of time", flush=True)
            continue
        print(f"{name}:", flush=True)
        s = Step(doc, name)
        try:
            with still(name) if step in TIMED else contextlib.nullcontext():
                ok = step(s)
        except Exception as error:  # One step's trouble is no other's.
            s.put("error", f"{type(error).__name__}: {error}")
            ok = False
        if s.parts() and not s.met:
            s.put("error", f"--only {a.only}: no such part")
            ok = False
        # A part is not the whole: without --only the step is run again.
        s.end({True: "part" if s.parts() else "done", None: "skipped", False: "failed"}[ok])
        bad |= ok is False
        if a.ahead and step is about:
            begin_ahead([step.__name__ for step in steps if doc.steps.get(step.__name__, {}).get("state") != "done" or a.again])
    for rival in ahead.values():
        rival.close()
    doc.save()
    print(json.dumps(doc.brief()), flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    unpack()
    FOLDERS, LIBRARIES = library_folders() if CARD else ([], {})
    doc = Document(a.out, dict(device=a.device, only=a.only, minutes=a.minutes, began_unix=round(time.time())), a.dry)
    sys.exit(main())
