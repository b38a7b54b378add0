"""Messages about a wrong recipe, word for word."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autophage.errors import RecipeError
from autophage.recipe import LoadedRecipe
from autophage.recipe.keys import KEYS

Refuse = Callable[..., str]
NAME = 'name = "x"\n'
ALPHA = f"    {KEYS['mix.alpha']}"


def test_a_value_out_of_bounds(refuse: Refuse) -> None:
    assert refuse(NAME + "[mix]\nalpha = 1.5\n") == f"demo.toml:3:9: mix.alpha = 1.5: too large\n{ALPHA}"


def test_a_key_of_another_table(refuse: Refuse) -> None:
    assert refuse(NAME + "[train]\nalpha = 0.5\n") == "\n".join(
        [
            "demo.toml:3:1: train.alpha: there is no such key",
            "    did you mean mix.alpha?",
            ALPHA,
            "    [train] has: chain, optimizer, keep, epochs, learning_rate, schedule, warmup, weight_decay, "
            "batch_size, loss_on, packing, compile",
        ]
    )


def test_a_mistyped_choice(refuse: Refuse) -> None:
    assert refuse(NAME + 'train.chain = "cumulativ"\n') == "\n".join(
        [
            'demo.toml:2:15: train.chain = "cumulativ": not a choice',
            '    did you mean "cumulative"?',
            f"    {KEYS['train.chain']}",
        ]
    )


def test_several_faults_are_told_in_file_order(refuse: Refuse) -> None:
    text = "\n".join(
        [
            "nme = 3",
            "[mix]",
            "alhpa = 1",
            "[trian]",
            "epochs = 4",
            "[model]",
            "rank = 16.0",
            "[measure]",
            "formats = [",
            '  "cloze", "clozee" ]',
            "[sweep]",
            '"mix.alpha" = [1, 2]',
        ]
    )
    message = refuse(text, "train.epochs=0", "seed")
    heads = [line for line in message.split("\n") if not line.startswith(" ")]
    assert heads == [
        "demo.toml:1:1: name is missing",
        "demo.toml:1:1: nme: there is no such key",
        "demo.toml:3:1: mix.alhpa: there is no such key",
        "demo.toml:4:2: [trian]: there is no such table",
        "demo.toml:7:8: model.rank = 16.0: a decimal number, not an integer",
        'demo.toml:10:12: measure.formats = "clozee": not a choice',
        'demo.toml:12:19: sweep."mix.alpha"[1] = 2: too large',
        "--set train.epochs=0: train.epochs = 0: too small",
        "--set seed: has no value",
    ]
    assert "did you mean [train]?" in message
    assert "did you mean 16?" in message
    assert "did you mean name (above the first [table])?" in message


@pytest.mark.parametrize(
    ("text", "head", "guess"),
    [
        ("seed = true", "2:8: seed = true: a boolean, not an integer", None),
        ('[train]\nepochs = "4"', '3:10: train.epochs = "4": a string, not a number', "4"),
        ('[control]\nenabled = "yes"', '3:11: control.enabled = "yes": a string, not true or false', "true"),
        ("description = 3", "2:15: description = 3: an integer, not a string", '"3"'),
        ('[measure]\nformats = "cloze"', '3:11: measure.formats = "cloze": a string, not a list', '["cloze"]'),
        ("[measure]\nformats = []", "3:11: measure.formats = []: an empty list", None),
        ('measure.formats = ["cloze", "cloze"]', "an entry occurs twice", None),
        ("[train]\nlearning_rate = inf", "3:17: train.learning_rate = inf: not a finite number", None),
        (f"[train]\nepochs = 1{'0' * 400}", "too large", None),
        ("description = 1979-05-27", "2:15: description = 1979-05-27: a date or time, not a string", None),
        ("seed = 4294967296", "2:8: seed = 4294967296: too large", None),
        ("[sample]\nmax_tokens = 0", "3:14: sample.max_tokens = 0: too small", None),
        ('[source]\nsplit = ""', '3:9: source.split = "": empty', None),
        ('model = "gpt2"', '2:9: model = "gpt2": a string, but model is a table', None),
        ("[[mix]]\nalpha = 1", "2:3: mix = [{alpha = 1}]: a list, but mix is a table", None),
        ("learning_rate = 1", "2:1: learning_rate: there is no such key", "base.learning_rate or train.learning_rate"),
        ("[sample]\ntemp = 1", "3:1: sample.temp: there is no such key", "sample.temperature"),
        ("[model]\ngenerations = 1", "3:1: model.generations: there", "generations (above the first [table])"),
        ('"mix.alpha" = 1', '2:1: "mix.alpha": there is no such key', "mix.alpha"),
        ('sweep."train.chain" = ["restarts"]', '2:24: sweep."train.chain"[0] = "restarts": not a', '"restart"'),
        ('sweep."train.chian" = ["restart"]', '2:7: sweep."train.chian": there is no such key', "train.chain"),
        ('sweep."mix.alpha" = 0.5', '2:21: sweep."mix.alpha" = 0.5: not a list of values', None),
        ('sweep."mix.alpha" = []', '2:21: sweep."mix.alpha" = []: an empty list makes no arms', None),
        ('sweep."mix.alpha" = [1, 0.5, 1.0]', '2:30: sweep."mix.alpha"[2] = 1.0: occurs twice', None),
        ('sweep."mix.alpha" = [1]\nsweep.mix.alpha = [0]', "3:11: mix.alpha is swept twice", None),
        ('sweep."measure.formats" = [["cloze"]]', '2:7: sweep."measure.formats": measure.formats is a list', None),
        ("sweep.generations = [1]", "2:7: sweep.generations: generations is the same for all arms of a run", None),
        ("sweep = 1", "2:9: sweep = 1: an integer, but sweep is a table", None),
    ],
)
def test_wrong_keys_and_values(refuse: Refuse, text: str, head: str, guess: str | None) -> None:
    message = refuse(NAME + text)
    assert head in message.split("\n")[0]
    assert ("did you mean" in message) == (guess is not None)
    assert guess is None or f"did you mean {guess}?" in message


def test_a_message_cannot_steer_the_terminal(refuse: Refuse) -> None:
    message = refuse(NAME + 'description = "x"\n"\\u001b[31m" = 1\n[train]\nchain = "\\u001b]0;\\u202e"', "\x1b[2J=1")
    assert "\x1b" not in message
    assert "\u202e" not in message


@pytest.mark.parametrize("text", ["", "# only a comment\n", "\n\n"])
def test_an_empty_file(refuse: Refuse, text: str) -> None:
    expected = 'demo.toml:1:1: the file is empty, but a recipe needs a name\n    write at least: name = "demo"'
    assert refuse(text) == expected


def test_a_missing_name(refuse: Refuse) -> None:
    message = refuse("[mix]\nalpha = 1.0\n")
    assert message.startswith('demo.toml:1:1: name is missing\n    write at the top, for example: name = "demo"\n')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[train]\nchain = restart\n",
            "demo.toml:2:9: this is not TOML: Invalid value\n    chain = restart\n    a string is written",
        ),
        ('name = "x"\nname = "y"\n', "demo.toml:2:11: this is not TOML: Cannot overwrite a value\n"),
        ('name = "x"\n[train\n', "demo.toml:2:7: this is not TOML: Expected ']'"),
        ('name = """x\n', "demo.toml:2:1: this is not TOML: "),
        ("name = " + "[" * 5000, "demo.toml:1:1: this is not a recipe: it is nested too deeply"),
        ("seed = 1" + "0" * 5000, "demo.toml:1:1: this is not a recipe: Exceeds the limit"),
        (
            b'name = "x"\n# caf\xc3\xa9 caf\xe9\n',
            "demo.toml:2:11: byte 0xe9 is not UTF-8 text\n    save the file as UTF-8",
        ),
        ("\ufeff" + NAME + "mix.alpha = 2", "demo.toml:2:13: mix.alpha = 2"),
        ('name = "x"\r\n\r\n[mix]\r\nalpha = 2\r\n', "demo.toml:4:9: mix.alpha = 2"),
    ],
)
def test_what_is_not_toml(refuse: Refuse, text: str | bytes, expected: str) -> None:
    assert refuse(text).startswith(expected)


def test_every_key_is_described() -> None:
    assert not [key.dotted for key in KEYS.values() if not key.description or not key.allowed]


LINES = st.sampled_from(
    """\
name = "x"
[mix]
[[mix]]
[sweep]
[measure]
alpha = 2
"mix.alpha" = [1, {a = 1}]
mix = 3
seed = -1
sweep.mix = [1]
sweep = []
formats = [[1]]
name = {a = 1}
x.y.z = 1
source = {kind = "text", path = "\\u0000"}
model.path = "\\u0000"
""".splitlines()
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(st.lists(LINES, max_size=8), st.lists(st.text('sweep.mix.alpha=[]{}01"', max_size=16), max_size=2))
def test_any_recipe_is_loaded_or_refused(load: Callable[..., LoadedRecipe], lines: list[str], sets: list[str]) -> None:
    try:
        loaded = load("\n".join(lines), *sets)
    except RecipeError:
        return
    assert loaded.arms
