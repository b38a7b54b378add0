"""A judge model behind an OpenAI-compatible server, such as `vllm serve MODEL`. It answers yes or no.

Decoding is greedy. Many questions are sent at a time, and the server batches them. Only questions are sent: neither
the recipe nor the environment. A server's key is read from `AUTOPHAGE_JUDGE_API_KEY` and from nowhere else.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from urllib.parse import urlsplit

import openai

from autophage.errors import AutophageError, RunError, UserError, first_line

KEY = "AUTOPHAGE_JUDGE_API_KEY"
AT_ONCE = 64
"""Maximum questions sent and not yet answered. The server queues them."""
SECONDS = 600.0
"""Timeout of one answer in seconds, including the server's queue."""
RETRIES = 4
"""Retries of a question after a busy server or a lost connection, with growing pauses."""

ANSWER = re.compile(r"\b(yes|no)\b", re.IGNORECASE)


class ServedJudge:
    """Client of a judge model that an OpenAI-compatible server offers at the address `server`.

    `model` is its name there, or None if the server has one model. `tokens_read` counts the tokens of all questions
    and answers so far.

    Raises:
        UserError: The server is unreachable, refuses the key, or has no such model.
    """

    def __init__(self, server: str, model: str | None) -> None:
        self._server = server
        with _explained(server, UserError):
            self._client = openai.OpenAI(
                base_url=server,
                api_key=os.environ.get(KEY) or "none",
                max_retries=RETRIES,
                # A proxy of the environment does not reach a server of this machine.
                http_client=openai.DefaultHttpxClient(timeout=SECONDS, trust_env=not _on_this_machine(server)),
            )
            served = [one.id for one in self._client.models.list()]
        if model is None and len(served) == 1:
            model = served[0]
        if model not in served:
            told = "which model is meant?" if model is None else f"it serves no {model!r}."
            raise UserError(f"gate.server = {server!r}: {told} It serves: {', '.join(served) or 'none'}.")
        self._model = model
        self.tokens_read = 0

    def close(self) -> None:
        """Close the connection to the server."""
        self._client.close()

    def answers(self, questions: Sequence[str], longest: int, seed: int) -> list[bool | None]:
        """Ask the judge each of `questions`. Return True for yes, False for no and None for neither.

        `longest` is the maximum number of tokens of an answer. Without questions the list is empty.

        Raises:
            RunError: The server failed, or no answer is a yes or a no.
        """
        with _explained(self._server, RunError), ThreadPoolExecutor(AT_ONCE) as threads:
            answered = list(threads.map(self._ask, questions, repeat(longest), repeat(seed)))
        said = [text for text, _ in answered]
        self.tokens_read += sum(tokens for _, tokens in answered)
        read = [read_answer(text) for text in said]
        if said and not any(answer is not None for answer in read):
            raise RunError(
                f"{self._model!r} at {self._server} answered none of {len(said)} questions with yes or no. First answer: "
                f"{said[0][:200]!r}. Ask for yes or no in gate.question, or raise gate.longest."
            )
        return read

    def _ask(self, question: str, longest: int, seed: int) -> tuple[str, int]:
        """Return the answer's text, and the number of tokens of question and answer.

        The number is 0 if the server does not report it.
        """
        answer = self._client.chat.completions.create(
            model=self._model,
            messages=[{"role": "user", "content": question}],
            max_tokens=longest,
            temperature=0.0,
            seed=seed % 2**31,
        )
        return answer.choices[0].message.content or "", 0 if answer.usage is None else answer.usage.total_tokens


def read_answer(text: str) -> bool | None:
    """Return True if the last yes or no in a text is a yes, False if it is a no. None without either.

    The last one counts because a judge that reasons first ends with its answer.
    """
    found = ANSWER.findall(text)
    return found[-1].lower() == "yes" if found else None


@contextmanager
def _explained(server: str, kind: type[UserError | RunError]) -> Iterator[None]:
    """Run the body of a `with` statement. An error of the client or the server becomes an error of the class `kind`."""
    try:
        yield
    except openai.APIConnectionError as error:
        raise kind(
            f"gate.server = {server!r}: cannot be reached ({first_line(error)}). Start one (vllm serve MODEL --port "
            "8000), and give its address with the path: http://localhost:8000/v1."
        ) from error
    except openai.AuthenticationError as error:
        raise kind(f"gate.server = {server!r}: needs a key. Set {KEY}.") from error
    except AutophageError:
        raise
    except (AttributeError, TypeError, LookupError) as error:  # the client takes a web page for a text
        raise kind(
            f"gate.server = {server!r}: does not answer in the OpenAI protocol ({first_line(error)}). Give the address of the "
            "protocol with its path, such as http://localhost:8000/v1."
        ) from error
    except Exception as error:  # a wrong address or proxy raises errors of httpx and of Python
        raise kind(f"gate.server = {server!r}: {first_line(error)}") from error


def _on_this_machine(server: str) -> bool:
    host = urlsplit(server).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
