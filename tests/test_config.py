"""The configuration: defaults, flags and recipes mean the same thing everywhere."""

import dataclasses
import sys

import pytest

from config import RECIPES, Config, read_config
from fsrcnn.errors import RequestError


def read(monkeypatch: pytest.MonkeyPatch, *flags: str) -> Config:
    monkeypatch.setattr(sys, "argv", ["train.py", *flags])
    return read_config("train", "")


def test_flags_do_what_edited_defaults_do(monkeypatch: pytest.MonkeyPatch):
    assert read(monkeypatch) == Config()
    flags = ("--upscale-factor", "2", "4", "--learning-rate", "0.5", "--resume")
    expected = dataclasses.replace(Config(), upscale_factor=(2, 4), learning_rate=0.5, resume=True)
    assert read(monkeypatch, *flags) == expected


def test_a_flag_beside_a_recipe_wins(monkeypatch: pytest.MonkeyPatch):
    config = read(monkeypatch, "--recipe", "paper", "--learning-rate", "0.5")
    expected = {**RECIPES["paper"], "recipe": "paper", "learning_rate": 0.5}
    assert {field: getattr(config, field) for field in expected} == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [("mode", "test"), ("loss", "l2"), ("upscale_factor", ()), ("batch_size", 0), ("ema_decay", 1.0), ("seed", -1)],
)
def test_an_edited_default_is_checked(field: str, value: object):
    with pytest.raises(RequestError, match=f"^{field}: got "):
        Config(**{field: value})
