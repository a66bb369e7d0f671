"""What the runner was asked for, and what follows from it: places, the time it has, sizes. Nothing is run here.

What the options mean for a user is the text that begins `run.py`.
"""

import __main__
import argparse, os, sys

from document import BEGAN

HERE = os.path.dirname(os.path.abspath(__file__))
p = argparse.ArgumentParser(description=__main__.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
DEADLINE = BEGAN + a.minutes * 60 - 10 if a.minutes else float("inf")
# The CPU knows f32 alone.
PRECISIONS = ["f32", "bf16"] if CARD else ["f32"]
# Large products are held against one of this size.
PRODUCT = 8192 if CARD else 512

WORK = os.path.abspath(a.work)
HONE, CARD_TESTS = os.path.join(WORK, "hone"), os.path.join(WORK, "hone-card")
MODEL, DATA, INPUTS = os.path.join(WORK, "model"), os.path.join(HERE, "data"), os.path.join(HERE, "inputs")
IMAGES = os.path.join(WORK, "cache", "cuda")


def where(precision):
    """The options of `hone` that name device and precision."""
    return ["--device", a.device] + (["--precision", precision] if CARD else [])
