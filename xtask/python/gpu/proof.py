"""What must be right before anything is timed: operations, steps and whole runs, and that they repeat to the bit."""

from concurrent import futures

import glob, os, shutil

from machine import card, hone_env
from options import CARD, CARD_TESTS, HERE, IMAGES, INPUTS, MODEL, PRECISIONS, WORK, a
from programs import run
from runs import losses, train, twice, weights

# Parts of the conformance suite, each checked for races by itself.
RACES = ("rows", "sequences", "losses,arenas", "wide,sums", "products", "manyrows")


def conformance(s):
    return all([s.put(p, card(["conformance"], 240, p))["ok"] for p in PRECISIONS])


def ops(s):
    ok = True
    size = ["--texts", "128x8,512,77,5,1x3"] if CARD else ["--hidden", "64", "--heads", "2", "--texts", "16x3,5,1"]
    for precision in PRECISIONS[-1:]:
        path = os.path.join(WORK, f"ops-{precision}.safetensors")
        ok &= s.put(precision, card(["ops", *size, "--out", path], 180, precision))["ok"]
        if not s.document.torch().get("ok"):
            s.put(f"{precision} beside PyTorch", dict(s.document.torch(), ok=None))
            continue
        found = run([a.python, os.path.join(HERE, "torch_ops.py"), path, "--device", a.device], 240)
        ok &= s.put(f"{precision} beside PyTorch", found)["ok"]
        if os.path.exists(path):
            os.remove(path)
    return ok


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
    options = ["--valid", "none", "--max-steps", 60 if CARD else 3, "--seed", 5]
    for precision in PRECISIONS:
        ok &= s.put(f"operations {precision}", card(["repeat"], 240, precision))["ok"]
        if not CARD and os.cpu_count() < 2:
            continue
        _, same = twice(lambda k: train(s, f"run {k} {precision}", options, 180, precision))
        ok &= s.put(f"runs {precision}", same)["ok"]
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
            hashes.append(weights(out))
            curves.append(losses(out))
    found = dict(ok=a.dry or len(hashes) == 3 and hashes[0] == hashes[1], sha256=hashes)
    if len(curves) == 3:
        # Fillers may move a sum's order, and with it rounding; nothing else.
        found["losses_apart"] = max(abs(x - y) for x, y in zip(curves[0], curves[2]))
        found["losses_bound"] = 0.1
        found["ok"] = found["ok"] and found["losses_apart"] <= found["losses_bound"]
    return s.put("minilm", found)["ok"] and ok


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
