"""Other programs, run and ended: whatever happens to the runner, none of them outlives it."""

import ctypes, json, os, signal, subprocess, time

from options import DEADLINE, WORK, a

# Loaded here: a program that begins must not load anything before it is one.
LIBC = ctypes.CDLL(None)
# Those that run.
children = set()


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


def end_all():
    for process in list(children):
        end(process)


def die_with_parent():
    """In a program that begins: it is killed when this runner is, however that happens (prctl's PR_SET_PDEATHSIG)."""
    LIBC.prctl(1, signal.SIGKILL)


def start(argv, **how):
    process = subprocess.Popen(argv, start_new_session=True, preexec_fn=die_with_parent, cwd=WORK, **how)
    children.add(process)
    return process


def tail(text, lines=12):
    return "\n".join(text.strip().splitlines()[-lines:])[-2000:]


def show(argv):
    """The command, where none is run."""
    print("  " + " ".join(map(str, argv)), flush=True)


def run(argv, limit, env=None, expect_json=True):
    """Runs a program: the object it printed, or what went wrong. Always with `ok`, `seconds`."""
    argv = [str(x) for x in argv]
    if a.dry:
        show(argv)
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


def interrupt(argv, out, step, limit, env):
    """Starts a run of `hone`, sends it an interrupt once its folder has noted so many steps, and waits; its exit code
    must be 130."""
    if a.dry:
        show(argv)
        return dict(ok=True, dry=True)
    process = start(list(map(str, argv)), env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
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
