"""`entities`: questions about pairs of entities that a text names (after EmbGen, arXiv 2605.19394).

Capital letters mark entities. An entity is described by the sentences that contain it. Descriptions become vectors
(TF-IDF, reduced by latent semantic analysis), and k-means clusters the vectors. A prompt holds the notes on two
entities. The two are nearest neighbours, members of one cluster, or members of two. The system message names the
subjects of the clusters. In the paper a model writes and embeds the descriptions. Here both are counted, so nothing
is downloaded and one round of sampling is enough.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

import numpy as np

from autophage.data.passages import Conversation, Passages
from autophage.errors import UserError
from autophage.makers.protocol import Maker, ask
from autophage.seeds import generator

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_NAME = re.compile(r"\b[^\W\d_a-zß-öø-ÿ]\w+(?:[ -][^\W\d_a-zß-öø-ÿ]\w+)*")
NOTES = 3
"""Maximum sentences about an entity in a prompt. They are enough for a question and leave the prompt short."""
LONGEST = 240
"""Maximum characters of a sentence. It bounds the prompt if a text has no full stops."""
TERMS = 4
"""Number of words that name a cluster."""
SHORTEST = 3
"""Minimum letters of an entity. Shorter capitalised words are initials and Roman numbers."""
DIMENSIONS = 64
"""Maximum dimensions of a description's vector."""
FEWEST = 3
"""Minimum number of entities in a text. Fewer have no useful neighbours and clusters."""


@dataclass(frozen=True)
class Graph:
    """Entities that a text names, and their relations. An entity is an index into every list but `terms`.

    Attributes:
        notes: Sentences about each entity.
        nearest: Most similar other entity.
        cluster: Cluster of each entity, an index into `terms`.
        terms: Words that name each cluster, joined by commas.
    """

    names: list[str]
    notes: list[list[str]]
    nearest: list[int]
    cluster: list[int]
    terms: list[str]

    def others(self, place: int, pair: str) -> list[int]:
        """Return the indices of the entities that a prompt may pair with the entity at index `place`.

        `pair` is "near" for the nearest neighbour, "within" for the same cluster, or else another cluster. The
        nearest neighbour stands in for an empty set.
        """
        if pair == "near":
            return [self.nearest[place]]
        same = [
            other
            for other, cluster in enumerate(self.cluster)
            if other != place and (cluster == self.cluster[place]) == (pair == "within")
        ]
        return same or [self.nearest[place]]


class Entities(Maker):
    """Maker `entities`. A prompt shows notes on two entities of the text, and asks for a question about both."""

    def conversations(self, passages: Passages, seed: int, count: int) -> list[Conversation]:
        graph = passages.once(self._graph)
        rng = generator(seed, "entities")
        return [self._ask(graph, rng) for _ in range(count)]

    def _ask(self, graph: Graph, rng: random.Random) -> Conversation:
        one = rng.randrange(len(graph.names))
        other = rng.choice(graph.others(one, rng.choice(self.settings.pairs)))
        subjects = list(dict.fromkeys((graph.terms[graph.cluster[one]], graph.terms[graph.cluster[other]])))
        notes = "\n".join(
            f"{graph.names[place]}: {' '.join(rng.sample(graph.notes[place], min(NOTES, len(graph.notes[place]))))}"
            for place in (one, other)
        )
        text = (
            f"Notes:\n{notes}\n\nWrite a question that needs both {graph.names[one]} and {graph.names[other]}, and its answer. "
            "Both are to be understood without the notes."
        )
        return ask(text, f"You write questions and answers about {' and about '.join(subjects)}.")

    def _graph(self, texts: list[str]) -> Graph:
        described = describe(sentences_of(texts))
        frequent = sorted(described, key=lambda name: (-len(described[name]), name))[: self.settings.entities]
        names = [name for name in frequent if len(described[name]) >= self.settings.occurrences]
        if len(names) < FEWEST:
            raise UserError(
                f'maker.kind = "entities": {len(names)} entities are named in at least {self.settings.occurrences} sentences, '
                f"and {FEWEST} are needed. Give more text, or lower maker.occurrences."
            )
        return connect(names, [described[name] for name in names], self.settings.clusters)


def sentences_of(texts: list[str]) -> list[str]:
    """Return the sentences of all passages in order, each cut at `LONGEST` characters."""
    return [sentence.strip()[:LONGEST] for text in texts for sentence in _SENTENCE.split(text)]


def describe(sentences: list[str]) -> dict[str, list[str]]:
    """Return a mapping from each entity to the different sentences that name it.

    Capitalised words are an entity. A capital at the start of a sentence proves nothing. The first word counts only
    if it is capitalised elsewhere too.
    """
    named = [(sentence, match) for sentence in sentences for match in _NAME.finditer(sentence)]
    inside = {word for _, match in named for place, word in enumerate(_words(match.group())) if place or match.start()}
    found: dict[str, dict[str, None]] = {}
    for sentence, match in named:
        name = match.group()
        first = _words(name)[0]
        if match.start() == 0 and first not in inside:
            name = name[len(first) + 1 :]
        if len(name) >= SHORTEST:
            found.setdefault(name, {})[sentence] = None
    return {name: list(where) for name, where in found.items()}


def _words(name: str) -> list[str]:
    return name.replace("-", " ").split(" ")


def connect(names: list[str], notes: list[list[str]], clusters: int) -> Graph:
    """Return the graph of at least three entities: nearest neighbours and clusters, computed from their notes.

    `notes[i]` are the sentences about `names[i]`. `clusters` is the maximum number of clusters.
    """
    from sklearn.cluster import KMeans  # slow import that only this maker needs
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # the number of threads changes the last bits of sums
        vectorizer = TfidfVectorizer(sublinear_tf=True, stop_words="english", token_pattern=r"(?u)\b[^\W\d_]{2,}\b")
        words_EW = vectorizer.fit_transform([" ".join(own) for own in notes])
        size = min(DIMENSIONS, len(names) - 1, words_EW.shape[1] - 1)
        vectors_ED = words_EW.toarray()
        if 1 < size < words_EW.shape[1]:
            vectors_ED = TruncatedSVD(size, random_state=0).fit_transform(words_EW)
        vectors_ED = normalize(vectors_ED)
        near_EE = vectors_ED @ vectors_ED.T
        np.fill_diagonal(near_EE, -np.inf)
        different = len(np.unique(vectors_ED.round(6), axis=0))
        labels = KMeans(min(clusters, different), n_init=4, random_state=0).fit_predict(vectors_ED)
    vocabulary = vectorizer.get_feature_names_out()
    own = {word.lower() for name in names for word in _words(name)}
    telling = np.array([word not in own for word in vocabulary])
    terms = []
    for cluster in range(labels.max() + 1):
        mean = np.asarray(words_EW[labels == cluster].mean(axis=0)).ravel() * telling
        terms.append(", ".join(str(vocabulary[place]) for place in np.argsort(-mean, kind="stable")[:TERMS]))
    return Graph(names, notes, near_EE.argmax(axis=1).tolist(), labels.tolist(), terms)
