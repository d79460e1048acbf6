"""From overrides, or from what Hydra has composed, to a checked config of plain values."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vpo import targets
from vpo.checking.composed import Composed
from vpo.checking.hints import check_types, compose_ahead, composed_by_hydra, one_line
from vpo.checking.hydra_settings import check_hydra_settings
from vpo.checking.overrides import quoted, readable
from vpo.checking.rules import check_rules
from vpo.checking.secrets import check_override_secrets, check_secrets
from vpo.errors import UserError


def compose(*overrides: str) -> Composed:
    """The config that `vpo run <overrides>` would run, checked. Leaves nothing of Hydra behind.

    Configs in `./conf` join ours, as on the command line. A key with values to sweep over (`seed=0,1`) is refused.

    Raises:
        UserError: An override or the config is wrong; one line says where, and the cure.
    """
    asked = own_configs([readable(one) for one in overrides])
    try:
        check_override_secrets(asked)
        cfg = composed_by_hydra(asked)
        check_composed(cfg)
        choices = dict(cfg.hydra.runtime.choices)
        plain = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
        return Composed(resolve(plain, list(overrides)), tuple(overrides), choices)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(one_line(error)) from error


def composed_job(cfg: DictConfig) -> Composed:
    """The config of the job that Hydra runs now."""
    job = HydraConfig.get()
    overrides = list(job.overrides.task)
    return Composed(resolve(cfg, overrides), tuple(overrides), dict(job.runtime.choices))


def own_configs(overrides: Sequence[str]) -> list[str]:
    """The overrides with the user's `./conf`, if there is one, on Hydra's search path."""
    own = Path("conf").absolute()
    elsewhere = any("hydra.searchpath" in one for one in overrides)
    if own.is_dir() and not (own / "config.yaml").exists() and not elsewhere:
        return [f"hydra.searchpath=[{quoted(f'file://{own}')}]", *overrides]
    return list(overrides)


def check_ahead(overrides: Sequence[str]) -> None:
    """Raise UserError for secrets, which Hydra would write and show, and for settings of Hydra that run code."""
    check_override_secrets(overrides)
    cfg = compose_ahead(list(overrides))
    if cfg is not None:
        check_composed(cfg)


def check_composed(cfg: DictConfig) -> None:
    """Raise UserError for secrets and for settings of Hydra that run code, in a config with Hydra's own node.

    Interpolations are taken as they are written, but in what Hydra builds of its own node.
    """
    plain = cast(dict[str, Any], OmegaConf.to_container(cfg))
    for name in ("launcher", "sweeper"):
        with suppress(OmegaConfBaseException):
            plain["hydra"][name] = OmegaConf.to_container(cfg.hydra[name], resolve=True)
    check_hydra_settings(plain["hydra"])
    check_secrets(plain)


def resolve(cfg: DictConfig, overrides: Sequence[str] | None = None) -> dict[str, Any]:
    """The config as plain values, checked. Raises UserError on a missing or impossible value.

    `overrides` is None for a config that a program gives.
    """
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise UserError(f"config: {', '.join(missing)} must be given, as in `vpo run {missing[0]}=...`")
    config = OmegaConf.to_container(cfg, resolve=True)
    if not isinstance(config["recompute"], list):  # recompute=critique means a list of one, recompute=null an empty one
        config["recompute"] = [] if config["recompute"] is None else [str(config["recompute"])]
    check_secrets(config)
    check_types(list(overrides or []), config)
    trust(config, overrides)
    targets.check_targets(config)
    check_rules(config)
    return config


def trust(config: Mapping[str, Any], overrides: Sequence[str] | None) -> None:
    """Let the packages of `build.allow` be built from. Raises UserError where a file names them: files come from anywhere."""
    packages = config["build"]["allow"]
    typed = overrides is None or any(re.match(r"[+]{0,2}build(\.allow)?=", one) for one in overrides)
    if packages and not typed:
        named = ",".join(map(str, packages))
        raise UserError(
            f"config: build.allow=[{named}] stands in a file; what may be built is said on the command line only: if you trust it, "
            f"add build.allow=[{named}]"
        )
    targets.allow(packages)
