"""The stages of the method, one file each; `vpo.pipeline` puts them in order.

Each is a `Stage`: a dataclass whose fields are the config nodes and the results of other stages that its own result depends on. What
can be stopped after, recomputed and planned, and the help, follow from `STAGES`.
"""

from vpo.stages.critique import Critique
from vpo.stages.dpo import Dpo
from vpo.stages.draft import Draft
from vpo.stages.evaluate import Evaluate
from vpo.stages.evolve import Evolve
from vpo.stages.grpo import Grpo
from vpo.stages.optimize import Optimize
from vpo.stages.pair import MakePairs
from vpo.stages.queries import HeldOut, Queries
from vpo.stages.reference import Reference
from vpo.stages.refine import Refine
from vpo.stages.render import Render
from vpo.stages.sample import Sample
from vpo.stages.score import ScoreClips
from vpo.stages.sft import Sft
from vpo.stages.stage import Stage
from vpo.stages.start import Start
from vpo.stages.winners import Winners

# In the order of the method.
STAGES: tuple[type[Stage], ...] = (
    Queries, HeldOut, Evolve, Winners, Start, Draft, Critique, Refine, Sft, Sample, Render, ScoreClips, MakePairs, Reference, Dpo,
    Grpo, Optimize, Evaluate,
)  # fmt: skip
NAMES = tuple(stage.name for stage in STAGES)
