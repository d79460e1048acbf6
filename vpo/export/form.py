"""The form of an export: what its weights are, and where the instruction is put."""

from dataclasses import dataclass

DTYPES = ("float32", "bfloat16", "float16")
TEMPLATES = ("outside", "inside")
WEIGHTS = ("merged", "adapter")


@dataclass(frozen=True)
class Form:
    """How a policy is written.

    Attributes:
        template: "outside": whoever prompts the model puts the query into `template.txt`; "inside": its chat template does.
        weights: "merged": whole weights; "adapter": the LoRA adapter alone, on a base that is loaded from elsewhere.
        dtype: of merged weights, one of DTYPES; None as they are.
    """

    template: str = "outside"
    weights: str = "merged"
    dtype: str | None = None

    def overrides(self) -> list[str]:
        """What of it differs from the default, as the command line writes it."""
        default = Form()
        names = ("template", "weights", "dtype")
        return [f"{name}={getattr(self, name)}" for name in names if getattr(self, name) != getattr(default, name)]
