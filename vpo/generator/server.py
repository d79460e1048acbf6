"""A text-to-video model behind a server that speaks the OpenAI Videos API: vLLM-Omni, SGLang-Diffusion, NVIDIA Dynamo and others."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vpo.errors import UserError
from vpo.generator.videos.api import VideosApi
from vpo.generator.videos.charges import Charges
from vpo.generator.videos.client import Limits, VideoClient, Wanted
from vpo.generator.videos.jobs import FILE, JobRecord
from vpo.language.serving.calls import SEEDS, whole
from vpo.language.serving.loop import BackgroundLoop
from vpo.language.serving.pace import Backoff
from vpo.language.serving.problems import Endpoint
from vpo.language.serving.settings import check_address, check_key
from vpo.records import Clip, Failure, Prompt
from vpo.storage.ledger import Ledger
from vpo.storage.names import file_name
from vpo.video.clips import VideoInfo

# What `omit` may name, and `extra_body` may not.
FIELDS = (
    "size",
    "width",
    "height",
    "num_frames",
    "fps",
    "num_inference_steps",
    "guidance_scale",
    "seed",
    "negative_prompt",
)


class ServerGenerator:
    """Asks a server for clips; see `vpo.interfaces.Generator`.

    What came is compared with what was asked for: a server may ignore a field that it does not know. A clip of another length, size
    or rate is a Failure and lies in `broken/`, so that no table mixes them. Every job that may be billed stands in `jobs.jsonl` beside
    the clips.

    Args:
        base_url: of the API, such as http://localhost:8000/v1.
        model: its name at the server; None where the server has one only and wants no name.
        endpoint: what the server is called in keys of results: clips of another endpoint are not taken for its own. None for the base
            URL.
        frames, height, width, fps: of a clip; None leaves it to the server.
        steps, guidance, negative_prompt: of the sampling; None leaves it to the server.
        extra_body: further fields of the form that the server knows.
        omit: of the fields, those that the server refuses.
        api_key_env: the environment's variable that holds the key; None sends none.
        concurrency: jobs at once, of each worker process.
        batch_size: clips that a worker takes at once; more than `concurrency`, so that the server always has some.
        timeout: seconds that a clip may take, all told.
        call_timeout: seconds that an answer may take.
        look_every: seconds before the first look at a job; each further one is twice as long, up to ten times this.
        max_retries: repetitions of a call that failed for a reason that passes.
        price: of one clip, in any one currency.
        max_cost: of the whole run, in that currency.
        still_is_fine: whether a clip in which nothing moves is no fault.

    Raises:
        UserError: What is missing or contradictory, and the cure.
    """

    # What cannot change a clip; `endpoint` stands for the address.
    not_in_key = (
        "base_url", "api_key_env", "concurrency", "batch_size", "timeout", "call_timeout", "look_every", "max_retries", "price",
        "max_cost",
    )  # fmt: skip

    def __init__(
        self,
        base_url: str,
        model: str | None = None,
        endpoint: str | None = None,
        frames: int | None = None,
        height: int | None = None,
        width: int | None = None,
        fps: float | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        negative_prompt: str | None = None,
        extra_body: Mapping[str, Any] | None = None,
        omit: Sequence[str] = (),
        api_key_env: str | None = None,
        concurrency: int = 8,
        batch_size: int = 64,
        timeout: float = 3600.0,
        call_timeout: float = 60.0,
        look_every: float = 1.0,
        max_retries: int = 6,
        price: float | None = None,
        max_cost: float | None = None,
        still_is_fine: bool = False,
    ) -> None:
        settings = {name: value for name, value in locals().items() if name != "self"}
        check_video_server(settings)
        self.frames, self.height, self.width, self.fps = frames, height, width, fps
        self.name = endpoint or base_url.rstrip("/")
        values = {
            "model": model, "size": f"{width}x{height}" if width is not None else None, "width": width, "height": height,
            "num_frames": frames, "fps": fps, "num_inference_steps": steps, "guidance_scale": guidance,
            "negative_prompt": negative_prompt, **(extra_body or {}),
        }  # fmt: skip
        self._fields = {name: _text(one) for name, one in values.items() if one is not None and name not in omit}
        self._omit = frozenset(omit)
        key = os.environ[api_key_env].strip() if api_key_env else None
        self.server = Endpoint(
            base_url, api_key_env, key, call_timeout, "generator", "vllm serve <model> --omni", can_be_omitted=FIELDS
        )
        self.limits = Limits(concurrency, timeout, max_retries, Backoff(look_every, 10 * look_every))
        self.charges = Charges(price, max_cost, Ledger.of_this_run())
        self._loop: BackgroundLoop | None = BackgroundLoop()
        self._client: VideoClient | None = None

    def render(self, prompts: Sequence[Prompt], seeds: Sequence[int], folder: Path) -> list[Clip | Failure]:
        """One clip a prompt. A UserError (no server, a wrong key, no money) ends all; the next start asks for the jobs under way."""
        if self._loop is None:
            raise RuntimeError("the generator is closed")
        wanted = [
            Wanted(
                prompt.id, self.form(prompt.text, seed), folder / f"{file_name(prompt.id)}.mp4",
                self._asked("num_frames", self.frames), self._asked("size", self.height), self._asked("size", self.width),
                self._asked("fps", self.fps),
            )
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]  # fmt: skip
        outcomes = self._loop.run(self._clips(wanted, folder))
        return [
            one if isinstance(one, Failure) else _clip(prompt, seed, place.path, one)
            for prompt, seed, place, one in zip(prompts, seeds, wanted, outcomes, strict=True)
        ]

    def form(self, text: str, seed: int) -> dict[str, str]:
        """The fields that a server is sent for one clip."""
        drawn = {} if "seed" in self._omit else {"seed": str(seed % SEEDS)}
        return {"prompt": whole(text), **self._fields, **drawn}

    def describe(self) -> dict[str, Any]:
        """What decides a clip besides its prompt and seed, for the description beside it."""
        return {"server": self.name, "fields": dict(self._fields), "omit": sorted(self._omit), "revision": None}

    def close(self) -> None:
        """Close the connections."""
        loop, self._loop = self._loop, None
        if loop is not None:
            if self._client is not None:
                loop.run(self._client.api.close())
            loop.close()

    async def _clips(self, wanted: Sequence[Wanted], folder: Path) -> list[VideoInfo | Failure]:
        if self._client is None:
            self._client = VideoClient(VideosApi(self.server), self.limits, self.charges)
        return await self._client.clips(wanted, JobRecord(folder / FILE))

    def _asked(self, name: str, value: Any) -> Any:
        """What the clip is held to: nothing, where the server is not sent the field."""
        return None if name in self._omit else value

    @classmethod
    def check(cls, node: Mapping[str, Any]) -> None:
        """Raise UserError for what is wrong with a node of the config. It is asked when a config is composed."""
        check_video_server(node)


def check_video_server(node: Mapping[str, Any]) -> None:
    """Raise UserError for a server's settings that cannot work."""
    check_address("generator", str(node["base_url"]), ("/videos/sync", "/videos"))
    check_key("generator", node.get("api_key_env"))
    if (node.get("width") is None) != (node.get("height") is None):
        raise UserError("generator.width and generator.height belong together; set both, or neither")
    if node.get("max_cost") is not None and node.get("price") is None:
        raise UserError("generator.max_cost needs generator.price, the price of one clip")
    own = sorted(set(node.get("extra_body") or {}) & {"model", "prompt", *FIELDS})
    if own:
        raise UserError(f"generator.extra_body.{own[0]} is set by vpo; leave it out, and use the generator's own keys")
    unknown = sorted(set(node.get("omit") or ()) - set(FIELDS))
    if unknown:
        raise UserError(f"generator.omit=[{unknown[0]}]: only {', '.join(FIELDS)} can be left out")


def _clip(prompt: Prompt, seed: int, path: Path, info: VideoInfo) -> Clip:
    return Clip(
        id=prompt.id, prompt_id=prompt.id, query_id=prompt.query_id, query=prompt.query, prompt=prompt.text, path=path.name,
        seed=seed, frames=info.frames, fps=info.fps, height=info.height, width=info.width,
    )  # fmt: skip


def _text(value: Any) -> str:
    """A value in a form: whole numbers without a point, mappings and lists as JSON."""
    from vpo.storage.jsonio import dumps

    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else dumps(value)
