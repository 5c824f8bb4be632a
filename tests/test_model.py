"""A model in use: built, saved, loaded, asked for text."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from stand_ins import build, write_byte_tokenizer

from nas.artifact.writing import write_model
from nas.device import resolve_device
from nas.errors import ArtifactError, DeviceError, InputError, ShapeError
from nas.families import architecture
from nas.model import Model, load_folder, save
from nas.model import build as fresh
from nas.records import TaskSpec

SPEC = TaskSpec(
    task="language_modeling",
    head="causal_lm",
    vocab_size=257,
    context=16,
    bos_token_id=256,
    eos_token_id=256,
)
ENDLESS = TaskSpec(task="language_modeling", head="causal_lm", vocab_size=257, context=16)
ARCHITECTURE = architecture("llama", n_layer=2, d_model=32, n_head=4, n_kv_head=2, d_ff=[48, 32])
NATIVE = architecture("llama", n_layer=2, d_model=32, n_head=4, n_kv_head=2, d_ff=48)


@pytest.fixture
def model() -> Model:
    return build(ARCHITECTURE, ENDLESS, seed=3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "tokenizer"
    source.mkdir()
    write_byte_tokenizer(source, 16)
    fresh = build(NATIVE, SPEC, seed=3)
    place = tmp_path / "model"
    write_model(place, fresh.state_dict(), fresh.manifest, processor_dir=source)
    return place


def test_same_seed_builds_equal_weights(model: Model) -> None:
    again, other = build(ARCHITECTURE, ENDLESS, seed=3), build(ARCHITECTURE, ENDLESS, seed=4)
    key = "model.layers.0.self_attn.q_proj.weight"
    assert torch.equal(model.state_dict()[key], again.state_dict()[key])
    assert not torch.equal(model.state_dict()[key], other.state_dict()[key])


def test_build_for_a_head_that_the_family_lacks_is_refused() -> None:
    spec = TaskSpec(
        task="text_classification", head="classify", vocab_size=9, context=4, labels=("no", "yes")
    )
    with pytest.raises(
        ShapeError, match=r"family 'llama' has no head 'classify'; it has causal_lm"
    ):
        build(NATIVE, spec)


def test_state_dict_has_native_names_also_inside_another_module(model: Model) -> None:
    names = set(model.state_dict())
    assert names == set(model.network.state_dict())
    assert {"model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight"} <= names
    outer = torch.nn.Sequential(model)
    assert set(outer.state_dict()) == {f"0.{name}" for name in names}
    target = torch.nn.Sequential(build(ARCHITECTURE, ENDLESS, seed=9))
    target.load_state_dict(outer.state_dict())
    ids = torch.arange(5)[None]
    assert torch.equal(target(ids), model(ids))


def test_missing_key_is_refused_by_load_state_dict(model: Model) -> None:
    state = model.state_dict()
    del state["model.norm.weight"]
    with pytest.raises(RuntimeError, match=r"model\.norm\.weight"):
        model.load_state_dict(state)


def test_save_and_load_keep_bits_record_and_logits(model: Model, tmp_path: Path) -> None:
    save(model, tmp_path / "m")
    loaded = load_folder(tmp_path / "m", device="cpu", verify=True)
    assert (loaded.architecture, loaded.task_spec) == (ARCHITECTURE, ENDLESS)
    for name, weight in loaded.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name])
    ids = torch.arange(10)[None]
    assert torch.equal(loaded(ids), model(ids))


def test_loaded_model_is_in_eval_mode_and_can_be_trained(folder: Path) -> None:
    loaded = load_folder(folder, device="cpu")
    assert not any(module.training for module in loaded.modules())
    before = loaded(torch.arange(4)[None])
    loaded(torch.arange(4)[None]).sum().backward()
    optimizer = torch.optim.SGD(loaded.parameters(), lr=0.1)
    optimizer.step()
    assert not torch.equal(loaded(torch.arange(4)[None]), before)
    assert torch.equal(load_folder(folder, device="cpu")(torch.arange(4)[None]), before)


def test_verified_and_asked_model_can_still_be_trained(folder: Path) -> None:
    loaded = load_folder(folder, device="cpu", verify=True)
    loaded.generate([1], max_new_tokens=2)
    loaded(torch.arange(4)[None]).sum().backward()


def test_saving_onto_its_own_folder_keeps_everything(folder: Path) -> None:
    loaded = load_folder(folder, device="cpu")
    save(loaded, folder)
    again = load_folder(folder, device="cpu", verify=True)
    assert again.tokenizer is not None
    assert torch.equal(again(torch.arange(4)[None]), loaded(torch.arange(4)[None]))


def test_save_refuses_a_place_with_other_things(model: Model, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for place in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(ArtifactError, match=r"holds something that is not a model; choose"):
            save(model, place)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_save_refuses_what_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"save: got Linear, expected a model from nas\.load"):
        save(torch.nn.Linear(2, 2), tmp_path / "m")  # type: ignore[arg-type]  # the point


def test_unknown_device_is_refused(folder: Path) -> None:
    with pytest.raises(DeviceError, match=r"unknown device 'tpu'"):
        load_folder(folder, device="tpu")


def test_repr_says_what_it_is(model: Model) -> None:
    assert repr(model) == (
        "Model(llama: d_ff (48, 32), d_model 32, n_head 4, n_kv_head 2, n_layer 2; "
        "22,208 parameters; language_modeling, context 16; cpu)"
    )


def test_model_without_tokenizer_asks_for_ids(model: Model) -> None:
    assert model.tokenizer is None
    with pytest.raises(InputError, match=r"no tokenizer for text; give token ids"):
        model.generate("text")


def test_damaged_tokenizer_is_named(folder: Path) -> None:
    loaded = load_folder(folder, device="cpu")
    path = folder / "tokenizer.json"
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(ArtifactError, match=r"tokenizer\.json: is no usable tokenizer"):
        _ = loaded.tokenizer


def test_text_continues_the_prompt_and_repeats_with_the_seed(folder: Path) -> None:
    loaded = load_folder(folder, device="cpu")
    prompt = "naïve 😀 "
    texts = [loaded.generate(prompt, max_new_tokens=40, seed=seed) for seed in (1, 1, 2)]
    assert all(text.startswith(prompt) for text in texts)
    assert texts[0] == texts[1] != texts[2]
    texts[0].encode()  # broken bytes come back as U+FFFD, so this never fails


def test_empty_prompt_begins_with_the_begin_token(folder: Path, model: Model) -> None:
    loaded = load_folder(folder, device="cpu")
    from_nothing = loaded.generate([], max_new_tokens=5, temperature=0)
    from_begin = loaded.generate([256], max_new_tokens=5, temperature=0)
    assert [256, *from_nothing] == from_begin
    assert isinstance(loaded.generate("", max_new_tokens=3, seed=0), str)
    with pytest.raises(InputError, match=r"prompt: is empty, and this model has no begin token"):
        model.generate([])


def test_generation_stops_after_the_end_token(model: Model) -> None:
    first, second = model.generate([1, 2], max_new_tokens=2, temperature=0)[2:]
    spec = TaskSpec(
        task="language_modeling", head="causal_lm", vocab_size=257, context=16, eos_token_id=second
    )
    ending = build(ARCHITECTURE, spec, seed=3)
    expected = [1, 2, first] if first == second else [1, 2, first, second]
    assert ending.generate([1, 2], max_new_tokens=50, temperature=0) == expected


@pytest.mark.parametrize(
    "least", [{"temperature": 1e-320}, {"temperature": 1e-40}, {"top_p": 1e-300}]
)
def test_least_temperature_and_share_take_the_likeliest_token(model: Model, least: dict) -> None:
    likeliest = model.generate([1, 2, 3], max_new_tokens=9, temperature=0)
    assert model.generate([1, 2, 3], max_new_tokens=9, seed=0, **least) == likeliest


def test_prompt_that_is_no_unicode_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="prompt: character 2 is half of one or no UTF-8"):
        load_folder(folder).generate("a\udcff")


def test_input_without_a_token_is_refused(model: Model) -> None:
    with pytest.raises(InputError, match="got an empty input, the model needs a token"):
        model(torch.zeros(1, 0, dtype=torch.long))


def test_tensor_prompt_keeps_its_form(model: Model) -> None:
    flat = model.generate(torch.tensor([5, 6]), max_new_tokens=4, temperature=0)
    batch = model.generate(torch.tensor([[5, 6]]), max_new_tokens=4, temperature=0)
    assert (flat.shape, batch.shape) == ((6,), (1, 6))
    assert flat.tolist() == model.generate([5, 6], max_new_tokens=4, temperature=0)


def test_text_beyond_the_context_goes_on_from_the_last_half(model: Model) -> None:
    expected, window = [7], [7]
    for _ in range(40):
        with torch.no_grad():
            token = int(model(torch.tensor([window]))[0, -1].argmax())
        expected, window = [*expected, token], [*window, token]
        window = window if len(window) <= 16 else window[-8:]
    assert model.generate([7], max_new_tokens=40, temperature=0) == expected
    long = model.generate(list(range(30)), max_new_tokens=1, temperature=0)
    assert long[-1] == model.generate(list(range(22, 30)), max_new_tokens=1, temperature=0)[-1]


def test_many_prompts_are_written_on_as_each_by_itself(model: Model, folder: Path) -> None:
    prompts = [[7], list(range(30)), [1, 2, 3], list(range(16)), [9, 8]]
    options = {"max_new_tokens": 40, "temperature": 0.8, "seed": 5}
    assert model.generate(prompts, **options) == [model.generate(p, **options) for p in prompts]
    loaded = load_folder(folder, device="cpu")
    texts = ["", "a longer one", "b"]
    assert loaded.generate(texts, **options) == [loaded.generate(t, **options) for t in texts]


def test_one_of_many_ends_by_itself(model: Model) -> None:
    end = model.generate([1, 2], max_new_tokens=1, temperature=0)[-1]
    spec = replace(model.task_spec, eos_token_id=end)
    ending = build(ARCHITECTURE, spec, seed=3)
    first, second = ending.generate([[1, 2], [5]], max_new_tokens=6, temperature=0)
    assert first == [1, 2, end]
    assert second == ending.generate([5], max_new_tokens=6, temperature=0)
    assert len(second) > 3


def test_greedy_ids_equal_those_of_transformers(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    stock = AutoModelForCausalLM.from_pretrained(folder)
    prompt = torch.tensor([[72, 105]])
    expected = stock.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=14,
        do_sample=False,
        pad_token_id=256,
    )
    ours = load_folder(folder, device="cpu").generate(prompt, max_new_tokens=14, temperature=0)
    assert torch.equal(ours, expected)


@pytest.mark.parametrize("options", [{"top_k": 1}, {"top_p": 1e-9}, {"temperature": 1e-6}])
def test_narrowest_sampling_is_greedy(model: Model, options: dict) -> None:
    greedy = model.generate([1], max_new_tokens=8, temperature=-1)
    assert model.generate([1], max_new_tokens=8, seed=0, **options) == greedy


@pytest.mark.parametrize(("options", "kept"), [({"top_k": 3}, 3), ({"top_p": 0.8}, 2)])
def test_sampling_draws_only_from_the_likeliest(options: dict, kept: int) -> None:
    from nas.generation import Sampling

    sampling = Sampling(seed=0, **options)
    generator = sampling.generator()
    logits = torch.tensor([0.5, 0.05, 0.3, 0.15]).log()
    drawn = {sampling.choose(logits, generator) for _ in range(200)}
    assert drawn == set([0, 2, 3][:kept])


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"max_new_tokens": 0}, r"max_new_tokens: got 0, expected an integer >= 1"),
        ({"temperature": float("nan")}, r"temperature: got nan, expected a finite number"),
        ({"top_k": 0}, r"top_k: got 0, expected an integer >= 1"),
        ({"top_p": 0.0}, r"top_p: got 0\.0, expected a number above 0, at most 1"),
        ({"seed": -1}, r"seed: got -1, expected an integer >= 0"),
        ({"prompt": [257]}, r"prompt: got id 257, expected integers 0 to 256"),
        ({"prompt": [1.5]}, r"prompt: got id 1\.5, expected integers 0 to 256"),
        ({"prompt": torch.zeros(2, 3, dtype=torch.long)}, r"of shape \(2, 3\), expected integers"),
        ({"prompt": torch.zeros(3)}, r"prompt: got torch\.float32 of shape \(3,\)"),
        ({"prompt": 5}, r"prompt: got int, expected text or token ids"),
    ],
)
def test_bad_generation_input_is_named(model: Model, options: dict, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        model.generate(**{"prompt": [1], **options})


@pytest.mark.gpu
@pytest.mark.skipif(resolve_device("auto") == "cpu", reason="needs a CUDA or MPS device")
def test_verified_load_and_generation_on_a_gpu(folder: Path) -> None:
    loaded = load_folder(folder, verify=True)
    assert loaded.device.type in ("cuda", "mps")
    on_cpu = load_folder(folder, device="cpu")
    options = {"max_new_tokens": 30, "temperature": 0}
    assert loaded.generate("Hi", **options) == on_cpu.generate("Hi", **options)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_input_beyond_the_positions_is_refused(family):
    model = fresh(
        architecture(family, n_layer=1, d_model=16, n_head=2, d_ff=16),
        TaskSpec(task="language_modeling", head="causal_lm", vocab_size=20, context=8),
    )
    assert model(torch.zeros(1, 8, dtype=torch.int64)).shape == (1, 8, 20)
    with pytest.raises(InputError, match="got 9 tokens, the model has positions for 8; cut"):
        model(torch.zeros(1, 9, dtype=torch.int64))
    with pytest.raises(InputError, match=r"input of shape \(8,\), expected \(batch, tokens\)"):
        model(torch.zeros(8, dtype=torch.int64))


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 1, 8, 8), (1, 3, 8, 9), (1, 3, 16, 16)])
def test_images_of_another_size_are_refused(shape):
    spec = TaskSpec(
        task="image_classification", head="classify_image", vocab_size=0, context=1,
        labels=("a", "b"), image_size=8, n_channel=3,
    )  # fmt: skip
    model = fresh(architecture("vit", n_layer=1, d_model=16, n_head=2, d_ff=16, patch_size=4), spec)
    assert model(torch.zeros(2, 3, 8, 8)).shape == (2, 2)
    with pytest.raises(InputError, match=r"got images of shape .* the last three \(3, 8, 8\)"):
        model(torch.zeros(shape))
