"""What a user does wrong on the command line: one line that says what to do, and nothing lost."""

import pytest

from helptune.adapt.artifact import AdapterCard, save_adapter
from helptune.adapt.lora import LoraConfig
from helptune.data.conversation import Conversation, Message, write_conversations
from helptune.evaluate.answers import Answer, write_answers
from helptune.experiment.config import RunConfig
from helptune.experiment.runs import open_run


def malformed_data(folder):
    (folder / "bad.jsonl").write_text('{"id": "a", "text": "hi"}\n')
    return [
        "finetune",
        "--run",
        folder / "run",
        "--data",
        folder / "bad.jsonl",
    ], "bad.jsonl:1: field 'text' is not one of"


def other_configuration(folder):
    open_run(folder / "run", RunConfig())
    return ["finetune", "--run", folder / "run", "--rank", 5], "lora.rank: 16 -> 5"


def foreign_adapter(folder):
    save_adapter(folder, {}, AdapterCard("tiny-3", "0" * 64, LoraConfig()))
    return ["chat", "--adapter", folder, "--prompt", "hi"], "trained for base weights (sha256) '0000"


def answered(folder):
    """A run of one prompt that only the base answered, and the arguments that export it."""
    one = Conversation("a", "test", "Apache-2.0", (Message("user", "Why?"), Message("assistant", "So.")))
    write_conversations(folder / "eval" / "heldout.jsonl", [one])
    write_answers(folder / "eval" / "base.jsonl", [Answer("a", "Because.", True, 1)])
    return ["evaluate", "export", "--run", folder, "--out", folder / "c.json"]


def written_over(folder):
    (folder / "c.json").write_text("{}")
    return answered(folder), "c.json: exists; name a new file"


def unanswered(folder):
    return [*answered(folder), "--b", "nobody"], "nobody.jsonl: no answers of 'nobody' in this run"


def scored(text):
    def arguments(folder):
        (folder / "texts.json").write_text(text)
        return ["score", "--file", folder / "texts.json"], "texts.json: "

    return arguments


