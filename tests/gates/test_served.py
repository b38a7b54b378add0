"""The judge behind a server: questions, answers, failing servers, and vLLM's own server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import ValidationError

from autophage.errors import RunError, UserError
from autophage.gates import Context, Verdict
from autophage.gates.protocol import Reader
from autophage.gates.served import KEY, ServedJudge, read_answer
from autophage.gates.verifier import Verifier
from autophage.store.corpus import Sample

pytestmark = pytest.mark.thorough

Make = Callable[..., Sample]
Said = Callable[[list[Verdict]], list[str]]
START_SECONDS = 300


class Server:
    """A server with the two calls of the OpenAI protocol that a judge needs. It answers by `answer` and keeps the
    questions.
    """

    def __init__(self, models: list[str], answer: Callable[[str], str | int], key: str | None = None) -> None:
        asked: list[dict[str, object]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if key is not None and self.headers["Authorization"] != f"Bearer {key}":
                    self._say(401, {"error": {"message": "no such key"}})
                else:
                    self._say(200, {"object": "list", "data": [{"id": one, "object": "model"} for one in models]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked.append(body)
                said = answer(body["messages"][0]["content"])
                if isinstance(said, int):
                    self._say(said, {"error": {"message": "out of order"}})
                    return
                choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
                usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
                kind = {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}
                self._say(200, {**kind, "choices": [choice], "usage": usage})

            def _say(self, status: int, body: object) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.asked = asked
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(
        answer: Callable[[str], str | int], *, models: tuple[str, ...] = ("judge",), key: str | None = None
    ) -> Server:
        servers.append(Server(list(models), answer, key))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def opinion(question: str) -> str:
    return "Yes." if "right" in question else "I am not sure." if "unclear" in question else "no"


def test_what_a_judge_says_becomes_accepted_rejected_or_abstained(
    serve: Callable[..., Server], sample: Make, context: Context, said: Said
) -> None:
    server = serve(opinion)
    gate = Verifier(check="judge", server=server.address)
    samples = [sample("a right one"), sample("a wicked one"), sample("an unclear one"), sample(" ", "blank")]
    expected = ["accept", "reject: wrong", "abstain: neither yes nor no", "abstain: nothing to check"]
    assert said(gate.judge(samples, context)) == expected
    strict = Verifier(check="judge", server=server.address, unread="reject")
    assert said(strict.judge(samples, context))[2:] == ["reject: neither yes nor no", "reject: nothing to check"]
    assert len(server.asked) == 6, "of a blank sample nothing is asked"
    assert {(body["model"], body["temperature"], body["max_tokens"]) for body in server.asked} == {("judge", 0.0, 16)}


def test_the_question_has_sample_and_prompt_in_it_as_they_are(
    serve: Callable[..., Server], sample: Make, context: Context
) -> None:
    server = serve(lambda _: "yes")
    gate = Verifier(check="judge", server=server.address, question="[{prompt}] [{text}] {other} {text}")
    gate.judge([sample("{prompt} 100 % {}", prompt="{text}?")], context)
    assert [body["messages"] for body in server.asked] == [
        [{"role": "user", "content": "[{text}?] [{prompt} 100 % {}] {other} {prompt} 100 % {}"}]
    ]


def test_many_are_asked_at_a_time_and_answered_in_order(
    serve: Callable[..., Server], sample: Make, context: Context, said: Said
) -> None:
    together = threading.Barrier(8)

    def slowly(question: str) -> str:
        together.wait(timeout=30)  # breaks unless eight questions are under way
        return opinion(question)

    gate = Verifier(check="judge", server=serve(slowly).address)
    samples = [sample(f"number {number} is {'right' if number % 3 else 'bad'}") for number in range(32)]
    assert said(gate.judge(samples, context)) == ["accept" if number % 3 else "reject: wrong" for number in range(32)]


def test_right_and_wrong_have_rates_of_their_own(serve: Callable[..., Server], sample: Make, context: Context) -> None:
    gate = Verifier(check="judge", server=serve(opinion).address, keep_right=0.5, keep_wrong=0.2)
    samples = [sample(f"number {number} is {'right' if number % 2 else 'bad'}") for number in range(400)]
    kept = [
        number % 2 for number, verdict in enumerate(gate.judge(samples, context)) if verdict.ruling.value == "accept"
    ]
    assert 70 <= sum(kept) <= 130
    assert 20 <= len(kept) - sum(kept) <= 60


def test_what_a_judge_reads_is_counted(serve: Callable[..., Server]) -> None:
    judge = ServedJudge(serve(opinion).address, None)
    assert isinstance(judge, Reader)
    judge.answers(["right", "wicked", "right"], 16, 1)
    judge.answers(["right"], 16, 1)
    assert judge.tokens_read == 40


def test_a_judge_that_answers_nonsense_ends_the_run(
    serve: Callable[..., Server], sample: Make, context: Context
) -> None:
    gate = Verifier(check="judge", server=serve(lambda _: "as an assistant, I know").address)
    with pytest.raises(
        RunError, match=r"answered none of 2 questions with yes or no. First answer: 'as an assistant, I know'"
    ):
        gate.judge([sample("one"), sample("two")], context)


def test_a_server_that_fails_ends_the_run(
    serve: Callable[..., Server], sample: Make, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autophage.gates.served.RETRIES", 0)
    gate = Verifier(check="judge", server=serve(lambda _: 400).address)
    with pytest.raises(RunError, match=r"gate.server = 'http://127.*': .*out of order"):
        gate.judge([sample("one")], context)


def test_a_busy_server_is_asked_again(serve: Callable[..., Server], sample: Make, context: Context, said: Said) -> None:
    first: list[str] = []

    def at_second(question: str) -> str | int:
        first.append(question)
        return 503 if len(first) == 1 else "yes"

    assert said(Verifier(check="judge", server=serve(at_second).address).judge([sample("one")], context)) == ["accept"]
    assert len(first) == 2


def test_a_server_of_web_pages_is_no_judge() -> None:
    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html>welcome</html>")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/v1"
        with pytest.raises(UserError, match="does not answer in the OpenAI protocol"):
            Verifier(check="judge", server=address).require()
        server.shutdown()


def test_a_server_is_looked_for_before_a_run(serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(opinion, models=("small", "large"))
    Verifier(check="judge", server=server.address, model="large").require()
    with pytest.raises(UserError, match=r"which model is meant\? It serves: small, large"):
        Verifier(check="judge", server=server.address).require()
    with pytest.raises(UserError, match="it serves no 'huge'"):
        Verifier(check="judge", server=server.address, model="huge").require()
    server.close()
    monkeypatch.setattr("autophage.gates.served.RETRIES", 0)
    with pytest.raises(UserError, match=r"cannot be reached .*vllm serve MODEL"):
        Verifier(check="judge", server=server.address).require()


def test_only_the_key_that_is_meant_for_it_is_sent(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(opinion, key="for-the-judge")
    monkeypatch.setenv("OPENAI_API_KEY", "for-the-judge")
    monkeypatch.delenv(KEY, raising=False)
    with pytest.raises(UserError, match=f"needs a key. Set {KEY}"):
        ServedJudge(server.address, None)
    monkeypatch.setenv(KEY, "for-the-judge")
    ServedJudge(server.address, None).close()


@pytest.mark.parametrize("address", ["localhost:8000", "http://me:secret@host/v1", "file:///etc/passwd", "http://a b"])
def test_addresses(address: str) -> None:
    with pytest.raises(ValidationError, match="not the address of a server"):
        Verifier(check="judge", server=address)


def test_a_question_has_the_sample_in_it() -> None:
    with pytest.raises(ValidationError, match="the place of the sample"):
        Verifier(check="judge", server="http://localhost:8000/v1", question="Is it right?")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("yes", True), ("No.", False), ("**YES**", True), ("No: 2 + 2 is 4, so yes", True),
        ("yesterday, none of them", None), ("", None),
    ],
)  # fmt: skip
def test_answers(text: str, answer: bool | None) -> None:
    assert read_answer(text) is answer


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_judge_served_by_vllm(tmp_path: Path, sample: Make, context: Context, said: Said) -> None:
    """One model says yes to everything, and another never does."""
    for word, expected in (("yes", ["accept", "accept"]), ("no", ["reject: wrong", "reject: wrong"])):
        with vllm_serving(model_that_says(word, tmp_path / word)) as address:
            gate = Verifier(check="judge", server=address)
            gate.require()
            assert said(gate.judge([sample("the first text"), sample("another one")], context)) == expected


def model_that_says(word: str, folder: Path) -> Path:
    """Build a Llama whose every next token is `word`.

    All its states are equal, and the head is zero but for that word's row.
    """
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<unk>", "</s>", word, *(f"word-{number}" for number in range(61))]
    tokenizer = Tokenizer(models.WordLevel({one: number for number, one in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")
    fast.chat_template = "{% for turn in messages %}{{ turn['content'] }} {% endfor %}"
    fast.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=256, tie_word_embeddings=False, bos_token_id=None, eos_token_id=1,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for weight in (model.model.layers[0].self_attn.o_proj, model.model.layers[0].mlp.down_proj, model.lm_head):
            weight.weight.zero_()
        model.model.embed_tokens.weight.fill_(1.0)
        model.lm_head.weight[2].fill_(1.0)
    model.save_pretrained(folder)
    return folder


@contextmanager
def vllm_serving(model: Path) -> Iterator[str]:
    """Run vLLM's server on a free loopback port. Yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"--host": "127.0.0.1", "--port": str(port), "--dtype": "float32", "--max-model-len": "256"}
    flags = [one for setting in settings.items() for one in setting]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), *flags]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    log = model / "log"
    with log.open("w") as printed:
        process = subprocess.Popen(command, env=environment, stdout=printed, stderr=printed)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _listens(port):
            assert process.poll() is None, log.read_text("utf-8")[-3000:]
            assert time.monotonic() < deadline, f"vLLM's server is not there after {START_SECONDS} s"
            time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(60)


def _listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0
