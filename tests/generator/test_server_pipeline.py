"""A real pipeline of diffusers behind the API, asked through the stage."""

import json
from dataclasses import replace

import pytest

from tests.generator.tiny_pipeline import renderer, tiny_cogvideox
from tests.generator.video_server import video_server
from tests.stages.test_render import entry_of, failures, prompts, records
from vpo.seeding import seed_of
from vpo.stages.context import Context
from vpo.stages.render import Render
from vpo.storage.store import Store
from vpo.video import clips


@pytest.mark.slow
def test_a_pipeline_of_diffusers_behind_the_api(tmp_path):
    render = renderer(tiny_cogvideox())
    with video_server(render=render) as server:
        node = {
            "_target_": "vpo.generator.server.ServerGenerator", "base_url": server.base_url, "endpoint": "tiny", "model": "cogvideox",
            "frames": 9, "height": 16, "width": 32, "fps": 8, "steps": 2, "guidance": 3.0, "negative_prompt": "cat",
            "look_every": 0.05,
            "still_is_fine": True,
        }  # fmt: skip
        stage = Render(generator=node, prompts=entry_of(tmp_path, prompts("a dog 1", "a cat 2")), seed=0)
        folder = Context(Store(tmp_path / "store")).make(stage).folder / "clips"
        assert not failures(folder)
        one, two = records(folder)
        assert [clip.status for clip in (one, two)] == ["ok", "ok"]
        assert (one.frames, one.height, one.width, one.fps) == (9, 16, 32, 8.0)
        assert one.seed == seed_of("clip", 0, "q0", 0)
        asked = {job.fields["seed"]: job.fields for job in server.made}  # which of the two comes first is left open
        # The pipeline asked by itself gives the same file, so the prompt, the seed and all settings have arrived.
        assert (folder / one.path).read_bytes() == render(asked[str(one.seed % 2**31)])
        assert (folder / one.path).read_bytes() != (folder / two.path).read_bytes()
        assert clips.describe(folder / two.path).frames == 9
        sidecar = json.loads((folder / "m-0.json").read_text())
        assert sidecar["generator"]["server"] == "tiny"
        assert sidecar["generator"]["fields"]["num_inference_steps"] == "2"
        # Another method with the same prompts: the server is not asked, and need not be there.
        (tmp_path / "store/optimize/m").rename(tmp_path / "store/optimize/other")
        other = replace(stage, prompts=replace(stage.prompts, key="other", folder=tmp_path / "store/optimize/other"))
        again = Context(Store(tmp_path / "store")).make(other).folder / "clips"
        assert len(server.made) == 2
    assert (again / one.path).samefile(folder / one.path)
