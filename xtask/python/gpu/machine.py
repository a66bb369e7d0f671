"""The machine and what of the bundle runs on it: CUDA's libraries, programs and model unpacked, and what `about` says."""

import functools, glob, gzip, json, os, platform, shutil, subprocess

from options import CARD, CARD_TESTS, HERE, HONE, IMAGES, MODEL, PRECISIONS, WORK, a
from programs import run


@functools.lru_cache(maxsize=None)
def library_folders():
    """Folders with CUDA's libraries, for Hone alone (PyTorch finds its own), and each library found; nothing for the CPU."""
    if not CARD:
        return [], {}
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


def hone_env():
    env = dict(os.environ, HONE_CACHE=os.path.join(WORK, "cache"))
    env["LD_LIBRARY_PATH"] = ":".join([*library_folders()[0], *filter(None, [env.get("LD_LIBRARY_PATH")])])
    return env


def hone(argv, limit):
    return run([HONE, *argv], limit, env=hone_env())


def card(argv, limit, precision="f32"):
    """`hone-card` on the device."""
    where = ["--device", a.device, "--precision", precision, "--images", IMAGES]
    return run([CARD_TESTS, argv[0], *where, *argv[1:]], limit, env=hone_env())


def bundle():
    """What the bundle says of itself: revision, images."""
    with open(os.path.join(HERE, "bundle.json"), encoding="utf8") as f:
        return json.load(f)


def ask():
    """The cells of `about`: what is here now."""
    cells = dict(machine=dict(system=platform.platform(), libc=" ".join(platform.libc_ver()), python=platform.python_version(), cores=os.cpu_count()))
    smi = shutil.which("nvidia-smi") or next(iter(glob.glob("/usr/local/nvidia/bin/nvidia-smi")), None)
    if smi:
        query = "--query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit"
        cells["nvidia_smi"] = run([smi, query, "--format=csv"], 30, expect_json=False)
    else:
        cells["nvidia_smi"] = dict(ok=False, error="nvidia-smi is not here")
    cells["libraries"] = library_folders()[1]
    cells["bundle"] = bundle()
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
    for name, cell in s.document.about.items():
        s.put(name, cell)
    return all(s.document.about[f"hone {p}"]["ok"] for p in PRECISIONS)
