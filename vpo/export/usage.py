"""The part of the model card that says how to use the model: code and commands that run as they stand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vpo.export.form import Form
from vpo.export.inside import renderer_of
from vpo.language.chat.rendering import QUERY, Renderer

EXAMPLE = "a dog on a beach"
CHAT = """\
ids = tokenizer.apply_chat_template(
    [{"role": "user", "content": text}], add_generation_prompt=True, return_tensors="pt", return_dict=True
)"""
PLAIN = 'ids = tokenizer(text, return_tensors="pt", return_token_type_ids=False)'
OUTSIDE = """\
from transformers import AutoModelForCausalLM, AutoTokenizer{more}

folder, query = "{name}", "{example}"  # from the Hub: huggingface_hub.snapshot_download("<owner>/<name>")
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder){sampling}
text = open(f"{{folder}}/template.txt", encoding="utf-8", newline="").read().replace("{{}}", query.strip(), 1)
{ids}
prompt = tokenizer.decode(model.generate(**ids)[0, ids["input_ids"].shape[1] :], skip_special_tokens=True).strip()"""
INSIDE = """\
from transformers import pipeline

optimizer = pipeline("text-generation", model="{name}")
query = [{{"role": "user", "content": "{example}"}}]
prompt = optimizer(query, return_full_text=False)[0]["generated_text"].strip()"""
INSIDE_ADAPTER = """\
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, pipeline

folder = "{name}"
model = AutoModelForCausalLM.from_pretrained(folder)  # the base and the adapter on it
model.generation_config = GenerationConfig.from_pretrained(folder)
optimizer = pipeline("text-generation", model=model, tokenizer=AutoTokenizer.from_pretrained(folder))
query = [{{"role": "user", "content": "{example}"}}]
prompt = optimizer(query, return_full_text=False)[0]["generated_text"].strip()"""
CLIENT = """\
from openai import OpenAI

client = OpenAI(base_url="http://localhost:8000/v1", api_key="none")
answer = client.chat.completions.create(
    model="{model}", messages=[{{"role": "user", "content": "{example}"}}]{sampling}
)
prompt = answer.choices[0].message.content.strip()"""


def usage(folder: Path, name: str, form: Form, method: Mapping[str, Any] | None) -> str:
    """The section "Use" of the card, without its heading.

    Args:
        folder: the export, complete but for the card.
        name: what it is called in the commands.
        form: how it was exported.
        method: the node of the method that samples from the policy in the run; None where it is not known.
    """
    renderer = renderer_of(folder)
    if form.template == "outside":
        return "\n\n".join([_python(_outside(name, form, renderer)), _said_of_outside(), said_of_sampling(method)])
    code = INSIDE_ADAPTER if form.weights == "adapter" else INSIDE
    frame = _frame(renderer)
    sections = [
        "**Send the bare query.** The chat template puts it into the instruction that the model was trained with (`template.txt`), so "
        "that any chat client gets a prompt back: no instruction and no system message of your own.",
        "With transformers:",
        _python(code.format(name=name, example=EXAMPLE)),
        "With a server, any of these (tests of vpo run `transformers serve`; the others go by their documentation):",
        f"```sh\n{_servers(name, form)}\n```",
        _python(_client(name, form, method)),
        *([_ollama(frame, renderer, form, method)] if frame else []),
        _said_of_inside(renderer, in_ollama=frame is not None),
        said_of_sampling(method),
    ]
    return "\n\n".join(sections)


def said_of_sampling(method: Mapping[str, Any] | None) -> str:
    """What the card says of the sampling in generation_config.json."""
    if method is None:
        return "How to sample is left to you: no run came with it."
    sampling = (
        f"temperature {method['temperature']}, top_p {method['top_p']}"
        if method["temperature"]
        else "the likeliest token"
    )
    return f"`generation_config.json` samples as the run measured it: {sampling}, at most {method['max_new_tokens']} tokens."


def _outside(name: str, form: Form, renderer: Renderer) -> str:
    is_adapter = form.weights == "adapter"
    return OUTSIDE.format(
        name=name,
        example=EXAMPLE,
        ids=CHAT if renderer.tokenizer.chat_template else PLAIN,
        more=", GenerationConfig" if is_adapter else "",
        sampling="\nmodel.generation_config = GenerationConfig.from_pretrained(folder)" if is_adapter else "",
    )


def _said_of_outside() -> str:
    return (
        "`template.txt` is the text that it was trained with, `{}` the place of the query; any other wording is outside its training. "
        "The chat template is the base model's: a client of a server has to put the query into that text itself. "
        "`vpo export ... template=inside` writes a folder whose chat template does it."
    )


def _said_of_inside(renderer: Renderer, *, in_ollama: bool) -> str:
    several = (
        "Each message of the user is taken for a query of its own; it was trained on one in a conversation."
        if renderer.tokenizer.chat_template
        else "It has no chat format: a conversation of more than one message, or a system message, is refused by the template."
    )
    lines = [
        "The space around a query does not matter. A message that is in the instruction already is not put into it again.",
        several,
        "Control tokens of the chat format in a query are broken by a space, so that they stay text (`<s>` becomes `< s>`)."
        + (
            " Ollama's template does none of this: strip the query and remove such tokens yourself."
            if in_ollama
            else ""
        ),
    ]
    return " ".join(lines)


def _servers(name: str, form: Form) -> str:
    if form.weights == "adapter":
        return (
            f"vllm serve <base> --enable-lora --lora-modules optimizer={name} --max-lora-rank 64 \\\n"
            f"    --chat-template {name}/chat_template.jinja --generation-config {name}   # the base that adapter_config.json names"
        )
    return "\n".join(
        [
            f"vllm serve {name} --served-model-name optimizer",
            f"transformers serve {name}   # the client calls it by its folder and says max_tokens, which would be 1024",
            "llama-server -m optimizer.gguf --jinja --alias optimizer --port 8000   # the file that is made below",
        ]
    )


def _client(name: str, form: Form, method: Mapping[str, Any] | None) -> str:
    keys = {"max_tokens": "max_new_tokens", "temperature": "temperature", "top_p": "top_p"}
    told = [f"{key}={method[ours]}" for key, ours in keys.items()] if method is not None else []
    return CLIENT.format(model="optimizer", example=EXAMPLE, sampling="".join(f", {one}" for one in told))


def _frame(renderer: Renderer) -> tuple[str, str] | None:
    """What stands before and behind a query in the rendered chat, for a template that cannot do more; None where that is not all."""
    parts = renderer.text(QUERY).split(QUERY)
    bos = renderer.tokenizer.bos_token or ""
    return (parts[0].removeprefix(bos), parts[1]) if len(parts) == 2 and '"""' not in "".join(parts) else None


