"""A recipe says what is wrong with it before anything is read."""

import json

import pytest

from helptune.data.mixture.inputs import check
from helptune.data.mixture.recipe import Recipe, SourceSpec, find_recipe, read_recipe, to_json
from helptune.errors import DataError, SettingError

ONE = '[[source]]\nname = "curated"\n'


def recipe(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return read_recipe(path)


def test_what_is_not_said_has_its_default(tmp_path):
    found = recipe(tmp_path, f'name = "small"\n{ONE}')
    assert found == Recipe(name="small", source=(SourceSpec("curated"),))
    assert found.decontamination.on_match == "fail"


def test_filters_take_their_parameters_by_name(tmp_path):
    found = recipe(tmp_path, f'name = "small"\n[filters.too_long]\nmax_characters = 100\n{ONE}')
    assert found.filters == {"too_long": {"max_characters": 100}}
    check(found, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "missing 2 required positional arguments: 'name' and 'source'"),
        ('name = "x"\nsource = []', "at least one"),
        (f'name = "Has Space"\n{ONE}', "name: must be small letters"),
        (f'name = "x"\nseed = "a"\n{ONE}', "seed must be of type int, found 'a'"),
        (f'name = "x"\nsize = -1\n{ONE}', "size, heldout: must be 0 or more"),
        (f'name = "x"\nmax_malformed = 2\n{ONE}', "a share from 0 to 1"),
        (f'name = "x"\n{ONE}weigth = 1', r"source\[0\].weigth is not one of cap, data_dir, id"),
        (f'name = "x"\n{ONE}{ONE}', "'curated' comes twice"),
        (f'name = "x"\n{ONE}weight = 1\n{ONE}id = "b"', "'b': has no weight while others have one"),
        (f'name = "x"\n{ONE}id = "../up"', "letters, digits"),
        (f'name = "x"\n[decontamination]\non_match = "warn"\n{ONE}', "fail or drop"),
        (f'name = "x"\nsize = 5\n{ONE}', "size: is shared out by weights"),
        (f'name = "x"\nskip = [3]\n{ONE}', r"skip\[0\] must be of type str, found 3"),
        (f'name = "x"\n{ONE}limit = -1', "source.limit: must be 0 or more"),
        (f'name = "x"\n{ONE}weight = inf', "source.weight: must be a number from 0 up"),
        (f'name = "x"\n[balance]\nper_cell = -1\n{ONE}', "balance.per_cell: must be 0 or more"),
        (f'name = "x"\n[safety]\ntargets = []\n{ONE}', "safety.targets: must be prompt, response or both"),
        ('name = "x"\nsource = "curated"', "source must be of type list"),
        (
            f'name = "x"\n[duplicates]\nthreshold = 0.5\n{ONE}',
            "duplicates.threshold: must be from 0.7 to 1; pairs less",
        ),
        ("[", "recipe.toml: not a recipe"),
    ],
)
def test_a_wrong_recipe_names_the_field(tmp_path, text, message):
    with pytest.raises(SettingError, match=message):
        recipe(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f'name = "x"\nskip = ["to_long"]\n{ONE}', "filter 'to_long' is not one of empty_turn"),
        (f'name = "x"\n[filters.too_long]\nmax_words = 3\n{ONE}', "takes no 'max_words', but max_characters"),
        (
            f'name = "x"\n[filters.too_long]\nmax_characters = "3"\n{ONE}',
            r"max_characters must be of type int, found '3'",
        ),
        (f'name = "x"\n[filters.empty_turn]\nmax = 3\n{ONE}', "takes no 'max', but no parameters"),
        ('name = "x"\n[[source]]\nname = "wiki"', "source 'wiki' is not one of curated, oasst1"),
        ('name = "x"\n[[source]]\nname = "messages"\npath = "no.jsonl"', "no.jsonl does not exist"),
        ('name = "x"\n[[source]]\nname = "messages"', "needs a path"),
        (f'name = "x"\n{ONE}options = {{ years = 3 }}', "source 'curated': options takes no 'years', but instalments"),
        (f'name = "x"\n[decontamination]\nsets = ["alpaca"]\n{ONE}', "is no file, and not one of curated-heldout"),
    ],
)
def test_what_cannot_be_carried_out_is_said_before_anything_is_read(tmp_path, text, message):
    with pytest.raises(SettingError, match=message):
        check(recipe(tmp_path, text), tmp_path)


def test_share_alike_must_be_asked_for(tmp_path):
    """Its licence binds whoever publishes what is made of it."""
    (tmp_path / "q.jsonl").write_text("")
    text = 'name = "x"\n{}[[source]]\nname = "stack-exchange-preferences"\npath = "q.jsonl"'
    with pytest.raises(SettingError, match=r"CC-BY-SA-4\.0, binds what is made from it"):
        check(recipe(tmp_path, text.format("")), tmp_path)
    check(recipe(tmp_path, text.format("share_alike = true\n")), tmp_path)


def test_hh_rlhf_must_be_asked_for_by_who_read_its_warning(tmp_path):
    (tmp_path / "h.jsonl").write_text("")
    text = 'name = "x"\n[[source]]\nname = "hh-rlhf"\npath = "h.jsonl"\n{}'
    with pytest.raises(DataError, match="likely to lead to harmful models"):
        check(recipe(tmp_path, text.format("")), tmp_path)
    check(recipe(tmp_path, text.format("options = { warning_was_read = true, subset = 'helpful-base' }")), tmp_path)


def test_shipped_recipes_are_found_by_name_and_can_be_read():
    assert read_recipe(find_recipe("curated")).source[0].name == "curated"
    with pytest.raises(SettingError, match=r"one of .*curated"):
        find_recipe("curatde")


def test_a_recipe_as_json_holds_all_of_it(tmp_path):
    found = json.loads(to_json(recipe(tmp_path, f'name = "x"\n{ONE}weight = 2')))
    assert found["source"][0]["weight"] == 2.0
    assert found["duplicates"] == {"threshold": 0.8}