# What a user does wrong -> folder -> the arguments, and what the message must say.
MISTAKES = {
    "bad sites": lambda folder: (
        ["finetune", "--run", folder / "run", "--sites", "q,x"],
        "lora sites ['q', 'x']: choose",
    ),
    "bad rank": lambda folder: (["finetune", "--run", folder / "run", "--rank", 0], "lora rank=0"),
    "bad precision": lambda folder: (
        ["finetune", "--run", folder / "run", "--base", "float16"],
        "precision 'float16' of the base is not one of",
    ),
    "bad mesh": lambda folder: (["finetune", "--run", folder / "run", "--mesh", "eight"], "--mesh 'eight': give three"),
    "more devices than there are": lambda folder: (
        ["finetune", "--run", folder / "run", "--mesh", "1,64,1"],
        "mesh 1,64,1 has 64 devices",
    ),
    "unknown preset": lambda folder: (["finetune", "--preset", "gemma-9b"], "preset 'gemma-9b' is not one of"),
    "unknown model": lambda folder: (
        ["finetune", "--model", "gemma-9b", "--checkpoint", folder],
        "model 'gemma-9b' is not",
    ),
    "no checkpoint": lambda folder: (
        ["finetune", "--preset", "gemma-7b-it"],
        "'gemma-7b-it' is not embedded: name the fol",
    ),
    "a model without weights": lambda folder: (
        ["chat", "--model", "gemma-7b-it", "--prompt", "hi"],
        "'gemma-7b-it' is not embedded: name the fol",
    ),
    "no such checkpoint": lambda folder: (
        ["chat", "--prompt", "hi", "--model", "gemma-7b-it", "--checkpoint", folder / "7b"],
        "7b: no such folder",
    ),
    "missing data file": lambda folder: (
        ["finetune", "--run", folder / "run", "--data", "no.jsonl"],
        "no.jsonl: cannot",
    ),
    "malformed data file": malformed_data,
    "other configuration": other_configuration,
    "no such configuration": lambda folder: (["finetune", "--config", folder / "c.json"], "c.json: not a valid config"),
    "two places to start from": lambda folder: (
        ["finetune", "--preset", "gemma-7b-it", "--config", folder / "config.json"],
        "--config and --preset are two places to start from",
    ),
    "chat precision": lambda folder: (
        ["chat", "--prompt", "hi", "--dtype", "int3"],
        "precision 'int3' of the base is not",
    ),
    "missing adapter": lambda folder: (
        ["chat", "--adapter", folder / "no", "--prompt", "hi"],
        "no: not an adapter folder",
    ),
    "foreign adapter": foreign_adapter,
    "no room for an answer": lambda folder: (["chat", "--prompt", "hi", "--max-new-tokens", 0], "max_new_tokens=0"),
    "no token to choose from": lambda folder: (["chat", "--prompt", "hi", "--top-p", 0], "top_p=0.0: must lie in (0"),
    "prompt too long": lambda folder: (["chat", "--prompt", "a " * 3000], "exceed the context of 2048"),
    "nothing to measure": lambda folder: (["bench", "train", "--steps", 0], "steps=0: all must be at least 1"),
    "no answer to measure": lambda folder: (["bench", "generate", "--batch", 0], "batch=0"),
    "missing texts": lambda folder: (["score", "--file", folder / "no.json"], "no.json: not a readable JSON file"),
    "texts are not JSON": scored("hello"),
    "texts are no list": scored('{"text": "hello"}'),
    "a text is empty": scored('["hello", ""]'),
    "nothing to evaluate": lambda folder: (["evaluate"], "one of --run DIR, --adapter DIR and --base"),
    "two things to evaluate": lambda folder: (["evaluate", "--run", folder, "--base"], "one of --run DIR, --adapter"),
    "three things to evaluate": lambda folder: (
        ["evaluate", "--run", folder, "--adapter", folder, "--base"],
        "one of --run DIR, --adapter",
    ),
    "a run kept elsewhere": lambda folder: (
        ["evaluate", "--run", folder, "--out", folder / "out"],
        "a run knows its model and keeps its results: leave --out",
    ),
    "another precision for a run": lambda folder: (["evaluate", "--run", folder, "--dtype", "int8"], "leave --out"),
    "no place for results": lambda folder: (["evaluate", "--base"], "say where the results go: --out DIR"),
    "evaluation of nothing": lambda folder: (["evaluate", "--run", folder / "no"], "no: not a finished run"),
    "an adapter to evaluate that is none": lambda folder: (
        ["evaluate", "--adapter", folder / "no", "--out", folder / "out"],
        "no: not an adapter folder",
    ),
    "options before the verb": lambda folder: (
        ["evaluate", "--run", folder, "judge"],
        "options of `helptune evaluate judge` come after its name",
    ),
    "unknown judge": lambda folder: (
        ["evaluate", "judge", "--run", folder, "--by", "nobody"],
        "judge 'nobody' is not one of composite, local",
    ),
    "an endpoint without a model": lambda folder: (
        ["evaluate", "judge", "--run", folder, "--by", "http://127.0.0.1:1/v1"],
        "which of its models judges? Name it with --judge-model",
    ),
    "a judge of nothing": lambda folder: (["evaluate", "judge", "--run", folder / "no"], "heldout.jsonl: is not there"),
    "missing votes": lambda folder: (
        ["evaluate", "judge", "--run", folder, "--votes", folder / "no.jsonl"],
        "no.jsonl: cannot be read",
    ),
    "an export of nothing": lambda folder: (
        ["evaluate", "export", "--run", folder / "no", "--out", folder / "c.json"],
        "heldout.jsonl: is not there",
    ),
    "an export over a file": written_over,
    "an export of an unknown model": unanswered,
    "a share of votes that is none": lambda folder: (["evaluate", "power", "--preferred", "75"], "75"),
    "one run to compare": lambda folder: (["compare", folder], "name two runs at least"),
    "runs that were not evaluated": lambda folder: (["compare", folder / "a", folder / "b"], "rows.jsonl: cannot be"),
    "report of nothing": lambda folder: (["report", "--run", folder / "no"], "summary.json: missing or damaged"),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_is_one_line_on_stderr_and_exit_code_one(kind, helptune, tmp_path):
    arguments, told = MISTAKES[kind](tmp_path)
    code, out, err = helptune(*arguments)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert told in err
    assert err.count("\n") == 1


def test_no_mistake_of_finetune_occupies_the_run_directory(helptune, tmp_path):
    for arguments, _ in (MISTAKES["bad sites"](tmp_path), malformed_data(tmp_path)):
        helptune(*arguments)
    assert not (tmp_path / "run").exists()


def test_an_unknown_option_is_explained_with_exit_code_two(helptune):
    code, _, err = helptune("finetune", "--learning_rate", "1")
    assert code == 2
    assert "--learning-rate" in err