def _ollama(frame: tuple[str, str], renderer: Renderer, form: Form, method: Mapping[str, Any] | None) -> str:
    """How llama.cpp and Ollama take it: a conversion, and a Modelfile, whose template is Go's and not Jinja's."""
    before, after = (part.replace("{{", '{{ "{{" }}') for part in frame)
    stops = renderer.tokenizer.convert_ids_to_tokens(renderer.stop_ids)
    told = [f'PARAMETER stop "{one}"' for one in stops] + ["PARAMETER repeat_penalty 1.0"]
    if method is not None:
        told += [
            f"PARAMETER temperature {method['temperature']}",
            f"PARAMETER top_p {method['top_p']}",
            "PARAMETER top_k 0",
        ]
        told += [f"PARAMETER num_predict {method['max_new_tokens']}"]
    whole = ["python llama.cpp/convert_hf_to_gguf.py <this folder> --outfile optimizer.gguf"]
    lora = ["python llama.cpp/convert_hf_to_gguf.py <base folder> --outfile base.gguf"]
    lora += ["python llama.cpp/convert_lora_to_gguf.py <this folder> --base <base folder> --outfile optimizer.gguf"]
    is_adapter = form.weights == "adapter"
    source = ["FROM ./base.gguf", "ADAPTER ./optimizer.gguf"] if is_adapter else ["FROM ./optimizer.gguf"]
    modelfile = "\n".join([*source, f'TEMPLATE """{before}{{{{ .Prompt }}}}{after}"""', *told])
    convert = "\n".join(
        [*(lora if is_adapter else whole), "ollama create optimizer -f Modelfile", f'ollama run optimizer "{EXAMPLE}"']
    )
    return (
        "With llama.cpp and Ollama (by their documentation, not tried), after a conversion and with a file called `Modelfile`, since "
        f"Ollama reads no Jinja:\n\n```sh\n{convert}\n```\n\n```\n{modelfile}\n```"
    )


def _python(code: str) -> str:
    return f"```python\n{code}\n```"
