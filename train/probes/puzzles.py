"""Questions with a known answer, made here: what a next-word model may have picked up on its way.

    arithmetic   12 + 7 =                                       four numbers in a row
    beliefs      Sally and Anne: who thinks the thing is where  two places
    references   whom a pronoun means, as in Winograd's pairs   two names
    cipher       a c t becomes                                  four strings of letters

Every family is balanced, so that nothing but reading the question helps: the items of a group share their
words, and within it each choice is right equally often, and so is the first and the last that is mentioned
(in arithmetic, the lowest and the highest). Whoever prefers a word or a place ends at chance exactly.

Held-out items share no fillers with training items where that would tell the answer: no pair of summands in
either order, no string of the cipher, no person and no object of a story, no pair of places, no pair of words that a
pronoun could mean; some of these are of new words altogether, and are told apart as such.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, product

from train.shuffling import shuffled

FAMILIES = ("arithmetic", "beliefs", "references", "cipher")
VERSION = 1  # raise it when an item changes: accuracies of two versions are not comparable
HELD_OUT_SHARE = 4  # one group in so many is held out, where groups are numbers or strings
LARGEST_SUMMAND = 30
CIPHER_LETTERS = "abcdefghijklmnopqrstuvwxy"  # each has a letter behind it
CIPHER_LENGTH = 3
MOST_GROUPS = {"train": 600, "held-out": 120}  # of a family; of the cipher three times as many

WOMEN = {
    "train": ("Mary", "Anna", "Emma", "Lucy", "Jane", "Kate", "Ruth", "Helen"),
    "held-out": ("Sally", "Anne", "Laura", "Alice"),
}
MEN = {
    "train": ("John", "Peter", "Paul", "Mark", "James", "Henry", "David", "Frank"),
    "held-out": ("Tom", "Ben", "George", "Robert"),
}
OBJECTS = {
    "train": ("ball", "book", "key", "coin", "letter", "cup", "ring", "stone", "map", "pen"),
    "held-out": ("apple", "watch", "card", "spoon", "shell", "bell"),
}
PLACES = ("basket", "box", "bag", "drawer", "cupboard", "chest", "bucket", "jar", "pocket", "case")
THINGS = {
    "train": ("table", "chair", "bed", "piano", "desk", "wagon", "boat", "clock"),
    "held-out": ("trunk", "bench", "mirror", "lamp"),
}
ANIMALS = {
    "train": ("dog", "fish", "bird", "snake", "bear", "cat"),
    "held-out": ("fox", "wolf", "frog", "rat"),
}


@dataclass(frozen=True)
class Item:
    """`question` is a text to be continued by one of `choices`, each with the space ahead of it."""

    family: str
    condition: str
    group: int  # items that share their fillers, numbered within a family
    question: str
    choices: tuple[str, ...]
    answer: int

    @property
    def chance(self) -> float:
        return 1 / len(self.choices)


def items(part: str, families: Iterable[str] = FAMILIES) -> list[Item]:
    """All items of a part, "train" or "held-out": the same on every machine."""
    makers = {"arithmetic": _arithmetic, "beliefs": _beliefs, "references": _references, "cipher": _cipher}
    return [item for family in families for item in makers[family](part)]


# ---- Drawing ----------------------------------------------------------------------------------------------


def _drawn(candidates: Sequence, count: int) -> list:
    """At most so many of them, spread over all."""
    order = shuffled(0, len(candidates), seed=VERSION, epoch=0)
    return [candidates[i] for i in sorted(order[:count])]


def _of_part(candidates: Sequence, part: str) -> list:
    """A part of things that have no lists of their own: every fourth, in an order that looks like none, is held out."""
    order = shuffled(0, len(candidates), seed=VERSION, epoch=1)
    held = set(order[: len(order) // HELD_OUT_SHARE].tolist())
    return [c for i, c in enumerate(candidates) if (i in held) == (part == "held-out")]


# ---- Arithmetic -------------------------------------------------------------------------------------------


def _arithmetic(part: str) -> list[Item]:
    """Sums of two numbers. The choices are four numbers in a row, and have one number of digits."""
    pairs = [(a, b) for b in range(LARGEST_SUMMAND + 1) for a in range(b + 1)]
    made = []
    for group, (a, b) in enumerate(_drawn(_of_part(pairs, part), MOST_GROUPS[part])):
        for first, second in dict.fromkeys(((a, b), (b, a))):
            total = a + b
            starts = [s for s in range(total - 3, total + 1) if s >= 0 and len(str(s)) == len(str(s + 3))]
            starts = [s for s in starts if len(str(s)) == len(str(total))]
            start = starts[(7 * first + 3 * second) % len(starts)]
            choices = tuple(f" {n}" for n in range(start, start + 4))
            condition = "carry" if a % 10 + b % 10 >= 10 else "no carry"
            made.append(Item("arithmetic", condition, group, f"{first} + {second} =", choices, total - start))
    return made


# ---- False beliefs ----------------------------------------------------------------------------------------

PUT = "{s} put the {o} in the {a}. "
BELIEFS = (
    # condition, what happens next, question, whether the answer is where the object was put
    ("false belief", "{s} left the room. {n} moved the {o} to the {b}. {s} came back. ",
     "{s} thinks the {o} is in the", True),
    ("true belief", "{s} stayed in the room. {n} moved the {o} to the {b}. {s} saw it. ",
     "{s} thinks the {o} is in the", False),
    ("reality", "{s} left the room. {n} moved the {o} to the {b}. {s} came back. ",
     "Really the {o} is in the", False),
    ("nothing moved", "{s} left the room. {n} looked into the {b}. {s} came back. ",
     "{s} thinks the {o} is in the", True),
)  # fmt: skip


def _beliefs(part: str) -> list[Item]:
    """Sally and Anne, with controls: half of the answers are where the object was put, half are where it went."""
    people = [pair for names in (WOMEN, MEN) for pair in combinations(names[part], 2)]
    places = _of_part(list(combinations(PLACES, 2)), part)
    stories = _drawn(list(product(people, OBJECTS[part], places)), MOST_GROUPS[part])
    made = []
    for group, ((s, n), o, pair) in enumerate(stories):
        for (a, b), (condition, then, question, stays) in product((pair, pair[::-1]), BELIEFS):
            text = (PUT + then + question).format(s=s, n=n, o=o, a=a, b=b)
            answer = pair.index(a if stays else b)
            made.append(Item("beliefs", condition, group, text, (f" {pair[0]}", f" {pair[1]}"), answer))
    return made


# ---- References -------------------------------------------------------------------------------------------

# (what is said, what is asked, what makes it the first, what makes it the second)
ABOUT_PEOPLE = (
    ("{a} could not lift {b} because {he} was {w}.", "The one who was {w} was", "too weak", "too heavy"),
    ("{a} paid {b} because {he} {w}.", "The one who {w} was", "owed money", "did the work"),
    ("{a} asked {b} because {he} {w}.", "The one who {w} was", "wanted to know", "knew the answer"),
    ("{a} hid from {b} because {he} was {w}.", "The one who was {w} was", "afraid", "angry"),
    ("{a} thanked {b} because {he} {w}.", "The one who {w} was", "got help", "gave help"),
    ("{a} followed {b} because {he} {w}.", "The one who {w} was", "had lost the way", "knew the way"),
)
ABOUT_THINGS = (
    ("The {a} did not fit on the {b} because it was {w}.", "The one that was {w} was the", "too large",
     "too small"),
    ("The {a} broke the {b} because it was {w}.", "The one that was {w} was the", "too hard", "too weak"),
)  # fmt: skip
ABOUT_ANIMALS = (
    ("The {a} ate the {b} because it was {w}.", "The one that was {w} was the", "hungry", "good to eat"),
    ("The {a} ran from the {b} because it was {w}.", "The one that was {w} was the", "afraid", "angry"),
)


def _references(part: str) -> list[Item]:
    """Pairs of sentences that differ in a phrase, and with it in whom the pronoun means.

    Held out are pairs of words whose words were each trained on with others, and pairs of new words."""
    made = []
    for group, (condition, he, schema, pair) in enumerate(_drawn(_schemas(part), MOST_GROUPS[part])):
        said, asked, of_first, of_second = schema
        for (a, b), (w, which) in product((pair, pair[::-1]), ((of_first, 0), (of_second, 1))):
            text = f"{said} {asked}".format(a=a, b=b, he=he, w=w)
            answer = pair.index((a, b)[which])
            made.append(Item("references", condition, group, text, (f" {pair[0]}", f" {pair[1]}"), answer))
    return made


def _schemas(part: str) -> list[tuple[str, str, tuple[str, ...], tuple[str, ...]]]:
    """(condition, pronoun, schema, two words) of every group that there could be."""
    kinds = (
        ("people", "she", WOMEN, ABOUT_PEOPLE),
        ("people", "he", MEN, ABOUT_PEOPLE),
        ("things", "it", THINGS, ABOUT_THINGS),
        ("animals", "it", ANIMALS, ABOUT_ANIMALS),
    )
    sentences: list[tuple[str, str, tuple[str, ...], tuple[str, ...]]] = []
    for kind, pronoun, words, schemas in kinds:
        pairs = [(kind, pair) for pair in _of_part(list(combinations(words["train"], 2)), part)]
        if part == "held-out":
            pairs += [("new words", pair) for pair in combinations(words["held-out"], 2)]
        sentences += [(condition, pronoun, schema, pair) for condition, pair in pairs for schema in schemas]
    return sentences


# ---- A cipher ---------------------------------------------------------------------------------------------


def _cipher(part: str) -> list[Item]:
    """Each letter becomes the next one. A wrong choice has one letter that stayed, or went two steps."""
    letters = len(CIPHER_LETTERS)
    strings = range(letters**CIPHER_LENGTH)
    made = []
    for group, number in enumerate(_drawn(_of_part(strings, part), 3 * MOST_GROUPS[part])):
        digits = [number // letters**place % letters for place in range(CIPHER_LENGTH)]
        steps = [[1] * CIPHER_LENGTH for _ in range(CIPHER_LENGTH + 1)]
        for place in range(CIPHER_LENGTH):
            steps[place + 1][place] = 2 * ((number >> place) % 2)
        answer = group % (CIPHER_LENGTH + 1)
        steps[0], steps[answer] = steps[answer], steps[0]
        choices = tuple(
            "".join(f" {_letter(d + s)}" for d, s in zip(digits, step, strict=True)) for step in steps
        )
        question = " ".join(_letter(d) for d in digits) + " becomes"
        made.append(Item("cipher", "shift by one", group, question, choices, answer))
    return made


def _letter(place: int) -> str:
    return chr(ord("a") + place % 26)
