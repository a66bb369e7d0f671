"""Writes crates/data/fixtures/wordnet_words.json: what nltk's reader says of WordNet's own files.

    pip install nltk
    python xtask/python/wordnet_words.py /usr/share/wordnet crates/data/fixtures/wordnet_words.json

Words are a fixed sample: inflected and base forms of every tenth entry of a list of common words, and every
400th word of the index files. `lexnames` is not part of Debian's package; nltk wants one and reads no more than
the number of its lines, so an empty stand-in is put beside links to the files.
"""
import json
import os
import shutil
import sys
import tempfile

import nltk.data
from nltk.corpus.reader.wordnet import WordNetCorpusReader

COMMON = """good bad better worse best worst films film movies movie love loved loves loving hate hated great
acting acted actor actors actress plot plots story stories tale ending endings begins began begun running ran run
goes went gone going makes made making taken took takes children men women people lives life wives knives geese
mice feet teeth oxen happier happiest bigger biggest larger funny funnier funniest quickly slowly well badly
beautiful beautifully ugly success failure succeed fails failed strong weak weaker hard harder easy easily
buy bought sell sold purchase big large small old new young hot cold fast slow rich poor boring bored interesting
interested moving moved saw seen sees sawed left leaves leaf leaving better felt feels feel thought thinks thinking
wolves boxes churches dishes buses heroes photos potatoes cries cried crying tried tries studies studied
stopped stopping planned planning hoped hoping hopped died dying lay lain lying dog dogs axes data phenomena
criteria analyses bases crises series species sheep deer fish""".split()


class Reader(WordNetCorpusReader):
    """nltk's reader without its tables for other languages, which want files of their own."""

    def map_wn(self, version="wordnet"):
        return None


def main(folder, out):
    with tempfile.TemporaryDirectory() as beside:
        for name in os.listdir(folder):
            shutil.copy(os.path.join(folder, name), beside) if '.' in name else None
        with open(os.path.join(beside, "lexnames"), "w") as file:
            for i in range(64):
                file.write(f"{i:02d}\tname{i}\t1\n")
        # nltk reads from folders it was told of only.
        nltk.data.path[:] = [beside, folder]
        wordnet = Reader(beside, None)
        words = set(COMMON)
        for pos in ["noun", "verb", "adj", "adv"]:
            with open(os.path.join(folder, f"index.{pos}")) as file:
                lemmas = [line.split(" ")[0] for line in file if not line.startswith(" ")]
            words.update(lemmas[::700])
        said = {}
        for word in sorted(words):
            entry = {"antonyms": set()}
            for pos in "nvar":
                own = [
                    wordnet.synset_from_pos_and_offset(pos, offset)
                    for offset in wordnet._lemma_pos_offset_map.get(word, {}).get(pos, [])
                ]
                lemma_of = lambda s: next(l for l in s.lemmas() if l.name().lower() == word)
                # nltk 3.10 adds ves -> f for nouns, which WordNet's own morphy does not have.
                bases = [b for b in wordnet._morphy(word, pos) if not (pos == "n" and word.endswith("ves") and b == word[:-3] + "f"
                         and word not in wordnet._exception_map["n"])]
                entry[pos] = {
                    "bases": sorted(set(bases)),
                    "synsets": [[l.name() for l in s.lemmas()] for s in own],
                    "counts": [lemma_of(s).count() for s in own],
                }
                for s in own:
                    entry["antonyms"].update(a.name() for a in lemma_of(s).antonyms())
            entry["antonyms"] = sorted(entry["antonyms"])
            said[word] = entry
        with open(out, "w") as file:
            json.dump(said, file, indent=0, sort_keys=True)
            file.write("\n")
        print(len(said), "words")


if __name__ == "__main__":
    main(*sys.argv[1:])
