"""Write the adapters and answers in `known/`, in two steps, because no environment has everything:

    python make_peft_answers.py export    where helptune is installed: our export of seeded adapters
    python make_peft_answers.py answer    where torch, transformers and peft are: what PEFT computes with them

The bases are the small random models in `../gemma/known`, which transformers saved.
"""

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
KNOWN, BASES = HERE / "known", HERE.parent / "gemma" / "known"
ADAPTERS = {
    "gemma1": {"rank": 3, "alpha": 6.0, "sites": ("q", "v", "down")},
    "gemma3": {"rank": 4, "alpha": 5.0, "rank_stabilized": True},
}
"""Base -> the LoRA configuration on it."""


def seeded_adapters(config, model, seed=0):
    """Adapters of a size that shows in the logits, from numpy's generator: the same in every environment."""
    from helptune.gemma.base import site_shapes

    rng = np.random.default_rng(seed)

    def values(*shape):
        return (rng.standard_normal(shape) * shape[1] ** -0.5).astype(np.float32)

    return {
        site: {"a": values(model.layers, d_in, config.rank), "b": values(model.layers, config.rank, d_out)}
        for site, (d_in, d_out) in site_shapes(model).items()
        if site in config.sites
    }


def export(folder, name, seed=0):
    """Our export of one adapter into `folder`."""
    from helptune.adapt.lora import LoraConfig
    from helptune.adapt.peft_format import Provenance, write_peft
    from helptune.gemma.hf_config import config_of

    model, config = config_of(BASES / name), LoraConfig(**ADAPTERS[name])
    folder.mkdir(parents=True, exist_ok=True)
    write_peft(folder, seeded_adapters(config, model, seed), config, model, name, Provenance())


def answer(folder, name):
    """(tokens, logits) of PEFT with the exported adapter on its base, in float32."""
    import peft
    import torch
    import transformers

    base = transformers.AutoModelForCausalLM.from_pretrained(
        BASES / name, dtype=torch.float32, attn_implementation="eager"
    )
    model = peft.PeftModel.from_pretrained(base, folder)
    tokens = np.random.default_rng(1).integers(0, base.config.vocab_size, (2, 12))
    with torch.no_grad():
        return tokens, model(torch.from_numpy(tokens)).logits.numpy()


def main(step):
    for name in ADAPTERS:
        if step == "export":
            export(KNOWN / name, name)
            continue
        import peft
        import safetensors.numpy
        import torch
        import transformers

        tokens, logits = answer(KNOWN / name, name)
        versions = f"peft {peft.__version__}, transformers {transformers.__version__}, torch {torch.__version__}"
        file = KNOWN / name / "answers.st"
        safetensors.numpy.save_file({"tokens": tokens, "logits": logits}, file, metadata={"made by": versions})


if __name__ == "__main__":
    main(sys.argv[1])
